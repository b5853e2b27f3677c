//! One request on the engine's thread: from logits to tokens, text and the last word.
//!
//! It must not know the scheduler, which has the request's tokens, or the backend.

use std::time::Instant;

use tokio::sync::mpsc::Sender;

use crate::command::Submission;
use crate::constraint::Follower;
use crate::costs::StepCosts;
use crate::draft::Lookup;
use crate::error::GenerateError;
use crate::logprobs::Reporter;
use crate::params::{Event, Finish, FinishReason, SamplingPatch, Timings, Usage};
use crate::prefix::Key;
use crate::runner::{Specials, Token, Tokenizer};
use crate::sampler::Sampler;
use crate::shared::Place;
use crate::text::TextAssembler;

/// Forced tokens of one request in one step, at most: others wait for them.
const FORCED: usize = 64;

/// A request in the engine, all but its tokens, which the scheduler has.
pub(crate) struct Request {
    events: Sender<Event>,
    /// What the step has brought and its reader has not been told.
    untold: Vec<Event>,
    sampler: Sampler,
    text: TextAssembler,
    constraint: Option<Follower>,
    /// Control tokens that have text.
    shown: Vec<Token>,
    ignore_eos: bool,
    max_tokens: u32,
    usage: Usage,
    /// Tokens sampled since the last text event.
    unreported: u32,
    logprobs: Option<Reporter>,
    /// What drafts are looked up in.
    lookup: Option<Lookup>,
    /// When the answer ends, complete or not.
    deadline: Option<Instant>,
    pub(crate) submitted: Instant,
    /// When the first step computed something for it.
    pub(crate) started: Option<Instant>,
    first_token: Option<Instant>,
    place: Place,
}

impl Request {
    /// The request without its prompt, the prompt, and what it may share with others.
    pub(crate) fn new(submission: Submission) -> (Self, Vec<Token>, Key) {
        let Submission {
            request,
            events,
            constraint,
            submitted,
            place,
            ..
        } = submission;
        let prompt_tokens = request.prompt.len() as u32;
        let key = Key {
            adapters: request.adapters,
            scope: request.cache_scope,
        };
        let taken = Self {
            sampler: Sampler::new(request.sampling, &request.prompt),
            text: TextAssembler::new(request.stop),
            constraint,
            shown: request.shown,
            ignore_eos: request.ignore_eos,
            max_tokens: request.max_tokens,
            usage: Usage {
                prompt_tokens,
                ..Usage::default()
            },
            unreported: 0,
            logprobs: request.logprobs.map(Reporter::new),
            lookup: None,
            deadline: request
                .deadline
                .and_then(|limit| submitted.checked_add(limit)),
            events,
            untold: Vec::new(),
            submitted,
            started: None,
            first_token: None,
            place,
        };
        (taken, request.prompt, key)
    }

    /// Whether nobody reads the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Changes how the following tokens are sampled.
    pub(crate) fn update(&mut self, patch: &SamplingPatch) {
        self.sampler.update(patch);
    }

    /// Takes note that the first step for it begins, and how much of its prompt was there already.
    pub(crate) fn start(&mut self, now: Instant, cached: usize) {
        // One that was preempted starts again, but it has found nothing then.
        if self.started.is_none() {
            self.started = Some(now);
            self.usage.cached_tokens = cached as u32;
        }
    }

    /// Whether its answer has begun.
    pub(crate) fn is_answering(&self) -> bool {
        self.first_token.is_some()
    }

    /// Whether its time is over before its first token.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.first_token.is_none() && self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Tokens that may come next, for a step of `rows` with these costs; `known` is what the
    /// request knows when it is first asked.
    pub(crate) fn draft(
        &mut self,
        costs: &StepCosts,
        rows: usize,
        known: impl FnOnce() -> Vec<Token>,
    ) -> Vec<Token> {
        let lookup = self.lookup.get_or_insert_with(|| Lookup::new(&known()));
        let left = self.max_tokens - self.usage.completion_tokens;
        let most = costs.draft_tokens(rows, lookup.hit());
        // The token after the draft is sampled too.
        let mut draft = lookup
            .propose(most.min(left.saturating_sub(1) as usize))
            .to_vec();
        if let Some(constraint) = &mut self.constraint {
            draft.truncate(constraint.allowed(&draft));
        }
        if draft.is_empty() {
            lookup.recover();
        }
        draft
    }

