//! A file from a host that does not give parts of files: all of it, from the beginning each time.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::download::Download;
use super::hashes::Hashes;
use crate::hub::client::{Backoff, Fault, unreachable};
use crate::hub::progress::{Speed, TICK};
use crate::hub::{Cancel, Progress, PullError};

impl Download<'_> {
    /// Fetches all of a file from a host that does not give parts, from the beginning each time.
    pub(super) fn fetch_whole(
        &self,
        cancel: &Cancel,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Hashes, PullError> {
        let mut backoff = Backoff::new(&self.client.limits);
        loop {
            let (reason, after) = match self.try_whole(cancel, watch) {
                Ok(()) => break,
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, after }) => (reason, after),
            };
            let Some(wait) = backoff.next(after) else {
                return Err(unreachable(&self.job.url, reason));
            };
            watch(self.retrying(reason, wait));
            if cancel.wait(wait) {
                return Err(PullError::Cancelled);
            }
        }
        watch(Progress::Verifying {
            file: self.job.name(),
        });
        let hashes = self.hash().map_err(self.job.io())?;
        hashes.ok_or(PullError::Cancelled)
    }

    fn try_whole(&self, cancel: &Cancel, watch: &mut dyn FnMut(Progress)) -> Result<(), Fault> {
        let io = |error| Fault::Final(self.job.io()(error));
        self.parts.begin().map_err(io)?;
        self.has_no_parts.store(false, Ordering::Release);
        let answer = self.client.get(&self.job.url, None)?;
        if let Some(length) = answer.length.filter(|&length| length != self.job.size) {
            let size = self.job.size;
            let reason = format!("the file has {length} bytes and should have {size}");
            return Err(Fault::Final(self.client.nonsense(reason)));
        }
        let mut speed = Speed::new(0);
        let mut number = 0;
        let mut told = Instant::now();
        self.take(answer, self.job.size, |mut bytes| {
            while !bytes.is_empty() {
                let missing = self.parts.missing_of(number);
                let room = usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX);
                let (now, rest) = bytes.split_at(room.min(bytes.len()));
                self.parts.add(number, now)?;
                bytes = rest;
                if self.parts.missing_of(number).is_empty() {
                    number += 1;
                }
            }
            if told.elapsed() >= TICK {
                watch(self.fetching(&mut speed));
                told = Instant::now();
            }
            if cancel.is_cancelled() {
                self.stop.cancel();
            }
            Ok(())
        })?;
        match self.stop.is_cancelled() {
            true => Err(Fault::Final(PullError::Cancelled)),
            false => Ok(()),
        }
    }
}
