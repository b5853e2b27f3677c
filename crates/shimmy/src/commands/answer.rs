//! From messages to the pieces of an answer: what `generate` and `run` share.
//!
//! Owns the way through the model's template to the engine, and back through the reader that takes
//! thoughts out of the answer. It must not know where the pieces are shown.

use std::collections::VecDeque;

use serde_json::Map;
use shimmy_chat::{
    AnswerParser, ChatPlan, ChatRequest, Delta, Message, TemplateError, Thinking, ToolChoice,
    Unheard,
};
use shimmy_engine::{
    Constraint, Event, Finish, FinishReason, GenerateRequest, Generation, SamplingParams,
};
use shimmy_server::LoadedModel;

use super::model::start;
use crate::failure::Failure;

/// What is asked, beyond the messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    pub(super) sampling: SamplingParams,
    pub(super) max_tokens: Option<u32>,
    pub(super) stop: Vec<String>,
    pub(super) shape: Option<Constraint>,
    pub(super) thinking: Thinking,
}

/// A piece of an answer, in order; the last one is the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Thought(String),
    Text(String),
    End(Finish),
}

/// A running answer. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Answer {
    generation: Generation,
    parser: AnswerParser,
    ready: VecDeque<Piece>,
}

/// How an answer to a conversation is asked for and read.
pub(super) fn plan(
    model: &LoadedModel,
    messages: &[Message],
    wishes: &Wishes,
) -> Result<ChatPlan, TemplateError> {
    model.plan(&ChatRequest {
        messages,
        tools: &[],
        tool_choice: &ToolChoice::None,
        parallel_calls: true,
        thinking: &wishes.thinking,
        shape: wishes.shape.as_ref(),
        add_generation_prompt: true,
        kwargs: &Map::new(),
    })
}

/// The same for a text that is no conversation: a base model goes on with it.
pub(super) fn plan_lone(
    model: &LoadedModel,
    system: Option<&str>,
    text: &str,
    wishes: &Wishes,
) -> Result<ChatPlan, TemplateError> {
    model.plan_lone(system, text, &wishes.thinking, wishes.shape.as_ref())
}

impl Answer {
    /// Starts the answer that a plan is for.
    pub(super) fn start(
        model: &LoadedModel,
        plan: ChatPlan,
        wishes: Wishes,
    ) -> Result<Self, Failure> {
        let stop = model.preset.stop_under(wishes.stop);
        let request = GenerateRequest {
            prompt: plan.prompt,
            constraint: plan.constraint,
            shown: plan.shown,
            max_tokens: model.preset.max_tokens_under(wishes.max_tokens),
            sampling: wishes.sampling,
            stop: stop.into_iter().chain(plan.stop).collect(),
            adapters: model.default_adapters.clone(),
            ..GenerateRequest::default()
        };
        Ok(Self {
            generation: start(model, request)?,
            parser: plan.format.parser(),
            ready: VecDeque::new(),
        })
    }

    /// The next piece. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Piece, Failure> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(piece);
            }
            let event = self.generation.next().await;
            self.take(event)?;
        }
    }

    /// The same for a thread that has nothing else to wait for.
    pub(super) fn next_blocking(&mut self) -> Result<Piece, Failure> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(piece);
            }
            let event = self.generation.next_blocking();
            self.take(event)?;
        }
    }

    /// Ends it as it stands; the end still comes as a piece.
    pub(super) fn stop(&self) {
        self.generation.stop();
    }

    fn take(&mut self, event: Option<Event>) -> Result<(), Failure> {
        let mut deltas = Vec::new();
        let end = match event {
            Some(Event::Text { text, .. }) => {
                self.parser.push(&text, &mut deltas);
                if self.parser.is_over() {
                    self.generation.stop();
                }
                None
            }
            Some(Event::Finished(mut finish)) => {
                self.parser.finish(&mut deltas);
                if finish.reason == FinishReason::Cancelled && self.parser.is_over() {
                    // It was stopped because it was complete.
                    finish.reason = FinishReason::Stop;
                }
                Some(Piece::End(finish))
            }
            Some(Event::Failed(error)) => return Err(error.into()),
            None => return Err(Failure::new("the engine ended without a last word")),
        };
        self.ready
            .extend(deltas.into_iter().filter_map(piece).chain(end));
        Ok(())
    }
}

/// No tools are offered, so nothing in an answer is a call.
fn piece(delta: Delta) -> Option<Piece> {
    match delta {
        Delta::Content(text) => Some(Piece::Text(text)),
        Delta::Reasoning(text) => Some(Piece::Thought(text)),
        Delta::ToolCall { .. } | Delta::ToolArguments { .. } => None,
    }
}

/// What a wish about thinking says: `on`, `off`, or an effort.
pub(super) fn thinking(wish: Option<&str>) -> Thinking {
    match wish {
        None => Thinking::default(),
        Some("on" | "true") => Thinking {
            enabled: Some(true),
            effort: None,
        },
        Some("off" | "false" | "none") => Thinking {
            enabled: Some(false),
            effort: None,
        },
        Some(effort) => Thinking {
            enabled: Some(true),
            effort: Some(effort.to_owned()),
        },
    }
}

/// What to say of wishes about thinking that the model's template has no word for.
pub(super) fn unheard(model: &LoadedModel, unheard: &[Unheard]) -> Option<String> {
    let what = match unheard {
        [] => return None,
        [Unheard::Effort] => "how much to think",
        _ => "whether to think",
    };
    Some(format!("{} cannot be told {what}", model.name))
}
