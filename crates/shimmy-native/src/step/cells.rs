//! Keys and values of a step's rows on their way into the cache.

use crate::cache::{Cache, Run};
use crate::pool::Pool;

/// Keys and values of all rows, and where they go.
pub(super) struct Keys<'a> {
    /// The rows' places, in order.
    pub(super) runs: &'a [Run],
    /// The keys, and how many values of them a row has.
    pub(super) key: (&'a mut [f32], usize),
    pub(super) value: &'a [f32],
}

/// Writes keys and values of one layer into the cache, once `turn` has been called with each row's
/// number, its queries, of so many values, and its keys.
pub(super) fn write_cells(
    pool: &mut Pool,
    cache: &mut Cache,
    layer: usize,
    (mut queries, query_width): (&mut [f32], usize),
    keys: Keys<'_>,
    turn: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let Keys { runs, key, value } = keys;
    let (mut keys, width) = key;
    let shape = cache.shape();
    let mut tasks = Vec::with_capacity(runs.len());
    let mut first = 0;
    for run in runs {
        let (of_run, rest) = queries.split_at_mut(run.rows * query_width);
        queries = rest;
        let (keys_of_run, rest) = keys.split_at_mut(run.rows * width);
        keys = rest;
        tasks.push((run, first, of_run, keys_of_run, cache.take(run.block)));
        first += run.rows;
    }
    pool.for_each(&mut tasks, |_, (run, first, queries, keys, block)| {
        let rows = queries.chunks_exact_mut(query_width);
        let rows = rows.zip(keys.chunks_exact_mut(width));
        for (index, (query, key)) in rows.enumerate() {
            let row = *first + index;
            turn(row, query, key);
            let value = &value[row * width..(row + 1) * width];
            shape.write(block, layer, run.cell + index, key, value);
        }
    });
    for (run, _, _, _, block) in tasks {
        cache.put(run.block, block);
    }
}
