//! The deterministic engine as a model of its own.

use shimmy_engine::Session;
use shimmy_engine::stub::{StubConfig, session};

use super::OpenOptions;

pub(super) fn open(options: &OpenOptions) -> Session {
    let stub = StubConfig {
        cells: options.cells(None) as usize,
        sequences: options.parallel as usize,
        adapters: options.adapters.len(),
        batch: 512,
        ..StubConfig::default()
    };
    session(stub, options.engine.clone())
}
