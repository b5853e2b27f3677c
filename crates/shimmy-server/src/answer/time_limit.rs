//! A limit on the time of an answer, for editors that wait for it while somebody types.
//!
//! llama-server's rule: it runs from the first text on, so that a long prompt does not use it up,
//! and ends nothing before a line is complete.

use std::time::{Duration, Instant};

/// The limit of one answer.
#[derive(Debug)]
pub(super) struct TimeLimit {
    limit: Duration,
    /// When the first text came.
    since: Option<Instant>,
    has_line_break: bool,
}

impl TimeLimit {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            has_line_break: false,
        }
    }

    /// Takes note of a text that came `now`, and tells whether the answer should end with it.
    pub(super) fn is_over(&mut self, text: &str, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.has_line_break |= text.contains('\n');
        self.has_line_break && now.duration_since(since) > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_runs_from_the_first_text_and_a_line_is_completed() {
        let mut limit = TimeLimit::new(Duration::from_secs(5));
        let first = Instant::now();
        let after = |seconds| first + Duration::from_secs(seconds);
        assert!(!limit.is_over("a\n", first));
        assert!(!limit.is_over("b", after(5)));
        assert!(limit.is_over("c", after(6)));
        let mut unbroken = TimeLimit::new(Duration::from_secs(5));
        assert!(!unbroken.is_over("a", first));
        assert!(!unbroken.is_over("b", after(60)));
        assert!(unbroken.is_over("c\n", after(61)));
    }
}
