//! Activations as the kernels take them: in groups of rows, each block of 32 values of a row
//! quantised to eight bits with a scale of its own. Owns that layout.

use std::ops::Range;

use super::Level;
use super::simd::{Dot, Simd};
use crate::half;
use crate::pool::Pool;
use crate::quant::BLOCK;

/// Words of a block of one row: 32 bytes (in the order of [`word_of`]), the scale, the sum of the
/// quantised values times the scale, and minus the sums of the quantised values of the block and of
/// its two halves.
pub(super) const RECORD: usize = BLOCK / 4 + 5;
/// Words of a block of one row that is not quantised.
pub(super) const FLOAT_RECORD: usize = BLOCK;

/// Words of a block of one row whose values are bfloat16s: pairs, or floats.
pub(super) fn brain_record(level: Level) -> usize {
    if level.multiplies_brains() {
        BLOCK / 2
    } else {
        FLOAT_RECORD
    }
}

/// What the matrices that follow need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    /// Quantised values, for quantised weights.
    pub(crate) quantized: bool,
    /// Floats, for weights that are floats.
    pub(crate) floats: bool,
    /// Values of bfloat16s, for weights that are such.
    pub(crate) brains: bool,
}

impl Forms {
    /// What both need.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            quantized: self.quantized || other.quantized,
            floats: self.floats || other.floats,
            brains: self.brains || other.brains,
        }
    }
}

/// The rows that matrices are multiplied with.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    pub(super) inputs: usize,
    pub(super) rows: usize,
    /// Rows of every group but the last of a part.
    pub(super) group: usize,
    /// Records of groups, of their blocks, of their words, of their rows.
    pub(super) quantized: Vec<i32>,
    pub(super) floats: Vec<i32>,
    pub(super) brains: Vec<i32>,
}

impl Activations {
    /// Takes over rows of `inputs` values, all for the same matrices.
    pub(crate) fn fill(
        &mut self,
        pool: &mut Pool,
        level: Level,
        values: &[f32],
        inputs: usize,
        forms: Forms,
    ) {
        let rows: Vec<&[f32]> = values.chunks_exact(inputs).collect();
        self.fill_parts(pool, level, &rows, &[rows.len()], forms);
    }

    /// Takes over rows of one length, in parts that end where `ends` says and have matrices of
    /// their own: no group has rows of two.
    pub(crate) fn fill_parts(
        &mut self,
        pool: &mut Pool,
        level: Level,
        rows: &[&[f32]],
        ends: &[usize],
        forms: Forms,
    ) {
        let inputs = rows.first().map_or(0, |row| row.len());
        self.inputs = inputs;
        self.rows = rows.len();
        self.group = level.group();
        let blocks = inputs.div_ceil(BLOCK);
        let groups = groups(ends, self.group);
        if forms.quantized {
            self.quantized.resize(self.rows * blocks * RECORD, 0);
            // Tasks of about 4096 values; a group's blocks are contiguous.
            let parts = if self.rows <= 2 {
                1
            } else {
                (inputs * self.group / 4096).max(1)
            };
            let tasks = Tasks::new(&groups, blocks, parts);
            tasks.run(
                pool,
                &mut self.quantized,
                RECORD,
                |group, first, records| {
                    quantize(level, &rows[group], first, records);
                },
            );
        }
        if forms.floats {
            self.floats.resize(self.rows * blocks * FLOAT_RECORD, 0);
            let tasks = Tasks::new(&groups, blocks, 1);
            tasks.run(pool, &mut self.floats, FLOAT_RECORD, |group, _, records| {
                interleave(&rows[group], records);
            });
        }
        if forms.brains {
            let record = brain_record(level);
            self.brains.resize(self.rows * blocks * record, 0);
            let tasks = Tasks::new(&groups, blocks, 1);
            tasks.run(pool, &mut self.brains, record, |group, _, records| {
                if level.multiplies_brains() {
                    pair_brains(&rows[group], records);
                } else {
                    interleave(&rows[group], records);
                    records.iter_mut().for_each(|word| {
                        let brain = half::bf16_from_f32(f32::from_bits(*word as u32));
                        *word = half::bf16_to_f32(brain).to_bits() as i32;
                    });
                }
            });
        }
    }
}

/// The groups of parts that end at these rows.
fn groups(ends: &[usize], group: usize) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut groups = Vec::new();
    for &end in ends {
        let firsts = (start..end).step_by(group);
        groups.extend(firsts.map(|first| first..end.min(first + group)));
        start = end;
    }
    groups
}

/// How groups are shared out: each in parts of so many blocks.
struct Tasks<'a> {
    groups: &'a [Range<usize>],
    blocks: usize,
    part: usize,
}

impl<'a> Tasks<'a> {
    fn new(groups: &'a [Range<usize>], blocks: usize, parts: usize) -> Self {
        let part = blocks.div_ceil(parts).max(1);
        Self {
            groups,
            blocks,
            part,
        }
    }

