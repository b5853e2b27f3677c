//! How long a model stays when nothing uses it. Owns when that ends, must not know how a model ends.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use shimmy_server::KeepAlive;
use tokio::sync::Notify;

use super::residents::Residents;

/// How long a model stays in memory after its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// This long.
    For(Duration),
    /// Until its memory is needed.
    Forever,
}

/// Who uses a model, and what becomes of it when nobody does.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    pub(super) users: usize,
    keep: Keep,
    pub(super) is_pinned: bool,
    /// When the last use ended, or the load if there was none.
    pub(super) last_used: Instant,
}

impl Usage {
    /// Of a model that nobody has used yet.
    pub(super) fn new(keep: Keep, is_pinned: bool, now: Instant) -> Self {
        Self {
            users: 0,
            keep,
            is_pinned,
            last_used: now,
        }
    }

    /// One more user, with a wish of its own perhaps. The last wish counts.
    pub(super) fn begin(&mut self, wish: KeepAlive) {
        self.users += 1;
        match wish {
            KeepAlive::Default => {}
            KeepAlive::For(time) => self.keep = Keep::For(time),
            KeepAlive::Forever => self.keep = Keep::Forever,
        }
    }

    /// One user less; true if it was the last one.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        self.users = self.users.saturating_sub(1);
        self.last_used = now;
        self.users == 0
    }

    /// When it is to be unloaded, if nothing uses it from now on; none means never.
    pub(super) fn expiry(&self, now: Instant) -> Option<Instant> {
        let since = if self.users > 0 { now } else { self.last_used };
        match self.keep {
            // A time beyond what the clock can count is never.
            Keep::For(time) if !self.is_pinned => since.checked_add(time),
            Keep::For(_) | Keep::Forever => None,
        }
    }

    /// When it is to be unloaded as things are; none while something uses it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.users {
            0 => self.expiry(self.last_used),
            _ => None,
        }
    }
}

/// Unloads what has been idle for too long. Sleeps until the next deadline, or, when there is none,
/// until something changes.
pub(super) async fn watch(residents: Weak<Residents>, changed: Arc<Notify>) {
    loop {
        let next = match residents.upgrade() {
            Some(residents) => residents.unload_idle(Instant::now()),
            None => return,
        };
        match next {
            None => changed.notified().await,
            Some(deadline) => {
                // Whichever comes first, there may be something to do.
                let _ = tokio::time::timeout_at(deadline.into(), changed.notified()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_time_runs_from_the_end_of_the_last_use() {
        let start = Instant::now();
        let mut usage = Usage::new(Keep::For(5 * MINUTE), false, start);
        assert_eq!(usage.deadline(), Some(start + 5 * MINUTE));
        usage.begin(KeepAlive::Default);
        usage.begin(KeepAlive::Default);
        assert_eq!(usage.deadline(), None);
        assert_eq!(usage.expiry(start + MINUTE), Some(start + 6 * MINUTE));
        assert!(!usage.end(start + MINUTE));
        assert_eq!(usage.deadline(), None);
        assert!(usage.end(start + 2 * MINUTE));
        assert_eq!(usage.deadline(), Some(start + 7 * MINUTE));
    }

    #[test]
    fn the_last_wish_counts_and_no_wish_changes_nothing() {
        let start = Instant::now();
        let mut usage = Usage::new(Keep::For(MINUTE), false, start);
        let mut asked = |wish| {
            usage.begin(wish);
            usage.end(start);
            usage.deadline()
        };
        assert_eq!(asked(KeepAlive::Forever), None);
        assert_eq!(asked(KeepAlive::Default), None);
        assert_eq!(asked(KeepAlive::For(Duration::ZERO)), Some(start));
        assert_eq!(asked(KeepAlive::For(Duration::MAX)), None);
        assert_eq!(asked(KeepAlive::For(MINUTE)), Some(start + MINUTE));
    }

    #[test]
    fn what_is_pinned_has_no_deadline() {
        let start = Instant::now();
        let mut usage = Usage::new(Keep::Forever, true, start);
        usage.begin(KeepAlive::For(Duration::ZERO));
        usage.end(start);
        assert_eq!(usage.deadline(), None);
    }
}
