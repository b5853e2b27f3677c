//! OpenAI's Responses: an answer is a list of items, and a later request can go on from it.
//!
//! The same events go out as server-sent events, over a WebSocket, or folded into one object.

pub(crate) mod create;
mod custom;
mod events;
mod input;
mod item;
pub(crate) mod kept;
mod memory;
mod open;
mod request;
mod response;
pub(crate) mod socket;
mod tools;
mod writer;

pub(crate) use kept::KeptResponses;