    /// Calls `task` with a group's rows, the first of some of its blocks, and their records.
    fn run(
        &self,
        pool: &mut Pool,
        records: &mut [i32],
        record: usize,
        task: impl Fn(Range<usize>, usize, &mut [i32]) + Sync,
    ) {
        // Few tasks, so a list of slices is cheaper than unsafe code.
        let mut pieces = Vec::with_capacity(self.groups.len() * 8);
        let mut rest = records;
        for group in self.groups {
            for first in (0..self.blocks).step_by(self.part) {
                let blocks = self.part.min(self.blocks - first);
                let (piece, after) = rest.split_at_mut(blocks * group.len() * record);
                pieces.push((group, first, piece));
                rest = after;
            }
        }
        pool.for_each(&mut pieces, |_, (group, first, piece)| {
            task((*group).clone(), *first, piece);
        });
    }
}

/// Quantises the blocks from `first` on of a group's rows.
fn quantize(level: Level, rows: &[&[f32]], first: usize, records: &mut [i32]) {
    super::dispatch!(
        level,
        quantize_on(rows: &[&[f32]], first: usize, records: &mut [i32])
    );
}

/// # Safety
///
/// None needed; it has the form of a kernel, and is compiled for each level.
#[inline(always)]
unsafe fn quantize_on<S: Simd>(rows: &[&[f32]], first: usize, records: &mut [i32]) {
    let members = rows.len();
    for (index, record) in records.chunks_exact_mut(RECORD * members).enumerate() {
        let start = (first + index) * BLOCK;
        for (member, row) in rows.iter().enumerate() {
            let mut values = [0.0; BLOCK];
            let given = &row[start..row.len().min(start + BLOCK)];
            values[..given.len()].copy_from_slice(given);
            quantize_block::<S>(&values, member, members, record);
        }
    }
}

/// Quantises a block of one of a group's rows into the block's record.
#[inline(always)]
pub(super) fn quantize_block<S: Simd>(
    values: &[f32; BLOCK],
    member: usize,
    members: usize,
    record: &mut [i32],
) {
    let mut largest = [0.0_f32; 8];
    for values in values.chunks_exact(8) {
        for (largest, value) in largest.iter_mut().zip(values) {
            *largest = largest.max(value.abs());
        }
    }
    let largest = largest.iter().fold(0.0_f32, |all, &one| all.max(one));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut codes = [0_i32; BLOCK];
    for (code, value) in codes.iter_mut().zip(values) {
        // Adding and taking off 1.5 · 2^23 rounds to the nearest whole number, ties to even. A
        // value that is not finite becomes some code; its scale says that it was not.
        let rounded = value * inverse + 12_582_912.0;
        *code = (rounded.to_bits() as i32)
            .wrapping_sub(0x4b40_0000)
            .clamp(-127, 127);
    }
    let step = largest / 127.0;
    let half = |codes: &[i32]| codes.iter().sum::<i32>();
    let (low, high) = (half(&codes[..16]), half(&codes[16..]));
    for (group, codes) in codes.chunks_exact(4).enumerate() {
        let bytes = [
            codes[0] as u8,
            codes[1] as u8,
            codes[2] as u8,
            codes[3] as u8,
        ];
        record[word_of::<S>(group, member, members)] = i32::from_le_bytes(bytes);
    }
    let mut put = |word: usize, value: i32| record[(BLOCK / 4 + word) * members + member] = value;
    put(0, step.to_bits() as i32);
    put(1, (step * (low + high) as f32).to_bits() as i32);
    put(2, -(low + high));
    put(3, -low);
    put(4, -high);
}

/// Where four bytes of a row are in a block's record: those of all rows together, or a row's pairs.
#[inline(always)]
fn word_of<S: Simd>(group: usize, member: usize, members: usize) -> usize {
    if S::Dot::PAIRS {
        group / 2 * 2 * members + 2 * member + group % 2
    } else {
        group * members + member
    }
}

/// Brings a group's rows into the order of its records.
fn interleave(rows: &[&[f32]], records: &mut [i32]) {
    let members = rows.len();
    for (member, row) in rows.iter().enumerate() {
        for (column, value) in row.iter().enumerate() {
            records[column * members + member] = value.to_bits() as i32;
        }
    }
    let values: usize = rows.iter().map(|row| row.len()).sum();
    for rest in &mut records[values..] {
        *rest = 0;
    }
}

/// The same, rounded to bfloat16s, of which two columns share a word.
fn pair_brains(rows: &[&[f32]], records: &mut [i32]) {
    let members = rows.len();
    records.fill(0);
    for (member, row) in rows.iter().enumerate() {
        for (pair, values) in row.chunks(2).enumerate() {
            let low = u32::from(half::bf16_from_f32(values[0]));
            let high = values.get(1).map_or(0, |&value| half::bf16_from_f32(value));
            records[pair * members + member] = (u32::from(high) << 16 | low) as i32;
        }
    }
}
