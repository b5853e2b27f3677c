//! Ending a download from outside. Owns the flag and the waits that it ends.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Ends whatever was given a clone of it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    /// Ends it, within the time that a read may take.
    pub fn cancel(&self) {
        let (flag, changed) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it is to end.
    pub fn is_cancelled(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits this long, or until it is to end; true if it is.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let (flag, changed) = &*self.0;
        let end = Instant::now() + time;
        let mut is_set = flag.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_set {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = changed.wait_timeout(is_set, left);
            is_set = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *is_set
    }
}
