//! What a step costs, by its rows, as measured while running. Pure: the clock is the caller's.
//!
//! It answers one question: how many rows of a prompt may stand beside running answers, so that
//! none of them waits longer than is wanted for its next token, and what is computed costs as
//! little as the kernels allow.

use std::time::Duration;

/// Row counts whose costs are remembered; others are read between their neighbours. Kernels work
/// in fours and eights, and change their ways at 16 and 32.
const COUNTS: [usize; 26] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024,
    2048, 4096,
];

/// How much of the newest measurement goes into the remembered cost.
const WEIGHT: f64 = 0.25;

/// Rows of a prompt beside answers, at least: fewer would never end.
const LEAST: usize = 8;

/// Rows of a prompt beside answers while nothing is known.
const FIRST_GUESS: usize = 32;

/// The measured costs.
#[derive(Debug, Default)]
pub(crate) struct StepCosts {
    /// Seconds, by place in [`COUNTS`].
    seconds: [Option<f64>; COUNTS.len()],
}

impl StepCosts {
    /// Takes a measurement.
    pub(crate) fn observe(&mut self, rows: usize, took: Duration) {
        let Some(at) = nearest(rows) else { return };
        // A step of 30 rows tells what one of 32 costs, if they are priced alike.
        let seconds = took.as_secs_f64() * COUNTS[at] as f64 / rows as f64;
        let cost = &mut self.seconds[at];
        *cost = Some(cost.map_or(seconds, |old| old + WEIGHT * (seconds - old)));
    }

    /// Seconds that a step of so many rows will take; none while nothing has been measured.
    pub(crate) fn predict(&self, rows: usize) -> Option<f64> {
        let known = || {
            let pairs = COUNTS.iter().zip(&self.seconds);
            pairs.filter_map(|(&count, cost)| Some((count as f64, (*cost)?)))
        };
        let rows = rows as f64;
        let below = known().take_while(|&(count, _)| count <= rows).last();
        let above = known().find(|&(count, _)| count >= rows);
        match (below, above) {
            (Some((low, cost)), Some((high, more))) if high > low => {
                Some(cost + (more - cost) * (rows - low) / (high - low))
            }
            (Some((low, cost)), _) => Some(cost * (rows / low).max(1.0)),
            // Fewer rows never cost more.
            (None, Some((_, cost))) => Some(cost),
            (None, None) => None,
        }
    }

    /// How many of `wanted` rows of prompts to compute beside `decoding` rows of answers.
    pub(crate) fn prefill_rows(&self, decoding: usize, wanted: usize, target: Duration) -> usize {
        let target = target.as_secs_f64();
        let mut best = LEAST.min(wanted);
        if self.predict(decoding + best).is_none() {
            return FIRST_GUESS.min(wanted);
        }
        for rows in COUNTS.iter().map(|&total| total.saturating_sub(decoding)) {
            if rows <= best {
                continue;
            }
            // What was never tried is approached in small steps.
            match self.predict(decoding + rows) {
                Some(seconds) if rows <= wanted && seconds <= target => best = rows,
                _ => break,
            }
        }
        // Up to the last rows, if they fit: another step would cost more.
        if best < wanted
            && wanted < best + best / 2
            && self.predict(decoding + wanted).is_some_and(|s| s <= target)
        {
            best = wanted;
        }
        best
    }
}

/// Row counts at which a draft ends: where kernels change their price.
const DRAFT_ROWS: [usize; 6] = [2, 4, 8, 16, 24, 32];

/// How much faster a draft has to promise to be.
const WORTHWHILE: f64 = 1.05;