    /// Learns how many tokens of a draft came true.
    pub(crate) fn learn(&mut self, drafted: usize, came_true: usize) {
        if let Some(lookup) = &mut self.lookup {
            lookup.learn(drafted, came_true);
        }
    }

    /// Tells the reader what has come. At the end of a step for all its requests together: a reader
    /// that is woken while others are sampled only takes the processor from them, and is woken once
    /// for each.
    pub(crate) fn tell(&mut self) {
        for event in self.untold.drain(..) {
            // The channel has room for every event there can be, so this fails only when the
            // reader is gone, and then the next step drops the request.
            let _ = self.events.try_send(event);
        }
    }

    fn emit_text(&mut self, text: String) {
        if !text.is_empty() {
            let tokens = std::mem::take(&mut self.unreported);
            let logprobs = self.logprobs.as_mut().map(Reporter::take);
            self.untold.push(Event::Text {
                text,
                tokens,
                logprobs: logprobs.unwrap_or_default(),
            });
        }
    }

    /// Says the last word, after the place is free: who reads it may ask again at once.
    pub(crate) fn end(mut self, event: Event) {
        self.tell();
        let Self { events, place, .. } = self;
        drop(place);
        // As in `tell`.
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

    /// Samples one token, takes those that must follow it, and says what becomes of the request.
    ///
    /// Where a constraint leaves one token only, that is taken without a draw, whether it comes
    /// from logits or is forced: so it makes no difference to an answer's text which of the two
    /// it is. Requests that ask for probabilities have every token come from logits.
    pub(crate) fn advance(&mut self, logits: &mut [f32], tokenizer: &dyn Tokenizer) -> Next {
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.see(logits);
        }
        let mask = self.constraint.as_mut().map(|c| c.mask(logits));
        let token = match mask.transpose() {
            Err(reason) => return Next::Fail(GenerateError::Constraint(reason)),
            Ok(Some(Some(only))) => {
                self.sampler.remember(only);
                Some(only)
            }
            Ok(_) => self.sampler.sample(logits),
        };
        let Some(token) = token else {
            let reason = "the model gave no token a finite probability";
            return Next::Fail(GenerateError::Backend(reason.to_owned()));
        };
        self.first_token.get_or_insert_with(Instant::now);
        if let Some(end) = self.take(token, tokenizer) {
            return end;
        }
        let mut tokens = vec![token];
        if self.logprobs.is_none() {
            let forced = self.constraint.as_mut().map(Follower::forced);
            for token in forced.unwrap_or_default().into_iter().take(FORCED) {
                self.sampler.remember(token);
                if let Some(end) = self.take(token, tokenizer) {
                    return end;
                }
                tokens.push(token);
            }
        }
        Next::Continue(tokens)
    }

    /// Takes the next token of the answer; says so if it is the last.
    fn take(&mut self, token: Token, tokenizer: &dyn Tokenizer) -> Option<Next> {
        self.usage.completion_tokens += 1;
        self.unreported += 1;
        let is_end = tokenizer.is_end_of_generation(token);
        if is_end && (!self.ignore_eos || self.constraint.is_some()) {
            return Some(Next::Finish(FinishReason::Stop, None));
        }

        if let Some(logprobs) = &mut self.logprobs {
            logprobs.note(token, tokenizer);
        }
        if let Some(lookup) = &mut self.lookup {
            lookup.push(token);
        }
        let specials = match self.shown.contains(&token) {
            true => Specials::Parse,
            false => Specials::Literal,
        };
        let mut bytes = Vec::new();
        tokenizer.append_piece(token, specials, &mut bytes);
        let piece = self.text.push(&bytes);
        self.emit_text(piece.text);
        if piece.stop.is_some() {
            return Some(Next::Finish(FinishReason::Stop, piece.stop));
        }
        if let Some(constraint) = &mut self.constraint {
            if let Err(reason) = constraint.accept(token) {
                return Some(Next::Fail(GenerateError::Constraint(reason)));
            }
            if constraint.is_complete() {
                return Some(Next::Finish(FinishReason::Stop, None));
            }
        }
        let is_late = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        if self.usage.completion_tokens >= self.max_tokens || is_late {
            return Some(Next::Finish(FinishReason::Length, None));
        }
        None
    }
}

/// What became of a request with its newest tokens.
pub(crate) enum Next {
    /// With the token that was sampled and those that had to follow it.
    Continue(Vec<Token>),
    Finish(FinishReason, Option<String>),
    Fail(GenerateError),
}
