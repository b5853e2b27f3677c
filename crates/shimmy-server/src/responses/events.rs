//! The events of a response: what stands in each, and their numbers.

use serde::Serialize;
use utoipa::ToSchema;

use super::item::{Item, Part, WireLogprobs};
use super::response::Response;
use crate::sse::named_event;

/// Where events go.
pub(super) trait Sink {
    /// One event; `body` serialises with its `type`.
    fn event(&mut self, kind: &'static str, body: &impl Serialize);
}

/// For answers that are wanted as a whole.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn event(&mut self, _: &'static str, _: &impl Serialize) {}
}

/// Server-sent events.
impl Sink for Vec<u8> {
    fn event(&mut self, kind: &'static str, body: &impl Serialize) {
        named_event(kind, body, self);
    }
}

/// One text each, for a WebSocket.
impl Sink for Vec<String> {
    fn event(&mut self, _: &'static str, body: &impl Serialize) {
        match serde_json::to_string(body) {
            Ok(text) => self.push(text),
            // As in `sse::json`: a failure is a mistake in this crate.
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }
}

/// The events of one response, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Events {
    next: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ResponseEvent)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    body: Body<'a>,
}

/// What an event tells. Which of these it is, its type says too.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseEventBody)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Whole(Whole<'a>),
    Item(OfItem<'a>),
    Inside(Inside<'a>),
    Broken(Broken<'a>),
}

/// An event about the whole response.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseOfWhole)]
pub(super) struct Whole<'a> {
    pub(super) response: &'a Response,
}

/// An event about a whole item.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseOfItem)]
pub(super) struct OfItem<'a> {
    pub(super) output_index: usize,
    pub(super) item: &'a Item,
}

/// An event about something in an item. What does not belong to it is absent.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ResponseInside)]
pub(super) struct Inside<'a> {
    pub(super) item_id: &'a str,
    pub(super) output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<&'a Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<&'a [WireLogprobs]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'a str>,
}

/// An event about the stream itself.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseBroken)]
pub(super) struct Broken<'a> {
    #[schema(value_type = Option<String>)]
    pub(super) code: &'a serde_json::Value,
    #[schema(value_type = Option<String>)]
    pub(super) message: &'a serde_json::Value,
    #[schema(value_type = Option<String>)]
    pub(super) param: &'a serde_json::Value,
    /// The same again, where some clients look for it.
    #[schema(value_type = crate::openai::error::ErrorObject)]
    pub(super) error: &'a serde_json::Value,
}

impl Events {
    /// Sends the next event.
    pub(super) fn send(&mut self, kind: &'static str, body: Body<'_>, sink: &mut impl Sink) {
        let event = Event {
            kind,
            sequence_number: self.next,
            body,
        };
        sink.event(kind, &event);
        self.next += 1;
    }
}
