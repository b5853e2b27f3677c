//! The families, each with the source of what is known of its notation.
//!
//! The order counts: of two whose tells are in a template, the first is taken, so what is more
//! particular stands further up.

mod bare;
mod headed;
mod lists;
mod sections;
mod tags;

use super::{Body, Keys, Notation};
use bare::{GEMMA, LFM2, LLAMA_JSON, LLAMA_PYTHON, OLMO};
use headed::{DEEPSEEK, FUNCTION_TAG, KIMI, MISTRAL, MISTRAL_NAMED};
use lists::{APERTUS, COMMAND_R, COMMAND_R7B, GRANITE, INTERNLM, LIST_TAG, NEMOTRON, PHI};
use sections::{FUNCTIONARY, HARMONY};
pub(crate) use tags::HERMES;
use tags::{GLM, MINIMAX, QWEN_CODER, SEED};

/// All of them.
pub(crate) static NOTATIONS: [&Notation; 25] = [
    &HARMONY,
    &KIMI,
    &DEEPSEEK,
    &FUNCTIONARY,
    &FUNCTION_TAG,
    &MINIMAX,
    &SEED,
    &GLM,
    &QWEN_CODER,
    &MISTRAL_NAMED,
    &MISTRAL,
    &COMMAND_R7B,
    &COMMAND_R,
    &INTERNLM,
    &APERTUS,
    &LFM2,
    &OLMO,
    &PHI,
    &GRANITE,
    &NEMOTRON,
    &LIST_TAG,
    &LLAMA_PYTHON,
    &LLAMA_JSON,
    &GEMMA,
    &HERMES,
];

const OBJECT: Body = Body::Object(Keys::Named);

/// The call as an object with `name` and `arguments`.
const NAME_ARGUMENTS: &str = r#"{"name": "$NAME", "arguments": $ARGUMENTS}"#;

/// The same with `parameters`.
const NAME_PARAMETERS: &str = r#"{"name": "$NAME", "parameters": $ARGUMENTS}"#;
