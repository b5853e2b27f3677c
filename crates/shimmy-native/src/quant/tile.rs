//! Tiles: 16 rows of a matrix, interleaved as the kernels read them. Owns the order of their bytes.
//!
//! A tile of a matrix with `inputs` columns holds, each part for all blocks before the next part:
//!
//! 1. codes: 64-byte vectors with four consecutive codes of row r in lane r. Of the eight groups of
//!    four codes in a block, vector `j` has group `j` in its low nibbles and group `j + 4` in the
//!    high ones (eight vectors of whole bytes for 8-bit codes). Fifth bits: one vector, bit `j` for
//!    group `j`. Fifth and sixth bits: two vectors, bits `2j` and `2j + 1` for group `j`, groups 4
//!    to 7 in the second. Floats: a vector for each column; bfloat16s: one for two columns, both of
//!    row r in lane r.
//! 2. scales: 16 halves for each block, or 16 bytes for each group of weights,
//! 3. minima, in the same form,
//! 4. for each 256 weights 16 halves for the scales and 16 for the minima, if those are bytes.

use super::decode::Decoded;
use super::words::{spread, word, words};
use super::{BLOCK, Codes, Kind, Layout, TILE};

/// Blocks of a K format's super-block.
const SUPER: usize = 8;

/// Bytes of a tile, a multiple of 64.
pub(crate) const fn tile_bytes(kind: Kind, inputs: usize) -> usize {
    let layout = Layout::of(kind);
    let blocks = inputs.div_ceil(BLOCK);
    let scales = layout.scale_bytes() * (1 + layout.minimum as usize);
    let bytes =
        blocks * (layout.code_bytes() + scales) + blocks.div_ceil(SUPER) * layout.super_bytes();
    bytes.next_multiple_of(64)
}

/// Packs up to 16 rows of a file into one tile, which must be zeroed: rows that are missing at the
/// end of a matrix become zeros.
pub(crate) fn pack(kind: Kind, rows: &[u8], inputs: usize, tile: &mut [u8]) {
    match kind {
        Kind::F32 => pack_floats::<4>(rows, inputs, tile),
        Kind::F16 => pack_floats::<2>(rows, inputs, tile),
        Kind::Bf16 => pack_brains(rows, inputs, tile),
        // One copy of the loop for each format, so that each is compiled without its choices.
        Kind::Q4_0 => pack_codes(Kind::Q4_0, rows, inputs, tile),
        Kind::Q4_1 => pack_codes(Kind::Q4_1, rows, inputs, tile),
        Kind::Q5_0 => pack_codes(Kind::Q5_0, rows, inputs, tile),
        Kind::Q5_1 => pack_codes(Kind::Q5_1, rows, inputs, tile),
        Kind::Q8_0 => pack_codes(Kind::Q8_0, rows, inputs, tile),
        Kind::Q2K => pack_codes(Kind::Q2K, rows, inputs, tile),
        Kind::Q3K => pack_codes(Kind::Q3K, rows, inputs, tile),
        Kind::Q4K => pack_codes(Kind::Q4K, rows, inputs, tile),
        Kind::Q5K => pack_codes(Kind::Q5K, rows, inputs, tile),
        Kind::Q6K => pack_codes(Kind::Q6K, rows, inputs, tile),
        Kind::Iq4Nl => pack_codes(Kind::Iq4Nl, rows, inputs, tile),
        Kind::Iq4Xs => pack_codes(Kind::Iq4Xs, rows, inputs, tile),
    }
}

fn pack_floats<const BYTES: usize>(rows: &[u8], inputs: usize, tile: &mut [u8]) {
    for (lane, row) in rows.chunks_exact(inputs * BYTES).enumerate() {
        for (column, value) in row.chunks_exact(BYTES).enumerate() {
            let at = (column * TILE + lane) * BYTES;
            tile[at..at + BYTES].copy_from_slice(value);
        }
    }
}

fn pack_brains(rows: &[u8], inputs: usize, tile: &mut [u8]) {
    for (lane, row) in rows.chunks_exact(inputs * 2).enumerate() {
        for (pair, values) in row.chunks(4).enumerate() {
            let at = (pair * TILE + lane) * 4;
            tile[at..at + values.len()].copy_from_slice(values);
        }
    }
}

#[inline(always)]
fn pack_codes(kind: Kind, rows: &[u8], inputs: usize, tile: &mut [u8]) {
    let layout = Layout::of(kind);
    let (weights, bytes) = kind.file_block();
    let row_bytes = kind.row_bytes(inputs);
    let per_read = weights / BLOCK;
    let blocks = inputs / BLOCK;
    let (codes, rest) = tile.split_at_mut(blocks * layout.code_bytes());
    let (scales, rest) = rest.split_at_mut(blocks * layout.scale_bytes());
    let minima_bytes = if layout.minimum { scales.len() } else { 0 };
    let (minima, halves) = rest.split_at_mut(minima_bytes);
    let mut decoded = [Decoded::EMPTY; TILE];
    let mut codes_of = [[0; TILE]; BLOCK / 4];
    for read in 0..inputs / weights {
        for part in 0..per_read {
            let blocks = rows
                .chunks_exact(row_bytes)
                .map(|row| &row[read * bytes..(read + 1) * bytes]);
            let at = (read * per_read + part) * layout.code_bytes();
            let out = &mut codes[at..at + layout.code_bytes()];
            if let Some(raw) = raw_nibbles(kind, part) {
                put_raw(layout.codes, raw, blocks, out);
                continue;
            }
            for (lane, block) in blocks.enumerate() {
                for (codes, word) in codes_of.iter_mut().zip(words(kind, block, part)) {
                    codes[lane] = word;
                }
            }
            put_codes(layout.codes, &codes_of, out);
        }
        for (row, decoded) in rows.chunks_exact(row_bytes).zip(&mut decoded) {
            decoded.read_scales(kind, &row[read * bytes..(read + 1) * bytes]);
        }
        put_scales(layout, &decoded, read, scales, minima);
        if layout.group.is_some() {
            put_super(layout, &decoded, read, halves);
        }
    }
}

