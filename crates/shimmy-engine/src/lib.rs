//! The inference engine: requests in, streams of text out.
//!
//! This crate owns scheduling, sampling and the assembly of text. It must not know HTTP, wire
//! JSON, chat messages or any backend: a backend is whatever implements [`Runner`] and
//! [`Tokenizer`].

mod cells;
mod command;
mod config;
mod constraint;
mod costs;
mod draft;
mod embed;
mod error;
mod handle;
pub mod lark;
mod logprobs;
mod offload;
mod overlong;
mod params;
mod prefix;
mod private;
mod request;
mod run;
mod runner;
mod sampler;
mod scheduler;
mod session;
mod shared;
mod store;
#[cfg(feature = "stub")]
pub mod stub;
mod text;
mod unfinished;

pub use config::EngineConfig;
pub use embed::{EmbedError, Embeddings, Pooling};
pub use error::{
    AdapterError, GenerateError, InvalidParameter, RunnerError, SubmitError, TokenizeError,
};
pub use handle::{EngineHandle, Generation, spawn};
pub use params::{
    Constraint, Event, Finish, FinishReason, GenerateRequest, Logprob, MAX_LOGPROBS,
    PreparedRequest, Prompt, PromptPart, SamplingParams, SamplingPatch, Timings, TokenLogprobs,
    Usage,
};
pub use runner::{
    AdapterId, AdapterLoader, AdapterScale, Batch, FillInTheMiddle, LoadedAdapter, Row, Runner,
    RunnerLimits, SequenceId, Specials, TextMarks, Token, Tokenizer,
};
pub use session::{Prepared, PreparedTexts, Session};
pub use shared::EngineStatus;
pub use store::{KeptFiles, StoreConfig, kept_prefixes};
pub use text::{Piece, TextAssembler};
pub use unfinished::{Unfinished, sweep_unfinished};
