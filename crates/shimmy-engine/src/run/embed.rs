//! One turn's share of the texts that become vectors: as many tokens as answers can wait for. It must
//! not know whose texts come next, nor how texts are computed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Engine;
use crate::embed::Turn;

impl Engine<'_> {
    /// Computes some texts, or a part of one, between two steps.
    pub(super) fn embed(&mut self) {
        let Some((_, most)) = self.runner.embedding() else {
            return;
        };
        let rows = self.rows_to_embed().min(most);
        let in_parts = self.runner.embeds_in_parts();
        let Some(turn) = self.embeds.next(rows, in_parts) else {
            return;
        };
        let begun = Instant::now();
        let vectors = match &turn {
            Turn::Texts(texts) => self.runner.embed(texts),
            Turn::Part { text, part } => self
                .runner
                .embed_part(text, part.clone())
                .map(|vector| vector.into_iter().collect()),
        };
        match vectors {
            Ok(vectors) => {
                self.embed_costs.observe(turn.rows(), begun.elapsed());
                self.embeds.take(&turn, vectors);
            }
            // The last words are said by `run`; what failed is the turn that was interrupted.
            Err(_) if self.shared.closed.load(Ordering::Acquire) => {}
            Err(error) => self.embeds.fail(&error),
        }
    }

    /// While texts wait, prompts have half of the time that answers can wait.
    pub(super) fn share_gap(&mut self) {
        let parts = if self.embeds.is_empty() { 1 } else { 2 };
        self.scheduler.set_longest_gap(self.longest_gap / parts);
    }

    /// How many tokens may be embedded before the next step: in the time that is left of an answer's
    /// wait, or as many as a step has rows where nobody waits, so that who comes next does not wait
    /// longer than for a prompt.
    fn rows_to_embed(&self) -> usize {
        if self.scheduler.running() == 0 {
            return self.rows;
        }
        let left: Duration = self.longest_gap.saturating_sub(self.last_step);
        let time = left.max(self.longest_gap / 2);
        self.embed_costs.prefill_rows(0, self.rows, time)
    }
}
