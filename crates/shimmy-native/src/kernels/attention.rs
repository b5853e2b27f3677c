//! Attention over a cache in blocks. Owns the order in which cells are added up: blocks of 64 one
//! after the other with a running maximum, in splits of eight blocks that are computed apart and
//! merged in order. So a row's result does not depend on the rows beside it, nor on threads.

mod cells;
mod scores;
mod split;
mod spread;
#[cfg(test)]
mod tests;

use split::{Vector, split_on};
use spread::spread_query;

use super::{Level, dispatch};
use crate::pool::{Chunks, Pool};

pub use cells::CacheType;
pub(crate) use cells::{CELLS, HeadLayout, PART};
pub(crate) use spread::spread_keys;

/// Blocks of a split.
const SPLIT: usize = 8;
/// Query vectors that are computed together at the most.
const VECTORS: usize = 8;

/// One layer's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) level: Level,
    /// Heads of the queries.
    pub(crate) heads: usize,
    /// Heads of keys and values, each shared by as many heads of the queries.
    pub(crate) key_heads: usize,
    /// How the heads of keys and values lie in a block.
    pub(crate) layout: HeadLayout,
    pub(crate) scale: f32,
    /// Scores are bent to stay below this: `cap × tanh(score ÷ cap)`.
    pub(crate) cap: Option<f32>,
    pub(crate) sight: Sight,
    /// The cache's blocks, by number.
    pub(crate) blocks: &'a [Box<[u8]>],
    /// Where the layer, its heads one after the other, is in a block.
    pub(crate) layer: usize,
}

/// Which cells of its sequence a row sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sight {
    /// Itself and those before it, so many in all; every one if none.
    Before(Option<u32>),
    /// Those behind it, too, up to the query's last row.
    Whole,
}

/// Rows of one sequence, at consecutive positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    /// The sequence's blocks.
    pub(crate) table: &'a [u32],
    /// The first row's number in the batch, and how many there are.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    /// The first row's position.
    pub(crate) position: usize,
}

impl Attention<'_> {
    /// Floats of a split's result for one vector: maximum, sum, values.
    fn partial(&self) -> usize {
        2 + self.layout.padded()
    }
}

/// Some vectors of a query, of heads that share their keys.
#[derive(Debug, Clone, Copy)]
struct Unit {
    query: usize,
    key_head: usize,
    /// The first vector: row × heads per key head + head.
    first: usize,
    count: usize,
    /// Blocks that any of them sees.
    blocks: (usize, usize),
    /// Its first split among those of all units.
    split: usize,
}

impl Unit {
    fn splits(&self) -> usize {
        self.blocks.1.div_ceil(SPLIT) - self.blocks.0 / SPLIT
    }
}

/// Computes the attention of all queries: `q` has a row of `heads × head` values for each row of the
/// batch, as has `out`. What is in `q` afterwards is of no use.
///
/// # Panics
///
/// When a buffer is too short, or a table does not cover the positions.
pub(crate) fn attend(
    pool: &mut Pool,
    attention: &Attention<'_>,
    queries: &[Query<'_>],
    q: &mut [f32],
    out: &mut [f32],
    partials: &mut Vec<f32>,
) {
    let width = attention.heads * attention.layout.head;
    let rows = queries.iter().map(|query| query.first + query.rows).max();
    let values = rows.unwrap_or(0) * width;
    assert!(q.len() >= values, "queries are missing");
    assert!(out.len() >= values, "no room for the results");
    if attention.layout.kind == CacheType::Q8_0 {
        pool.for_chunks(&mut q[..values], width, |_, row| {
            let heads = row.chunks_exact_mut(attention.layout.head);
            heads.for_each(spread_query);
        });
    }
    let q = &*q;
    let units = share_out(attention, queries);
    let splits = units.last().map_or(0, |unit| unit.split + unit.splits());
    let out = Chunks::new(out, width);
    let size = attention.partial();
    if units.len() >= 8 * pool.threads() || splits == units.len() {
        // Enough to do without sharing out the splits.
        pool.run(units.len(), &|index| {
            let unit = &units[index];
            let mut state = vec![0.0; unit.count * size];
            let mut partial = vec![0.0; unit.count * size];
            for split in 0..unit.splits() {
                let into = if split == 0 { &mut state } else { &mut partial };
                compute(attention, queries, unit, split, q, into);
                if split > 0 {
                    merge(&mut state, &partial, size);
                }
            }
            finish(attention, queries, unit, &state, &out);
        });
        return;
    }
    let room = VECTORS * size;
    partials.resize(splits * room, 0.0);
    pool.for_chunks(partials, room, |index, partial| {
        let unit = &units[units.partition_point(|unit| unit.split <= index) - 1];
        let partial = &mut partial[..unit.count * size];
        compute(attention, queries, unit, index - unit.split, q, partial);
    });
    for unit in &units {
        let of_unit = &mut partials[unit.split * room..(unit.split + unit.splits()) * room];
        let (state, others) = of_unit.split_at_mut(room);
        for partial in others.chunks_exact(room) {
            merge(&mut state[..unit.count * size], partial, size);
        }
        finish(attention, queries, unit, &state[..unit.count * size], &out);
    }
}

fn share_out(attention: &Attention<'_>, queries: &[Query<'_>]) -> Vec<Unit> {
    let group = attention.heads / attention.key_heads;
    let most = attention.level.group().min(VECTORS);
    let mut units = Vec::new();
    let mut split = 0;
    for (number, query) in queries.iter().enumerate() {
        assert!(query.table.len() * CELLS >= query.position + query.rows);
        let vectors = query.rows * group;
        for key_head in 0..attention.key_heads {
            for first in (0..vectors).step_by(most) {
                let count = most.min(vectors - first);
                let (low, _) = seen(attention, query, first / group);
                let (_, high) = seen(attention, query, (first + count - 1) / group);
                let unit = Unit {
                    query: number,
                    key_head,
                    first,
                    count,
                    blocks: (low / CELLS, high.div_ceil(CELLS)),
                    split,
                };
                split += unit.splits();
                units.push(unit);
            }
        }
    }
    units
}

