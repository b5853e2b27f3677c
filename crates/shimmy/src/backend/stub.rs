//! The deterministic engine as a model of its own.

use shimmy_engine::stub::{StubConfig, session};
use shimmy_engine::{EngineConfig, Session};

use super::OpenOptions;
use super::options::PARKED_SEQUENCES;

pub(super) fn open(options: &OpenOptions) -> Session {
    let stub = StubConfig {
        cells: options.context(None) as usize,
        sequences: (options.parallel + PARKED_SEQUENCES) as usize,
        adapters: options.adapters.len(),
        batch: 512,
        ..StubConfig::default()
    };
    let engine = EngineConfig {
        parallel: Some(options.parallel as usize),
        ..options.engine.clone()
    };
    session(stub, engine)
}
