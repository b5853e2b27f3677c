//! What becomes of everyone when a step has failed. It must not plan anew: the next turn does, with
//! what is true by then.

use super::Engine;
use crate::error::{GenerateError, RunnerError};
use crate::scheduler::Plan;

impl Engine<'_> {
    /// Reacts to a step that failed. No bystander is harmed: what was not in the batch is
    /// computed again if it must be.
    pub(super) fn recover(&mut self, plan: &Plan, error: &RunnerError) {
        match error {
            RunnerError::CacheFull => {
                // The runner has less room than it promised; planning with the old number would
                // come to the same batch again. Once steps go well, more is tried.
                let room = self.scheduler.cells_used() + plan.batch.len() - 1;
                tracing::warn!(cells = room, "the KV cache has less room than planned");
                self.scheduler.refuse_cells(room);
                let evicted = self.scheduler.prefixes_mut().evict_oldest(None);
                if !evicted {
                    self.scheduler.preempt_youngest();
                }
            }
            RunnerError::InvalidBatch => self.fail_all_of(plan, error),
            RunnerError::Aborted | RunnerError::Failed(_) => {
                tracing::error!(%error, "a step failed; the engine starts over with an empty cache");
                self.fail_all_of(plan, error);
                self.start_over();
            }
        }
    }

    fn fail_all_of(&mut self, plan: &Plan, error: &RunnerError) {
        for part in &plan.parts {
            self.fail(part.request, GenerateError::Backend(error.to_string()));
        }
    }

    fn start_over(&mut self) {
        if let Err(error) = self.runner.reset() {
            // Without a runner nothing can be computed; `guarded` reports it.
            panic!("the engine could not start over: {error}");
        }
        self.scheduler.forget_cache();
    }
}
