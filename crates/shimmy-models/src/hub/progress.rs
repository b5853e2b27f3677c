//! What is told of a download while it runs. Owns the figures and how often they come; must not
//! know how they are shown.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How often figures come.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// The time over which the speed is averaged.
const WINDOW: f64 = 3.0;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// Somebody else downloads the same file; it is waited for.
    Waiting {
        /// The file.
        file: String,
    },
    /// Bytes have come.
    Fetching {
        /// The file.
        file: String,
        /// Its SHA-256, if it is known before.
        sha256: Option<String>,
        /// Bytes that are on disk.
        done_bytes: u64,
        /// Bytes of the file.
        size_bytes: u64,
        /// The speed of the last seconds; unknown at first.
        bytes_per_second: Option<f64>,
        /// What the rest takes at that speed.
        seconds_left: Option<f64>,
    },
    /// A try failed, and another one follows.
    Retrying {
        /// The file.
        file: String,
        /// Why it failed.
        reason: String,
        /// The wait before the next one.
        seconds: f64,
    },
    /// All bytes are here, and their hash is computed.
    Verifying {
        /// The file.
        file: String,
    },
    /// The file is whole, has the hash that it should, and has its name.
    Finished {
        /// The file.
        file: String,
        /// Its SHA-256.
        sha256: String,
        /// Whether the hub said the hash before; if not, it is only what came.
        is_verified: bool,
    },
}

/// Turns counts of bytes into a speed.
#[derive(Debug)]
pub(super) struct Speed {
    last: (Instant, u64),
    average: Option<f64>,
}

impl Speed {
    pub(super) fn new(done: u64) -> Self {
        Self {
            last: (Instant::now(), done),
            average: None,
        }
    }

    /// The speed now that so many bytes are done: an average that forgets exponentially.
    pub(super) fn at(&mut self, done: u64) -> Option<f64> {
        let seconds = self.last.0.elapsed().as_secs_f64();
        if seconds >= TICK.as_secs_f64() / 2.0 {
            let now = done.saturating_sub(self.last.1) as f64 / seconds;
            let share = 1.0 - (-seconds / WINDOW).exp();
            self.average = Some(self.average.map_or(now, |old| old + (now - old) * share));
            self.last = (Instant::now(), done);
        }
        self.average
    }
}
