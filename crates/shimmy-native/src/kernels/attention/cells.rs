//! How keys and values lie in a block of the cache, and how the kernels read values. Owns the order of
//! a block's bytes.

use super::super::simd::Simd;
use crate::quant::{BLOCK, Kind, TILE, tile_bytes};

/// Cells of a block of the cache.
pub(crate) const CELLS: usize = 64;
/// Keys that are interleaved: one in each lane.
pub(crate) const KEYS: usize = TILE;
/// Numbers that share a scale, if they have one.
pub(crate) const PART: usize = BLOCK;
/// Bytes of a number's scale.
const SCALE: usize = 2;

/// How the cache holds keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// As halves.
    #[default]
    F16,
    /// As bytes, each 32 of which have a half that they are multiplied by: llama.cpp's Q8_0.
    Q8_0,
}

/// Where the numbers of one head are in a block of the cache, each part for all cells before the next:
///
/// 1. keys, in groups of 16 cells: as halves with one cell in each lane, as bytes a tile of a matrix
///    in Q8_0, whose rows are the cells,
/// 2. values, one cell after the other, each with room for a multiple of 16,
/// 3. if they are bytes, for each 32 values of a cell 64 halves, one for each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadLayout {
    pub(crate) kind: CacheType,
    /// Values of a head.
    pub(crate) head: usize,
}

impl HeadLayout {
    /// Values of a head as they are added up: a multiple of 16.
    pub(crate) fn padded(self) -> usize {
        self.head.next_multiple_of(KEYS)
    }

    /// Columns of a tile of keys.
    pub(super) fn columns(self) -> usize {
        self.head.next_multiple_of(PART)
    }

    /// Scales of a cell's keys, and of its values.
    pub(crate) fn parts(self) -> usize {
        match self.kind {
            CacheType::F16 => 0,
            CacheType::Q8_0 => self.columns() / PART,
        }
    }

    /// Bytes of the head in a block.
    pub(crate) fn size(self) -> usize {
        self.value_scale(0, self.parts())
    }

    /// Where a group of keys begins.
    pub(super) fn group(self, number: usize) -> usize {
        number
            * match self.kind {
                CacheType::F16 => KEYS * self.head * size_of::<u16>(),
                CacheType::Q8_0 => tile_bytes(Kind::Q8_0, self.columns()),
            }
    }

    /// Where one of a cell's keys is; of bytes four that begin at a multiple of four are together.
    pub(crate) fn key(self, cell: usize, index: usize) -> usize {
        let (group, lane) = (self.group(cell / KEYS), cell % KEYS);
        match self.kind {
            CacheType::F16 => group + (index * KEYS + lane) * size_of::<u16>(),
            CacheType::Q8_0 => group + (index / 4 * KEYS + lane) * 4 + index % 4,
        }
    }

    /// Where the scale of a part of a cell's keys is.
    pub(crate) fn key_scale(self, cell: usize, part: usize) -> usize {
        let codes = self.columns() * KEYS;
        self.group(cell / KEYS) + codes + (part * KEYS + cell % KEYS) * SCALE
    }

    /// Where a cell's values are.
    pub(crate) fn values(self, cell: usize) -> usize {
        let number = match self.kind {
            CacheType::F16 => size_of::<u16>(),
            CacheType::Q8_0 => 1,
        };
        self.group(CELLS / KEYS) + cell * self.padded() * number
    }

    /// Where the scale of a part of a cell's values is.
    pub(crate) fn value_scale(self, cell: usize, part: usize) -> usize {
        self.values(CELLS) + (part * CELLS + cell) * SCALE
    }
}

/// Values of the cache as the kernels read them.
pub(super) trait Numbers {
    /// Bytes of a number.
    const BYTES: usize;
    /// Whether they are to be multiplied by scales.
    const SCALED: bool;

    /// As many as a vector has lanes.
    ///
    /// # Safety
    ///
    /// The processor has `S`; the numbers are there.
    unsafe fn load<S: Simd>(from: *const u8) -> S::F;
}

/// [`CacheType::F16`].
pub(super) struct Halves;
/// [`CacheType::Q8_0`].
pub(super) struct Bytes;

impl Numbers for Halves {
    const BYTES: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::F {
        // SAFETY: says the caller.
        unsafe { S::load_f16(from) }
    }
}

impl Numbers for Bytes {
    const BYTES: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::F {
        // SAFETY: says the caller.
        unsafe { S::load_i8(from) }
    }
}
