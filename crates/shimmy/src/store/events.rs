//! Work that takes long, and what it tells on the way. Owns the thread and its end; must not know
//! what is done.

use std::thread;

use futures_util::StreamExt;
use shimmy_models::hub::Cancel;
use shimmy_server::{StoreError, StoreEvents, StoreProgress};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that wait for a slow reader. Figures that find no room are left out: newer ones follow.
const ROOM: usize = 32;

type Event = Result<StoreProgress, StoreError>;

/// Tells how far the work is.
pub(super) struct Teller {
    sender: Sender<Event>,
    cancel: Cancel,
}

impl Teller {
    /// Tells a step, in words.
    pub(super) fn say(&self, status: impl Into<String>) {
        let progress = StoreProgress {
            status: status.into(),
            ..StoreProgress::default()
        };
        // Whoever does not listen any more has cancelled the work.
        let _ = self.sender.blocking_send(Ok(progress));
    }

    /// Tells figures, which newer ones replace.
    pub(super) fn note(&self, progress: StoreProgress) {
        // Where there is no room for these, newer ones follow.
        let _ = self.sender.try_send(Ok(progress));
    }

    /// Ends the work when nobody listens any more.
    pub(super) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Whether somebody still listens.
    pub(super) fn is_wanted(&self) -> bool {
        !self.cancel.is_cancelled()
    }
}

/// What happens while `work` is done on a thread of its own. Dropping it ends the work.
pub(super) fn of(
    work: impl FnOnce(&Teller) -> Result<(), StoreError> + Send + 'static,
) -> StoreEvents {
    let (sender, receiver) = channel(ROOM);
    let cancel = Cancel::default();
    let teller = Teller {
        sender,
        cancel: cancel.clone(),
    };
    let listener = Listener { receiver, cancel };
    let started = thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || {
            if let Err(error) = work(&teller) {
                // As in `say`.
                let _ = teller.sender.blocking_send(Err(error));
            }
        });
    if let Err(error) = started {
        let reason = format!("no thread can be started: {error}");
        return futures_util::stream::iter([Err(StoreError::Failed { reason })]).boxed();
    }
    futures_util::stream::unfold(listener, |mut listener| async {
        let event = listener.receiver.recv().await?;
        Some((event, listener))
    })
    .boxed()
}

struct Listener {
    receiver: Receiver<Event>,
    cancel: Cancel,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_work_ends_when_nobody_listens() {
        let (ended, end) = mpsc::channel();
        let events = of(move |teller| {
            while teller.is_wanted() {
                teller.say("working");
            }
            ended.send(()).expect("the test waits");
            Ok(())
        });
        drop(events);
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(()));
    }

    #[tokio::test]
    async fn figures_that_nobody_reads_hold_nothing_up() {
        let events = of(|teller| {
            for completed in 0..1000 {
                teller.note(StoreProgress {
                    completed: Some(completed),
                    ..StoreProgress::default()
                });
            }
            teller.say("done");
            Err(StoreError::Failed {
                reason: "no".to_owned(),
            })
        });
        let events: Vec<_> = events.collect().await;
        let last = &events[events.len() - 2..];
        assert_eq!(
            last[0].as_ref().map(|progress| &*progress.status),
            Ok("done")
        );
        assert!(last[1].is_err());
    }
}