impl StepCosts {
    /// How many tokens to draft for one of the answers in a step of `rows`, if each comes true
    /// with this probability as long as those before it did: the number that makes most tokens
    /// per second, all answers counted; zero where none is faster.
    pub(crate) fn draft_tokens(&self, rows: usize, hit: f64) -> usize {
        let Some(plain) = self.predict(rows) else {
            return 0;
        };
        let mut best = (0, WORTHWHILE * rows as f64 / plain);
        for total in DRAFT_ROWS.into_iter().filter(|&total| total > rows) {
            let draft = total - rows;
            let Some(seconds) = self.predict(total) else {
                break;
            };
            // 1 + hit + hit² + …: the token after the last that came true is had as well.
            let tokens: f64 = (0..=draft as i32).map(|n| hit.powi(n)).sum();
            let rate = (rows as f64 - 1.0 + tokens) / seconds;
            if rate > best.1 {
                best = (draft, rate);
            }
        }
        best.0
    }
}

fn nearest(rows: usize) -> Option<usize> {
    if rows == 0 {
        return None;
    }
    (0..COUNTS.len()).min_by_key(|&at| COUNTS[at].abs_diff(rows))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured(costs: &mut StepCosts, rows: usize, millis: u64) {
        costs.observe(rows, Duration::from_millis(millis));
    }

    #[test]
    fn a_target_is_kept_as_soon_as_costs_are_known() {
        let mut costs = StepCosts::default();
        let target = Duration::from_millis(100);
        assert_eq!(costs.prefill_rows(1, 1000, target), FIRST_GUESS);
        // 4 ms a row.
        measured(&mut costs, 32, 128);
        let rows = costs.prefill_rows(1, 1000, target);
        measured(&mut costs, 1 + rows, 4 * (1 + rows as u64));
        let rows = costs.prefill_rows(1, 1000, target);
        assert!((16..=24).contains(&rows), "{rows}");
    }

    #[test]
    fn cheap_rows_are_taken_many_at_a_time() {
        let mut costs = StepCosts::default();
        for (rows, millis) in [(1, 10), (16, 20), (32, 30), (64, 50), (128, 90), (256, 170)] {
            measured(&mut costs, rows, millis);
        }
        let rows = costs.prefill_rows(4, 1000, Duration::from_millis(100));
        assert!((100..=140).contains(&rows), "{rows}");
    }

    #[test]
    fn even_a_target_that_cannot_be_met_lets_prompts_go_on() {
        let mut costs = StepCosts::default();
        measured(&mut costs, 1, 500);
        measured(&mut costs, 8, 4000);
        assert_eq!(
            costs.prefill_rows(1, 1000, Duration::from_millis(100)),
            LEAST
        );
        assert_eq!(costs.prefill_rows(1, 3, Duration::from_millis(100)), 3);
    }

    #[test]
    fn a_draft_is_made_only_where_it_pays() {
        // As a kernel that computes rows one by one up to 8 and has a faster way from 16 on.
        let mut costs = StepCosts::default();
        assert_eq!(costs.draft_tokens(1, 1.0), 0, "nothing is known yet");
        for (rows, millis) in [(1, 30), (2, 55), (4, 100), (8, 200), (16, 105), (32, 195)] {
            measured(&mut costs, rows, millis);
        }
        assert_eq!(costs.draft_tokens(1, 0.3), 0);
        assert_eq!(costs.draft_tokens(1, 0.9), 15);
        assert!(costs.draft_tokens(1, 0.99) >= 15);
        // Rows that cost nothing are always worth a try.
        let mut costs = StepCosts::default();
        for rows in [1, 2, 4, 8] {
            measured(&mut costs, rows, 30);
        }
        assert_eq!(costs.draft_tokens(1, 0.3), 7);
    }

    proptest! {
        #[test]
        fn never_more_than_wanted_and_never_nothing(
            measurements in prop::collection::vec((1_usize..600, 1_u64..1000), 0..20),
            decoding in 1_usize..64,
            wanted in 1_usize..2000,
        ) {
            let mut costs = StepCosts::default();
            for (rows, millis) in measurements {
                measured(&mut costs, rows, millis);
            }
            let rows = costs.prefill_rows(decoding, wanted, Duration::from_millis(150));
            prop_assert!((1..=wanted).contains(&rows));
        }
    }
}
