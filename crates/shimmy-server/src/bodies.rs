//! How many bytes of bodies are in memory at a time, over all requests together. Owns the count and
//! what happens when much of it is given back; must not know what the bytes mean.
//!
//! Bytes count as they come, not as they are announced: a client that announces much and sends nothing
//! takes no room from others. The first of each body are free, so that what most requests send gets
//! through however much a few others send; as many connections as there may be bound them already.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes of each body that take no room.
const FREE: usize = 64 << 10;

/// A body from which on it is worth looking for memory that can go back to the system.
const LARGE: usize = 1 << 20;

/// See [`Bodies::together`].
const TOGETHER: Duration = Duration::from_secs(1);

/// The room that all bodies share.
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    bytes: usize,
    freed: Arc<Notify>,
    /// How long the memory of bodies is let pile up before it goes back, all at once.
    together: Duration,
    give_back: fn(),
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// There is no room for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bodies of other requests take the {bytes} bytes that all may take together")]
pub(crate) struct NoRoom {
    bytes: usize,
}

impl Bodies {
    /// Room for so many bytes. `give_back` is called after large bodies are gone; it may block.
    pub(crate) fn new(bytes: usize, give_back: fn()) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(bytes)),
            bytes,
            freed: Arc::default(),
            together: TOGETHER,
            give_back,
        }
    }

    /// Begins with a body that announces at least so many bytes; refused if they cannot all come.
    pub(crate) fn begin(&self, announced: u64) -> Result<Held, NoRoom> {
        let taken = announced.saturating_sub(FREE as u64);
        if taken > self.room.available_permits() as u64 {
            return Err(NoRoom { bytes: self.bytes });
        }
        Ok(self.hold())
    }

    /// Begins with a body of which nothing is known.
    pub(crate) fn hold(&self) -> Held {
        Held {
            room: Arc::clone(&self.room),
            freed: Arc::clone(&self.freed),
            permit: None,
            all: self.bytes,
            bytes: 0,
        }
    }

    /// Gives the memory of large bodies back to the system for ever.
    pub(crate) async fn tidy(&self) {
        loop {
            self.freed.notified().await;
            tokio::time::sleep(self.together).await;
            // Where it panics, the memory stays.
            let _ = tokio::task::spawn_blocking(self.give_back).await;
        }
    }
}

/// A body that has come in full, and its room.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) held: Held,
}

/// What has come over a connection of a message that is not whole. Whoever reads the connection counts,
/// because the message shows only at its end.
#[derive(Debug, Default)]
pub(crate) struct Unread(Mutex<Option<Held>>);

impl Unread {
    /// From now on messages come.
    pub(crate) fn begin(&self, bodies: &Bodies) {
        *self.held() = Some(bodies.hold());
    }

    /// Takes room for the next bytes; none where no messages come.
    pub(crate) fn grow(&self, bytes: usize) -> Option<Result<(), NoRoom>> {
        Some(self.held().as_mut()?.grow(bytes))
    }

    /// Gives the room of bytes back that are no part of the message.
    pub(crate) fn shrink(&self, bytes: usize) {
        if let Some(held) = self.held().as_mut() {
            held.shrink(bytes);
        }
    }

    /// The room of the message, which is whole, and a new one for the next.
    pub(crate) fn take(&self) -> Option<Held> {
        let mut held = self.held();
        let next = held.as_ref()?.another();
        held.replace(next)
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room of one body, until it is dropped.
pub(crate) struct Held {
    room: Arc<Semaphore>,
    freed: Arc<Notify>,
    permit: Option<OwnedSemaphorePermit>,
    all: usize,
    bytes: usize,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish()
    }
}

impl Held {
    /// Takes room for the next bytes of the body.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let no_room = NoRoom { bytes: self.all };
        let before = self.bytes.max(FREE);
        self.bytes = self.bytes.saturating_add(bytes);
        let more = self.bytes.saturating_sub(before);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| no_room)?;
        let taken = Arc::clone(&self.room).try_acquire_many_owned(more);
        let taken = taken.map_err(|_| no_room)?;
        match &mut self.permit {
            Some(permit) => permit.merge(taken),
            None => self.permit = Some(taken),
        }
        Ok(())
    }

    /// Gives the room of some bytes back.
    fn shrink(&mut self, bytes: usize) {
        let before = self.bytes.max(FREE);
        self.bytes = self.bytes.saturating_sub(bytes);
        let less = before - self.bytes.max(FREE);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(less));
        }
    }

    /// Room in the same room for another body.
    fn another(&self) -> Self {
        Self {
            room: Arc::clone(&self.room),
            freed: Arc::clone(&self.freed),
            permit: None,
            all: self.all,
            bytes: 0,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes >= LARGE {
            self.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn bodies_share_a_room_and_their_beginnings_are_free() {
        let bodies = Bodies::new(1000, || ());
        let mut first = bodies.begin(0).unwrap();
        first.grow(FREE).unwrap();
        first.grow(600).unwrap();
        let mut second = bodies.begin(FREE as u64 + 400).unwrap();
        second.grow(FREE - 1).unwrap();
        assert_eq!(second.grow(402), Err(NoRoom { bytes: 1000 }));
        assert!(bodies.begin(FREE as u64 + 401).is_err());
        assert!(bodies.begin(FREE as u64).is_ok());
        drop(first);
        let mut third = bodies.begin(FREE as u64 + 1000).unwrap();
        third.grow(FREE + 1000).unwrap();
        assert!(third.grow(1).is_err());
    }

    #[test]
    fn what_is_unread_has_room_until_its_message_is_whole_and_gone() {
        let bodies = Bodies::new(1000, || ());
        let unread = Unread::default();
        assert!(unread.grow(usize::MAX).is_none(), "no messages come yet");
        assert!(unread.take().is_none());
        unread.begin(&bodies);
        unread.grow(FREE + 700).unwrap().unwrap();
        unread.shrink(100);
        assert_eq!(bodies.room.available_permits(), 400);
        assert!(unread.grow(401).unwrap().is_err());
        let held = unread.take().unwrap();
        unread.grow(FREE).unwrap().unwrap();
        drop(held);
        assert_eq!(bodies.room.available_permits(), 1000);
        unread.shrink(usize::MAX);
        unread.grow(FREE + 1000).unwrap().unwrap();
    }

    #[tokio::test]
    async fn memory_goes_back_after_large_bodies_alone() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static TIMES: AtomicUsize = AtomicUsize::new(0);
        let count = || {
            TIMES.fetch_add(1, Ordering::SeqCst);
        };
        let bodies = Bodies {
            together: Duration::ZERO,
            ..Bodies::new(usize::MAX, count)
        };
        let read = |bytes| bodies.begin(0).unwrap().grow(bytes).unwrap();
        read(LARGE - 1);
        assert!(bodies.freed.notified().now_or_never().is_none());
        (0..5).for_each(|_| read(LARGE));
        let seen = async {
            while TIMES.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = bodies.tidy() => {}
            () = seen => {}
        }
        // All of them at once.
        assert!(bodies.freed.notified().now_or_never().is_none());
    }
}
