//! The waits between tries.

use std::time::Duration;

use crate::hub::PullLimits;

/// The waits between tries: each twice the last, and none once it is hopeless.
#[derive(Debug)]
pub(in crate::hub) struct Backoff<'a> {
    limits: &'a PullLimits,
    failed: u32,
}

impl<'a> Backoff<'a> {
    pub(in crate::hub) fn new(limits: &'a PullLimits) -> Self {
        Self { limits, failed: 0 }
    }

    /// Something came: failures before it no longer count.
    pub(in crate::hub) fn reset(&mut self) {
        self.failed = 0;
    }

    /// How long to wait after one more failure; none to give up.
    pub(in crate::hub) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.limits.attempts {
            return None;
        }
        let doubled = 2_u32.saturating_pow(self.failed - 1);
        let own = self.limits.backoff.saturating_mul(doubled);
        Some(
            asked
                .unwrap_or(own)
                .max(own)
                .min(self.limits.longest_backoff),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let limits = PullLimits {
            attempts: 4,
            backoff: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(3),
            ..PullLimits::default()
        };
        let mut backoff = Backoff::new(&limits);
        let seconds = |wait: Option<Duration>| wait.map(|wait| wait.as_secs());
        assert_eq!(seconds(backoff.next(None)), Some(1));
        assert_eq!(seconds(backoff.next(None)), Some(2));
        assert_eq!(
            seconds(backoff.next(Some(Duration::from_secs(999)))),
            Some(3)
        );
        assert_eq!(seconds(backoff.next(None)), None);
        backoff.reset();
        assert_eq!(seconds(backoff.next(Some(Duration::from_secs(2)))), Some(2));
    }
}
