//! One request on the engine's thread: from logits to tokens, text and the last word.
//!
//! It must not know the scheduler, which has the request's tokens, or the backend.

use std::time::Instant;

use tokio::sync::mpsc::Sender;

use crate::constraint::Follower;
use crate::error::GenerateError;
use crate::handle::{Place, Submission};
use crate::logprobs::Reporter;
use crate::params::{AdapterScale, Event, Finish, FinishReason, SamplingPatch, Timings, Usage};
use crate::runner::{Specials, Token, Tokenizer};
use crate::sampler::Sampler;
use crate::text::TextAssembler;

/// A request in the engine, all but its tokens, which the scheduler has.
pub(crate) struct Request {
    events: Sender<Event>,
    sampler: Sampler,
    text: TextAssembler,
    constraint: Option<Follower>,
    ignore_eos: bool,
    max_tokens: u32,
    usage: Usage,
    /// Tokens sampled since the last text event.
    unreported: u32,
    logprobs: Option<Reporter>,
    /// When the answer ends, complete or not.
    deadline: Option<Instant>,
    pub(crate) submitted: Instant,
    /// When the first step computed something for it.
    pub(crate) started: Option<Instant>,
    first_token: Option<Instant>,
    place: Place,
}

impl Request {
    pub(crate) fn new(submission: Submission) -> (Self, Vec<Token>, Vec<AdapterScale>) {
        let Submission {
            request,
            events,
            constraint,
            submitted,
            place,
            ..
        } = submission;
        let prompt_tokens = request.prompt.len() as u32;
        let taken = Self {
            sampler: Sampler::new(request.sampling, &request.prompt),
            text: TextAssembler::new(request.stop),
            constraint,
            ignore_eos: request.ignore_eos,
            max_tokens: request.max_tokens,
            usage: Usage {
                prompt_tokens,
                ..Usage::default()
            },
            unreported: 0,
            logprobs: request.logprobs.map(Reporter::new),
            deadline: request
                .deadline
                .and_then(|limit| submitted.checked_add(limit)),
            events,
            submitted,
            started: None,
            first_token: None,
            place,
        };
        (taken, request.prompt, request.adapters)
    }

    /// Whether nobody reads the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Changes how the following tokens are sampled.
    pub(crate) fn update(&mut self, patch: &SamplingPatch) {
        self.sampler.update(patch);
    }

    fn emit(&self, event: Event) {
        // The channel has room for every event there can be, so this fails only when the reader
        // is gone, and then the next step drops the request.
        let _ = self.events.try_send(event);
    }

    fn emit_text(&mut self, text: String) {
        if !text.is_empty() {
            let tokens = std::mem::take(&mut self.unreported);
            let logprobs = self.logprobs.as_mut().map(Reporter::take);
            self.emit(Event::Text {
                text,
                tokens,
                logprobs: logprobs.unwrap_or_default(),
            });
        }
    }

    /// Says the last word, after the place is free: who reads it may ask again at once.
    pub(crate) fn end(self, event: Event) {
        let Self { events, place, .. } = self;
        drop(place);
        // As in `emit`.
        let _ = events.try_send(event);
    }

    /// The last word. `stop` is the stop text that was met.
    pub(crate) fn finish(mut self, reason: FinishReason, stop: Option<String>) {
        let (mut reason, mut stop) = (reason, stop);
        if stop.is_none() {
            let piece = self.text.finish();
            self.emit_text(piece.text);
            if piece.stop.is_some() {
                (reason, stop) = (FinishReason::Stop, piece.stop);
            }
        }
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let first_token = self.first_token.unwrap_or(now);
        let timings = Timings {
            queue: started - self.submitted,
            prefill: first_token - started,
            decode: now - first_token,
        };
        let usage = self.usage;
        self.end(Event::Finished(Finish {
            reason,
            stop,
            usage,
            timings,
        }));
    }

    /// Samples one token and says what becomes of the request.
    pub(crate) fn advance(&mut self, logits: &mut [f32], tokenizer: &dyn Tokenizer) -> Next {
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.see(logits);
        }
        if let Some(constraint) = &mut self.constraint
            && let Err(reason) = constraint.mask(logits)
        {
            return Next::Fail(GenerateError::Constraint(reason));
        }
        let Some(token) = self.sampler.sample(logits) else {
            let reason = "the model gave no token a finite probability";
            return Next::Fail(GenerateError::Backend(reason.to_owned()));
        };
        self.first_token.get_or_insert_with(Instant::now);
        self.usage.completion_tokens += 1;
        self.unreported += 1;
        let is_end = tokenizer.is_end_of_generation(token);
        if is_end && (!self.ignore_eos || self.constraint.is_some()) {
            return Next::Finish(FinishReason::Stop, None);
        }

        if let Some(logprobs) = &mut self.logprobs {
            logprobs.note(token, tokenizer);
        }
        let mut bytes = Vec::new();
        tokenizer.append_piece(token, Specials::Literal, &mut bytes);
        let piece = self.text.push(&bytes);
        self.emit_text(piece.text);
        if piece.stop.is_some() {
            return Next::Finish(FinishReason::Stop, piece.stop);
        }
        if let Some(constraint) = &mut self.constraint {
            if let Err(reason) = constraint.accept(token) {
                return Next::Fail(GenerateError::Constraint(reason));
            }
            if constraint.is_complete() {
                return Next::Finish(FinishReason::Stop, None);
            }
        }
        let is_late = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        if self.usage.completion_tokens >= self.max_tokens || is_late {
            return Next::Finish(FinishReason::Length, None);
        }
        Next::Continue(token)
    }
}

/// What became of a request with its newest token.
pub(crate) enum Next {
    Continue(Token),
    Finish(FinishReason, Option<String>),
    Fail(GenerateError),
}
