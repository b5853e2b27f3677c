//! A line of some speed, which all connections of the fake hub share. Owns when it is free; must not
//! know what is sent over it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shorter waits are as long as the system likes.
const SHORTEST: Duration = Duration::from_millis(2);

/// When the line has sent what it was given.
#[derive(Debug, Default)]
pub(crate) struct Line {
    is_free: Option<Instant>,
}

impl Line {
    /// How long it takes from now on to send so many bytes after all those before.
    pub(crate) fn send(&mut self, now: Instant, bytes: usize, bytes_per_second: u32) -> Duration {
        let takes = Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second));
        let is_free = self.is_free.map_or(now, |at| at.max(now)) + takes;
        self.is_free = Some(is_free);
        is_free - now
    }
}

/// Lets time pass, if it is long enough to be measured.
pub(crate) fn wait(duration: Duration) {
    if duration >= SHORTEST {
        let (never, condition) = (Mutex::new(()), Condvar::new());
        let guard = never.lock().unwrap_or_else(PoisonError::into_inner);
        drop(condition.wait_timeout_while(guard, duration, |()| true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_together_waits_for_what_was_before() {
        let (mut line, now) = (Line::default(), Instant::now());
        assert_eq!(line.send(now, 500, 1000), Duration::from_millis(500));
        assert_eq!(line.send(now, 500, 1000), Duration::from_millis(1000));
        let later = now + Duration::from_secs(9);
        assert_eq!(line.send(later, 100, 1000), Duration::from_millis(100));
    }
}