/// Where the 16 bytes of a block's nibbles are, and its word of fifth bits, in formats that keep
/// nibbles in the order of a tile.
#[inline(always)]
fn raw_nibbles(kind: Kind, part: usize) -> Option<(usize, usize)> {
    match kind {
        Kind::Q4_0 | Kind::Iq4Nl => Some((2, 0)),
        Kind::Q4_1 => Some((4, 0)),
        Kind::Q5_0 => Some((6, 2)),
        Kind::Q5_1 => Some((8, 4)),
        Kind::Iq4Xs => Some((8 + 16 * part, 0)),
        _ => None,
    }
}

/// Writes a block of each row whose nibbles need no change.
#[inline(always)]
fn put_raw<'a>(
    form: Codes,
    (nibbles, fifth): (usize, usize),
    blocks: impl Iterator<Item = &'a [u8]>,
    out: &mut [u8],
) {
    let mut words = [[0; TILE]; 4];
    let mut bits = [0; TILE];
    for (lane, block) in blocks.enumerate() {
        for (index, words) in words.iter_mut().enumerate() {
            words[lane] = word(block, nibbles + 4 * index);
        }
        bits[lane] = word(block, fifth);
    }
    for (index, words) in words.iter().enumerate() {
        put_words(words, index, out);
    }
    if form == Codes::Five {
        let mut vector = [0; TILE];
        for (to, bits) in vector.iter_mut().zip(bits) {
            for group in 0..8 {
                *to |= spread(bits >> (4 * group)) << group;
            }
        }
        put_words(&vector, 4, out);
    }
}

/// Writes a block of each row, given as words of four codes.
#[inline(always)]
fn put_codes(form: Codes, words: &[[u32; TILE]; BLOCK / 4], out: &mut [u8]) {
    if form == Codes::Byte {
        for (index, words) in words.iter().enumerate() {
            put_words(words, index, out);
        }
        return;
    }
    const LOW: u32 = 0x0f0f_0f0f;
    for index in 0..4 {
        let (low, high) = (&words[index], &words[index + 4]);
        let mut both = [0; TILE];
        for lane in 0..TILE {
            both[lane] = (low[lane] & LOW) | ((high[lane] & LOW) << 4);
        }
        put_words(&both, index, out);
    }
    match form {
        Codes::Five => {
            let mut fifth = [0; TILE];
            for (index, words) in words.iter().enumerate() {
                for lane in 0..TILE {
                    fifth[lane] |= ((words[lane] >> 4) & 0x0101_0101) << index;
                }
            }
            put_words(&fifth, 4, out);
        }
        Codes::Six => {
            for (part, words) in words.chunks_exact(4).enumerate() {
                let mut high = [0; TILE];
                for (index, words) in words.iter().enumerate() {
                    for lane in 0..TILE {
                        high[lane] |= ((words[lane] >> 4) & 0x0303_0303) << (2 * index);
                    }
                }
                put_words(&high, 4 + part, out);
            }
        }
        Codes::Nibble | Codes::Lookup | Codes::Byte | Codes::Float(_) => {}
    }
}

#[inline(always)]
fn put_words(words: &[u32; TILE], vector: usize, out: &mut [u8]) {
    let out = &mut out[vector * 64..vector * 64 + 64];
    for (out, word) in out.chunks_exact_mut(4).zip(words) {
        out.copy_from_slice(&word.to_le_bytes());
    }
}

#[inline(always)]
fn put_scales(
    layout: Layout,
    decoded: &[Decoded; TILE],
    read: usize,
    scales: &mut [u8],
    minima: &mut [u8],
) {
    let Some(group) = layout.group else {
        for (lane, decoded) in decoded.iter().enumerate() {
            let at = (read * TILE + lane) * 2;
            scales[at..at + 2].copy_from_slice(&decoded.scale.to_le_bytes());
            if layout.minimum {
                minima[at..at + 2].copy_from_slice(&decoded.minimum.to_le_bytes());
            }
        }
        return;
    };
    let groups = SUPER * BLOCK / group;
    for index in 0..groups {
        let at = (read * groups + index) * TILE;
        for (lane, decoded) in decoded.iter().enumerate() {
            scales[at + lane] = decoded.scales[index] as u8;
            if layout.minimum {
                minima[at + lane] = decoded.minima[index];
            }
        }
    }
}

#[inline(always)]
fn put_super(layout: Layout, decoded: &[Decoded; TILE], read: usize, halves: &mut [u8]) {
    let out = &mut halves[read * layout.super_bytes()..(read + 1) * layout.super_bytes()];
    for (lane, decoded) in decoded.iter().enumerate() {
        out[2 * lane..2 * lane + 2].copy_from_slice(&decoded.scale.to_le_bytes());
        if layout.minimum {
            let at = 2 * (TILE + lane);
            out[at..at + 2].copy_from_slice(&decoded.minimum.to_le_bytes());
        }
    }
}
