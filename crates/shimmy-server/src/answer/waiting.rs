//! Choices of a request that are not begun: one request only gets so many places at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use shimmy_engine::SubmitError;

use super::choice::Choice;
use super::prepare::Ready;
use super::said::Said;
use super::time_limit::TimeLimit;
use crate::model::LoadedModel;

/// A choice that is ready to be submitted.
pub(super) struct Waiting {
    /// Its place among the request's choices.
    pub(super) index: usize,
    ready: Arc<Ready>,
    /// Which of its prompt's choices it is.
    nth: u64,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Waiting {
    /// So many choices for each prompt, in order.
    pub(super) fn list(prompts: Vec<Ready>, choices: usize) -> VecDeque<Self> {
        let all = prompts
            .into_iter()
            .map(Arc::new)
            .flat_map(|ready| (0..choices as u64).map(move |nth| (Arc::clone(&ready), nth)));
        all.enumerate()
            .map(|(index, (ready, nth))| Self { index, ready, nth })
            .collect()
    }

    /// Submits it.
    pub(super) fn begin(&self, model: &LoadedModel) -> Result<Choice, SubmitError> {
        let mut prepared = self.ready.prepared.clone();
        // One seed for all choices would make them all the same.
        let seed = &mut prepared.request.sampling.seed;
        *seed = seed.map(|seed| seed.wrapping_add(self.nth));
        let stops = &self.ready.stops_of_text;
        Ok(Choice {
            generation: model.session.submit(prepared)?,
            parser: self.ready.format.parser(),
            said: (!stops.is_empty()).then(|| Said::until(stops.clone())),
            time_limit: self.ready.time_limit.map(TimeLimit::new),
            calls: 0,
            tokens: 0,
            reasoning_tokens: 0,
            undecided_tokens: 0,
            logprobs: Vec::new(),
        })
    }
}
