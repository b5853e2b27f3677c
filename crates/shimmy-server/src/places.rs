//! Places for connections, and who gives one up when all are taken.
//!
//! A connection that waits for its next request has its place only as long as nobody else needs it:
//! then the one that has waited longest goes. It must not know what a connection carries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    resting: Mutex<Resting>,
    /// One more rests.
    rested: Notify,
}

/// Those who rest, by their turns: who came first has the lowest.
#[derive(Debug, Default)]
struct Resting {
    seats: BTreeMap<u64, (OwnedSemaphorePermit, CancellationToken)>,
    next_turn: u64,
}

/// A connection's seat.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Arc<Places>,
    state: Mutex<State>,
    dismissed: CancellationToken,
}

#[derive(Debug)]
enum State {
    /// At work, on a place of its own.
    Working(OwnedSemaphorePermit),
    /// Its place lies with those who rest, under this turn.
    Resting(u64),
    /// Its place is somebody else's; what it still does is its last work.
    Dismissed,
}

impl Places {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            resting: Mutex::default(),
            rested: Notify::new(),
        })
    }

    /// A seat for one who begins with work: a free place, or that of whoever has rested longest; if
    /// everybody works, the first that is free or rested on.
    pub(crate) async fn seat(self: &Arc<Self>) -> Option<Seat> {
        Some(Seat {
            places: Arc::clone(self),
            state: Mutex::new(State::Working(self.place().await?)),
            dismissed: CancellationToken::new(),
        })
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let free = Arc::clone(&self.free);
            if let Ok(place) = Arc::clone(&free).try_acquire_owned() {
                return Some(place);
            }
            let longest = self.resting().seats.pop_first();
            if let Some((_, (place, dismissed))) = longest {
                dismissed.cancel();
                return Some(place);
            }
            tokio::select! {
                place = free.acquire_owned() => return place.ok(),
                () = self.rested.notified() => {}
            }
        }
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// There is work; its end is the end of what is returned.
    pub(crate) fn work(self: &Arc<Self>) -> Work {
        self.take_place();
        Work(Arc::clone(self))
    }

    /// Completes when the place is given to another.
    pub(crate) async fn dismissed(&self) {
        self.dismissed.cancelled().await;
    }

    fn take_place(&self) {
        let mut state = self.state();
        if let State::Resting(turn) = *state {
            let place = self.places.resting().seats.remove(&turn);
            *state = place.map_or(State::Dismissed, |(place, _)| State::Working(place));
        }
    }

    fn rest(&self) {
        let mut state = self.state();
        if let State::Working(place) = std::mem::replace(&mut *state, State::Dismissed) {
            let mut resting = self.places.resting();
            let turn = resting.next_turn;
            resting.next_turn += 1;
            resting.seats.insert(turn, (place, self.dismissed.clone()));
            *state = State::Resting(turn);
            self.places.rested.notify_one();
        }
    }

    /// Taken before the lock of those who rest, never after it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.take_place();
    }
}

/// Work at a seat: a rest follows it.
#[derive(Debug)]
pub(crate) struct Work(Arc<Seat>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.rest();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    fn seat(places: &Arc<Places>) -> Option<Arc<Seat>> {
        now(places.seat()).flatten().map(Arc::new)
    }

    #[test]
    fn whoever_has_rested_longest_goes() {
        let places = Places::new(2);
        let (first, second) = (seat(&places).unwrap(), seat(&places).unwrap());
        drop(first.work());
        drop(second.work());
        // It has worked since, so the other has rested longer.
        drop(first.work());
        let third = seat(&places).unwrap();
        assert!(now(second.dismissed()).is_some());
        assert!(now(first.dismissed()).is_none());
        let fourth = seat(&places).unwrap();
        assert!(now(first.dismissed()).is_some());
        // Last work of one whose place is gone: it has none to rest on.
        drop(second.work());
        assert!(seat(&places).is_none());
        drop((third, fourth));
        assert!(seat(&places).is_some());
    }

    #[test]
    fn who_works_stays_and_who_comes_waits_for_a_rest() {
        let places = Places::new(1);
        let busy = seat(&places).unwrap();
        let work = busy.work();
        let mut comes = Box::pin(places.seat());
        assert!(now(comes.as_mut()).is_none());
        drop(work);
        assert!(now(comes.as_mut()).flatten().is_some());
        assert!(now(busy.dismissed()).is_some());
    }

    #[test]
    fn who_leaves_at_rest_leaves_a_place() {
        let places = Places::new(1);
        let first = seat(&places).unwrap();
        drop(first.work());
        drop(first);
        assert!(places.resting().seats.is_empty());
        assert_eq!(places.free.available_permits(), 1);
    }
}