/// The cells that a row of a query sees.
fn seen(attention: &Attention<'_>, query: &Query<'_>, row: usize) -> (usize, usize) {
    let end = query.position + row + 1;
    match attention.sight {
        Sight::Before(None) => (0, end),
        Sight::Before(Some(window)) => (end.saturating_sub(window as usize), end),
        Sight::Whole => (0, query.position + query.rows),
    }
}

/// Computes one split of a unit.
fn compute(
    attention: &Attention<'_>,
    queries: &[Query<'_>],
    unit: &Unit,
    split: usize,
    q: &[f32],
    partial: &mut [f32],
) {
    let query = &queries[unit.query];
    let group = attention.heads / attention.key_heads;
    let split = unit.blocks.0 / SPLIT + split;
    let first = (split * SPLIT).max(unit.blocks.0);
    let last = ((split + 1) * SPLIT).min(unit.blocks.1);
    let mut vectors = [Vector::NONE; VECTORS];
    for (index, vector) in vectors[..unit.count].iter_mut().enumerate() {
        let (row, head) = ((unit.first + index) / group, (unit.first + index) % group);
        let head = unit.key_head * group + head;
        let width = attention.layout.head;
        let start = ((query.first + row) * attention.heads + head) * width;
        *vector = Vector {
            values: q[start..start + width].as_ptr(),
            seen: seen(attention, query, row),
        };
    }
    let vectors = &vectors[..unit.count];
    let table = &query.table[first..last];
    let at = attention.layer + unit.key_head * attention.layout.size();
    let level = attention.level;
    dispatch!(
        level,
        split_on(
            attention: &Attention<'_>,
            vectors: &[Vector],
            table: &[u32],
            first: usize,
            at: usize,
            partial: &mut [f32],
        )
    );
}

/// Adds a split's result to that of the splits before it.
fn merge(state: &mut [f32], partial: &[f32], size: usize) {
    for (state, partial) in state.chunks_exact_mut(size).zip(partial.chunks_exact(size)) {
        let largest = state[0].max(partial[0]);
        let before = (state[0] - largest).exp();
        let after = (partial[0] - largest).exp();
        state[0] = largest;
        for (state, partial) in state[1..].iter_mut().zip(&partial[1..]) {
            *state = *state * before + partial * after;
        }
    }
}

/// Writes a unit's result.
fn finish(
    attention: &Attention<'_>,
    queries: &[Query<'_>],
    unit: &Unit,
    state: &[f32],
    out: &Chunks<'_, f32>,
) {
    let group = attention.heads / attention.key_heads;
    let first = queries[unit.query].first;
    let width = attention.layout.head;
    for (index, state) in state.chunks_exact(attention.partial()).enumerate() {
        let (row, head) = ((unit.first + index) / group, (unit.first + index) % group);
        let head = unit.key_head * group + head;
        let inverse = 1.0 / state[1];
        // SAFETY: of this row, no other unit has this head.
        let out = unsafe { out.part(first + row, head * width, width) };
        for (out, value) in out.iter_mut().zip(&state[2..]) {
            *out = value * inverse;
        }
    }
}
