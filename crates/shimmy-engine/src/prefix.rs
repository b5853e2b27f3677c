//! Who shares which prefix, what is parked, what is evicted. Pure.
//!
//! It owns the sequences of the KV cache: which of them are in use, which keep the tokens of a
//! request that has ended (parked), and which are free. A request starts from the longest prefix
//! that any of them holds. What has to be done to the cache is collected as [`CacheAction`]s, in
//! order.

use crate::cells::Cells;
use crate::runner::{AdapterScale, RunnerLimits, SequenceId, Token};

/// What two requests must have in common to share what was computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Key {
    pub(crate) adapters: Vec<AdapterScale>,
    pub(crate) scope: u64,
}

/// What has to be done to the cache before the next batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CacheAction {
    /// Forget all that a sequence holds.
    Free(SequenceId),
    /// Keep elsewhere what a sequence holds, and forget it here.
    Offload(Parked),
    /// `to`, which is empty, gets the first `length` tokens of `from`.
    Fork {
        from: SequenceId,
        to: SequenceId,
        length: usize,
    },
    /// Keep the first `length` tokens.
    Cut { sequence: SequenceId, length: usize },
}

/// What a request left behind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parked {
    pub(crate) sequence: SequenceId,
    pub(crate) tokens: Vec<Token>,
    pub(crate) key: Key,
}

/// The shortest prefix that is worth keeping or forking.
pub(crate) const SHORTEST: usize = 8;

/// The sequences of one cache.
#[derive(Debug)]
pub(crate) struct Prefixes {
    limits: RunnerLimits,
    cells: Cells,
    free: Vec<SequenceId>,
    /// Least recently used first.
    parked: Vec<Parked>,
    /// Most cells that only parked sequences hold.
    most_parked: usize,
    /// Whether what is evicted is kept elsewhere.
    offloads: bool,
    actions: Vec<CacheAction>,
    evictions: u64,
}

impl Prefixes {
    pub(crate) fn new(limits: RunnerLimits, most_parked: usize, offloads: bool) -> Self {
        // The last in the list is taken first.
        let free = (0..limits.sequences as u32).rev().map(SequenceId).collect();
        Self {
            limits,
            cells: Cells::new(limits.sequences),
            free,
            parked: Vec::new(),
            most_parked,
            offloads,
            actions: Vec::new(),
            evictions: 0,
        }
    }

    /// What has to be done to the cache, in order; the list is empty afterwards.
    pub(crate) fn take_actions(&mut self) -> Vec<CacheAction> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Cells that nobody holds.
    pub(crate) fn room(&self) -> usize {
        self.limits.cells.saturating_sub(self.cells.used())
    }

    /// Learns how many cells the cache has.
    pub(crate) fn limit_cells(&mut self, cells: usize) {
        self.limits.cells = cells;
    }

    /// Parked prefixes, least recently used first.
    pub(crate) fn parked(&self) -> &[Parked] {
        &self.parked
    }

    /// How many prefixes were given up for want of room.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// An empty sequence; none if all are in use. Evicts what was parked longest if need be.
    pub(crate) fn take(&mut self) -> Option<SequenceId> {
        if self.free.is_empty() {
            self.evict_oldest(None);
        }
        self.free.pop()
    }

    /// The parked prefix that shares most with `tokens`: its place and how much.
    pub(crate) fn best_parked(&self, tokens: &[Token], key: &Key) -> Option<(usize, usize)> {
        let candidates = self.parked.iter().enumerate();
        candidates
            .filter(|(_, parked)| parked.key == *key)
            .map(|(at, parked)| {
                (
                    at,
                    self.usable(shared(&parked.tokens, tokens), parked.tokens.len(), tokens),
                )
            })
            .filter(|&(_, length)| length >= SHORTEST)
            .max_by_key(|&(_, length)| length)
    }

    /// How much of a donor that holds `held` tokens, `shared` of them in common, can start a
    /// request with this prompt. One token is always left to compute: its logits are what is
    /// sampled from.
    pub(crate) fn usable(&self, shared: usize, held: usize, prompt: &[Token]) -> usize {
        let length = shared.min(prompt.len() - 1);
        // Where a cache cannot be cut, only what a sequence holds as a whole can be had.
        if self.limits.can_truncate || length == held {
            length
        } else {
            0
        }
    }

    /// An empty sequence that then holds the first `length` tokens of a parked one.
    pub(crate) fn fork_parked(&mut self, at: usize, length: usize) -> Option<SequenceId> {
        let donor = self.parked.remove(at);
        // Used now, so the last to be evicted.
        let from = donor.sequence;
        self.parked.push(donor);
        if self.free.is_empty() {
            self.evict_oldest(Some(from));
        }
        if self.free.is_empty() {
            // The donor is all there is: it is taken over.
            let donor = self.parked.pop()?;
            if length < donor.tokens.len() {
                self.cut(from, length);
            }
            return Some(from);
        }
        self.fork(from, length)
    }

    /// An empty sequence that then holds the first `length` tokens of one in use.
    pub(crate) fn fork(&mut self, from: SequenceId, length: usize) -> Option<SequenceId> {
        let to = self.take()?;
        self.cells.fork(from, to, length);
        self.actions.push(CacheAction::Fork { from, to, length });
        Some(to)
    }

