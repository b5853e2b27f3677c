//! An answer as it becomes a response: items begin, grow and end, and every step is an event.
//!
//! It must not know how events travel ([`Sink`] does).

use std::sync::Arc;

use serde_json::Value;
use shimmy_chat::{Delta, Message};
use shimmy_engine::TokenLogprobs;

use super::events::{Body, Broken, Events, Sink, Whole};
use super::input;
use super::item::{Item, Status, WireLogprobs};
use super::kept::{Kept, KeptResponses};
use super::open::Open;
use super::request::Plan;
use super::response::Response;
use crate::answer::Ending;
use crate::error::ApiError;
use crate::ignored::Ignored;
use crate::lead::Lead;
use crate::model::LoadedModel;
use crate::openai;

/// One answer.
#[derive(Debug)]
pub(super) struct Writer {
    response: Response,
    plan: Plan,
    events: Events,
    open: Option<Open>,
    lead: Lead,
}

impl Writer {
    /// Nothing has been computed.
    pub(super) fn new(model: &LoadedModel, plan: Plan) -> Self {
        Self {
            response: Response::begun(&model.name, &model.default_sampling, plan.echo.clone()),
            plan,
            events: Events::default(),
            open: None,
            lead: Lead::default(),
        }
    }

    /// The first events.
    pub(super) fn open(&mut self, sink: &mut impl Sink) {
        self.whole("response.created", sink);
        self.whole("response.in_progress", sink);
    }

    /// A sign of life. Some clients count the time since the last event and know no comments;
    /// this event they all know and pass over.
    pub(super) fn idle(&mut self, sink: &mut impl Sink) {
        self.whole("response.in_progress", sink);
    }

    /// More of the answer.
    pub(super) fn delta(
        &mut self,
        delta: &Delta,
        logprobs: &[TokenLogprobs],
        sink: &mut impl Sink,
    ) {
        if self.plan.warm_up {
            return;
        }
        match delta {
            Delta::Content(text) => {
                let logprobs = match self.plan.style.logprobs {
                    true => logprobs.iter().map(WireLogprobs::from).collect(),
                    false => Vec::new(),
                };
                self.content(text, logprobs, sink);
            }
            Delta::Reasoning(text) => {
                if !self.open.as_ref().is_some_and(Open::is_reasoning) {
                    self.begin(Item::reasoning(), sink);
                }
                self.grow(text, Vec::new(), sink);
            }
            Delta::ToolCall { name, .. } => {
                let item = Item::call(&self.plan.names.resolve(name));
                self.begin(item, sink);
            }
            Delta::ToolArguments { json, .. } => self.grow(json, Vec::new(), sink),
        }
    }

    /// The last events. An answer that is to be kept is so before anybody is told of its end.
    pub(super) fn finished(
        &mut self,
        ending: &Ending,
        responses: &KeptResponses,
        sink: &mut impl Sink,
    ) -> Arc<Kept> {
        let lead = self.lead.take();
        if self.open.is_none() && self.response.output.is_empty() && !lead.is_empty() {
            self.begin(Item::message(), sink);
            self.grow(&lead, Vec::new(), sink);
        }
        match self.plan.warm_up {
            true => self.response.end_warm_up(ending),
            false => self.response.end(ending),
        }
        self.end(self.response.status, sink);
        let kept = Arc::new(self.kept());
        if self.plan.echo.store {
            responses.keep(Arc::clone(&kept));
        }
        let last = match self.response.status {
            Status::Incomplete => "response.incomplete",
            _ => "response.completed",
        };
        self.whole(last, sink);
        kept
    }

    /// The last event of a response that will not be completed.
    pub(super) fn failed(&mut self, error: &ApiError, sink: &mut impl Sink) {
        self.response.fail(error);
        self.whole("response.failed", sink);
    }

    /// The event of a stream that broke off. Some clients look for this one only.
    pub(super) fn broken(&mut self, error: &ApiError, sink: &mut impl Sink) {
        let body = openai::error::body(error);
        let error = &body["error"];
        let event = Broken {
            code: &error["code"],
            message: &error["message"],
            param: &error["param"],
            error,
        };
        self.events.send("error", Body::Broken(event), sink);
    }

    fn content(&mut self, text: &str, logprobs: Vec<WireLogprobs>, sink: &mut impl Sink) {
        if self.open.as_ref().is_some_and(Open::is_message) {
            self.grow(text, logprobs, sink);
        } else if let Some(text) = self.lead.admit(text) {
            self.begin(Item::message(), sink);
            self.grow(&text, logprobs, sink);
        }
    }

    /// Begins an item, after ending the one before it.
    fn begin(&mut self, item: Item, sink: &mut impl Sink) {
        self.end(Status::Completed, sink);
        self.lead.take();
        let place = self.response.output.len();
        let style = self.plan.style;
        self.open = Some(Open::begin(item, place, style, &mut self.events, sink));
    }

    fn grow(&mut self, text: &str, logprobs: Vec<WireLogprobs>, sink: &mut impl Sink) {
        if let Some(open) = &mut self.open {
            open.grow(text, logprobs, &mut self.events, sink);
        }
    }

    fn end(&mut self, status: Status, sink: &mut impl Sink) {
        if let Some(open) = self.open.take() {
            let item = open.end(status, &mut self.events, sink);
            self.response.output.push(item);
        }
    }

    fn whole(&mut self, kind: &'static str, sink: &mut impl Sink) {
        let response = &self.response;
        let whole = Body::Whole(Whole { response });
        self.events.send(kind, whole, sink);
    }

    /// The conversation with this answer, read as it will be where a client returns it.
    fn kept(&self) -> Kept {
        let output = self.response.output.iter();
        let output = output.filter_map(|item| serde_json::to_value(item).ok());
        let output = Value::Array(output.collect());
        let mut messages = self.plan.messages.clone();
        match input::messages(&output, &[], &|_| None, &mut Ignored::default()) {
            Ok(read) => messages.extend(read.messages.into_iter().map(Arc::new)),
            Err(error) => tracing::error!(error = ?error.message, "an answer cannot be read back"),
        }
        Kept {
            caller: self.plan.caller,
            bytes: messages.iter().map(|message| bytes(message)).sum(),
            response: self.response.clone(),
            messages,
        }
    }
}

/// What a message takes, give or take its keys.
fn bytes(message: &Message) -> usize {
    serde_json::to_vec(message).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests;
