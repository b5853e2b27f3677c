//! A load under way, seen from both sides: how far it is, and whether it is still wanted.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Shared by the thread that loads and whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The bits of a float.
    part: AtomicU32,
    is_stopped: AtomicBool,
}

impl Progress {
    /// Says how much is done, 0 to 1, and learns whether to go on.
    pub(crate) fn report(&self, part: f32) -> bool {
        self.part.store(part.to_bits(), Ordering::Relaxed);
        self.is_wanted()
    }

    /// How much is done.
    pub(crate) fn part(&self) -> f32 {
        f32::from_bits(self.part.load(Ordering::Relaxed)).clamp(0.0, 1.0)
    }

    /// Whether to go on.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.is_stopped.load(Ordering::Acquire)
    }

    /// The outcome is not wanted any more.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }
}