    /// A sequence has grown.
    pub(crate) fn extend(&mut self, sequence: SequenceId, rows: usize) {
        self.cells.extend(sequence, rows);
    }

    /// A sequence keeps its first `length` tokens.
    pub(crate) fn cut(&mut self, sequence: SequenceId, length: usize) {
        self.cells.cut(sequence, length);
        self.actions.push(CacheAction::Cut { sequence, length });
    }

    /// The cache lost what a sequence held.
    pub(crate) fn lost(&mut self, sequence: SequenceId) {
        self.cells.cut(sequence, 0);
    }

    /// Gives a sequence back.
    pub(crate) fn release(&mut self, sequence: SequenceId) {
        self.cells.cut(sequence, 0);
        self.actions.push(CacheAction::Free(sequence));
        self.free.push(sequence);
    }

    /// Keeps what a sequence holds for requests to come.
    pub(crate) fn park(&mut self, sequence: SequenceId, tokens: Vec<Token>, key: Key) {
        let covers = |longer: &[Token], shorter: &[Token]| longer.starts_with(shorter);
        let known = self
            .parked
            .iter()
            .position(|parked| parked.key == key && covers(&parked.tokens, &tokens));
        let is_known = known.is_some_and(|at| {
            self.limits.can_truncate || self.parked[at].tokens.len() == tokens.len()
        });
        if tokens.len() < SHORTEST || self.most_parked == 0 || is_known {
            if let Some(at) = known {
                let parked = self.parked.remove(at);
                self.parked.push(parked);
            }
            return self.release(sequence);
        }
        if self.limits.can_truncate {
            // What it continues can be had from it.
            while let Some(at) = self
                .parked
                .iter()
                .position(|parked| parked.key == key && covers(&tokens, &parked.tokens))
            {
                let parked = self.parked.remove(at);
                self.release(parked.sequence);
            }
        }
        self.parked.push(Parked {
            sequence,
            tokens,
            key,
        });
        // The one that may be asked for next is not worth two copies, however long it is: it takes
        // cells that a running request had until now.
        let spared = self.offloads.then_some(sequence);
        while self.parked_cells() > self.most_parked {
            if !self.evict_oldest(spared) {
                break;
            }
        }
    }

    /// Cells that parked sequences hold, each counted once.
    pub(crate) fn parked_cells(&self) -> usize {
        self.cells
            .used_by(self.parked.iter().map(|parked| parked.sequence))
    }

    /// Gives up the prefix that was used least recently; false if there is none but `spared`.
    pub(crate) fn evict_oldest(&mut self, spared: Option<SequenceId>) -> bool {
        let oldest = self
            .parked
            .iter()
            .position(|parked| Some(parked.sequence) != spared);
        let Some(at) = oldest else { return false };
        let parked = self.parked.remove(at);
        if self.offloads {
            self.cells.cut(parked.sequence, 0);
            self.free.push(parked.sequence);
            self.actions.push(CacheAction::Offload(parked));
        } else {
            tracing::debug!(tokens = parked.tokens.len(), "a parked prefix is evicted");
            self.evictions += 1;
            self.release(parked.sequence);
        }
        true
    }

    /// Forgets parked prefixes that some adapter took part in.
    pub(crate) fn forget_adapter(&mut self, id: crate::runner::AdapterId) {
        let uses = |parked: &Parked| parked.key.adapters.iter().any(|adapter| adapter.id == id);
        while let Some(at) = self.parked.iter().position(uses) {
            let parked = self.parked.remove(at);
            self.release(parked.sequence);
        }
    }

    /// Forgets all that the cache held: the runner has started over. Sequences in use stay so.
    pub(crate) fn forget_all(&mut self) {
        for index in 0..self.limits.sequences as u32 {
            self.cells.cut(SequenceId(index), 0);
        }
        for parked in self.parked.drain(..) {
            self.free.push(parked.sequence);
        }
        self.actions.clear();
    }
}

/// Of several prefixes the one that shares most with a prompt, and how much, if that is clearly more
/// than `known` tokens. With `whole`, only one that the prompt begins with and goes on from.
pub(crate) fn best_match<'a>(
    prefixes: impl Iterator<Item = (usize, &'a [Token])>,
    prompt: &[Token],
    known: usize,
    whole: bool,
) -> Option<(usize, usize)> {
    prefixes
        .map(|(at, tokens)| (at, shared(tokens, prompt), tokens.len()))
        .filter(|&(_, same, length)| !whole || (same == length && length < prompt.len()))
        .map(|(at, same, _)| (at, same))
        .max_by_key(|&(_, same)| same)
        .filter(|&(_, same)| same >= known + SHORTEST)
}

/// How many tokens two lists begin with alike.
pub(crate) fn shared(a: &[Token], b: &[Token]) -> usize {
    // In blocks first: comparing slices compiles to `memcmp`.
    const BLOCK: usize = 64;
    let most = a.len().min(b.len());
    let mut same = 0;
    while same + BLOCK <= most && a[same..same + BLOCK] == b[same..same + BLOCK] {
        same += BLOCK;
    }
    same + a[same..most]
        .iter()
        .zip(&b[same..most])
        .take_while(|(a, b)| a == b)
        .count()
}
