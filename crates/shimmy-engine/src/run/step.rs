//! One turn's computing: propose drafts, plan, decode, and sample where the plan's rows ask for it.
//! It must not know how requests come in, nor what is done when a step fails.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Engine;
use crate::error::GenerateError;
use crate::request::Next;
use crate::scheduler::{Part, Plan};
use crate::shared::Shared;

impl Engine<'_> {
    pub(super) fn step(&mut self) {
        self.last_step = Duration::ZERO;
        self.share_gap();
        self.draft();
        let mut plan = self.scheduler.plan();
        let now = Instant::now();
        for &(id, cached) in &plan.started {
            if let Some(request) = self.requests.get_mut(&id) {
                request.start(now, cached);
                self.shared
                    .reused
                    .fetch_add(cached as u64, Ordering::Relaxed);
            }
        }
        if !self.arrange(std::mem::take(&mut plan.actions)) {
            // Planned anew, with what the cache really holds.
            return;
        }
        if plan.batch.is_empty() {
            // Nothing to do, or a request that has the whole cache and needs more.
            if let Some((request, needed)) = self.scheduler.oldest_running() {
                if self.scheduler.tries_more_cells() {
                    return;
                }
                let cells = self.scheduler.cells();
                self.fail(request, GenerateError::CacheExhausted { needed, cells });
            }
            return;
        }
        let begun = Instant::now();
        let outcome = self
            .runner
            .reserve(self.scheduler.cells_promised())
            .and_then(|()| self.runner.decode(&plan.batch));
        match outcome {
            Ok(()) => {
                self.last_step = begun.elapsed();
                self.shared.steps.fetch_add(1, Ordering::Relaxed);
                self.scheduler.observe(plan.batch.len(), self.last_step);
                self.scheduler.apply(&plan);
                self.sample(&plan);
            }
            // The last words are said by `run`; what failed is the step that was interrupted.
            Err(_) if self.shared.closed.load(Ordering::Acquire) => {}
            Err(error) => self.recover(&plan, &error),
        }
    }

    /// Proposes what may come next, where checking it together is faster than waiting for it.
    fn draft(&mut self) {
        if !self.drafts {
            return;
        }
        let Some(ids) = self.scheduler.drafting() else {
            return;
        };
        let mut rows = ids.len();
        for id in ids {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            let known = || self.scheduler.tokens(id).to_vec();
            let draft = request.draft(self.scheduler.costs(), rows, known);
            rows += draft.len();
            self.scheduler.draft(id, draft);
        }
    }

    fn sample(&mut self, plan: &Plan) {
        for part in &plan.parts {
            self.count_prefilled(part);
            if let Some(row) = part.output {
                self.sample_part(part, row);
            }
        }
        for part in &plan.parts {
            if let Some(request) = self.requests.get_mut(&part.request) {
                request.tell();
            }
        }
    }

    fn count_prefilled(&self, part: &Part) {
        let request = self.requests.get(&part.request);
        if request.is_some_and(|request| !request.is_answering()) {
            let rows = (part.rows - part.drafted) as u64;
            self.shared.prefilled.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Samples after the last known token, and after each token of the draft as long as the draft
    /// comes true. Tokens that a constraint forces may make it come true as well.
    fn sample_part(&mut self, part: &Part, first: usize) {
        let id = part.request;
        let draft = self.scheduler.drafted(id).to_vec();
        let mut came_true = 0;
        loop {
            let Some(request) = self.requests.get_mut(&id) else {
                return;
            };
            let next = match self.runner.logits(first + came_true) {
                Some(logits) => request.advance(logits, self.tokenizer),
                None => Next::Fail(GenerateError::Backend("no logits came back".to_owned())),
            };
            match next {
                Next::Continue(tokens) => {
                    let forced = tokens.len() as u64 - 1;
                    self.shared.forced.fetch_add(forced, Ordering::Relaxed);
                    self.scheduler.push(id, &tokens);
                    let drafted = tokens.iter().zip(&draft[came_true..]);
                    let same = drafted.take_while(|(token, drafted)| token == drafted);
                    let same = same.count();
                    came_true += same;
                    if same < tokens.len() {
                        break;
                    }
                }
                Next::Finish(reason, stop) => {
                    return self.end(id, |request| request.finish(reason, stop));
                }
                Next::Fail(error) => return self.fail(id, error),
            }
        }
        if part.drafted > 0 {
            self.scheduler.settle(id, came_true);
            let Shared {
                drafted,
                came_true: all_true,
                ..
            } = self.shared;
            drafted.fetch_add(part.drafted as u64, Ordering::Relaxed);
            all_true.fetch_add(came_true as u64, Ordering::Relaxed);
            if let Some(request) = self.requests.get_mut(&id) {
                request.learn(part.drafted, came_true);
            }
        }
    }
}
