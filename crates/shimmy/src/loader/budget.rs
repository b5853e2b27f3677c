//! Who has to go so that a model fits. Pure: owns the sums, must not know engines, locks or time's
//! passing.

use std::path::PathBuf;
use std::time::Instant;

use crate::backend::Footprint;

/// What all models together may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of the machine's memory; none is not checked.
    pub(super) host: Option<u64>,
    /// Bytes of its GPUs' memory.
    pub(super) gpu: Option<u64>,
    /// How many there may be.
    pub(super) models: usize,
}

/// A model that takes memory now, or is about to.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) key: PathBuf,
    pub(super) footprint: Footprint,
    pub(super) tie: Tie,
}

/// What ties a model to its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    /// Nothing: it has been idle since then.
    IdleSince(Instant),
    /// Something that ends by itself: requests that use it, its own load, its end under way.
    Busy,
    /// Its owner's wish.
    Pinned,
}

/// Whether there is room for one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    /// There is, once these are gone.
    After(Vec<PathBuf>),
    /// Not before one that is at work comes to rest.
    Later,
    /// Not even then: so many bytes are what there can be for it.
    Never { budget_bytes: u64 },
}

/// Finds room for a model that takes `need`, beside those that are `held`. The one that has been
/// idle for longest goes first, and none goes in vain.
pub(super) fn room(need: &Footprint, held: &[Held], limits: &Limits) -> Room {
    let pinned = Sum::of(held.iter().filter(|held| held.tie == Tie::Pinned));
    if let Some(budget_bytes) = pinned.lacks(need, limits) {
        return Room::Never { budget_bytes };
    }
    let mut idle: Vec<(Instant, &Held)> = held
        .iter()
        .filter_map(|held| match held.tie {
            Tie::IdleSince(since) => Some((since, held)),
            Tie::Busy | Tie::Pinned => None,
        })
        .collect();
    idle.sort_by_key(|(since, _)| *since);
    let mut left = Sum::of(held.iter());
    let mut leaving = Vec::new();
    let mut idle = idle.into_iter();
    while left.lacks(need, limits).is_some() {
        let Some((_, next)) = idle.next() else {
            return Room::Later;
        };
        left.subtract(next);
        leaving.push(next);
    }
    // Of the oldest, a small one may have been given up before a large one that was enough alone.
    leaving.retain(|held| {
        let mut with = left;
        with.add(held);
        let is_needed = with.lacks(need, limits).is_some();
        if !is_needed {
            left = with;
        }
        is_needed
    });
    Room::After(leaving.into_iter().map(|held| held.key.clone()).collect())
}

/// What several models take.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    host: u64,
    gpu: u64,
    models: usize,
}

impl Sum {
    fn of<'a>(held: impl Iterator<Item = &'a Held>) -> Self {
        held.fold(Self::default(), |mut sum, held| {
            sum.add(held);
            sum
        })
    }

    fn add(&mut self, held: &Held) {
        self.host = self.host.saturating_add(held.footprint.host());
        self.gpu = self.gpu.saturating_add(held.footprint.gpu);
        self.models += 1;
    }

    fn subtract(&mut self, held: &Held) {
        self.host = self.host.saturating_sub(held.footprint.host());
        self.gpu = self.gpu.saturating_sub(held.footprint.gpu);
        self.models -= 1;
    }

    /// The bytes that are left beside these, if they are too few for one more, or if it would be
    /// one too many.
    fn lacks(&self, need: &Footprint, limits: &Limits) -> Option<u64> {
        let left = |limit: Option<u64>, taken| limit.map(|limit| limit.saturating_sub(taken));
        let short = |left: Option<u64>, need| left.filter(|&left| left < need);
        let host = short(left(limits.host, self.host), need.host());
        let gpu = short(left(limits.gpu, self.gpu), need.gpu);
        let places = (self.models >= limits.models).then_some(0);
        host.or(gpu).or(places)
    }
}

#[cfg(test)]
mod tests;
