//! One tile times a few activations: the inner loop of everything. Owns how codes become products.
//!
//! Each output is a sum over blocks, first to last, in one lane: it does not depend on which
//! activations are computed beside it, and no lanes are ever added up.

use super::activations::RECORD;
use super::simd::{Dot, Floats, Simd};
use crate::quant::{BLOCK, Codes, IQ4_VALUES, Kind, Layout, TILE, tile_bytes};

/// How far ahead weights are asked for, in bytes. Eight kilobytes cover the latency of memory at
/// the speed at which one activation uses up weights.
const AHEAD: usize = 8192;

/// One tile and where its products go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// The tile.
    pub(super) tile: *const u8,
    /// Columns of the matrix.
    pub(super) inputs: usize,
    /// The activations: the records of a group.
    pub(super) activations: *const i32,
    /// The first of 16 outputs of the first activation.
    pub(super) out: *mut f32,
    /// Floats from one activation's outputs to the next one's.
    pub(super) stride: usize,
    /// Whether this is the first use of the tile in this step, so that it comes from memory.
    pub(super) fresh: bool,
}

const IQ4_CODES: [u8; 16] = {
    let mut codes = [0; 16];
    let mut index = 0;
    while index < 16 {
        codes[index] = (IQ4_VALUES[index] as i16 + 128) as u8;
        index += 1;
    }
    codes
};

/// Multiplies a tile of quantised weights with a group of exactly `N` activations.
///
/// # Safety
///
/// The tile is one of a matrix of this kind with `inputs` columns, the activations are a group of
/// `N` with as many, and 16 floats can be written at each output. The processor has `S`.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, const KIND: u8, const N: usize>(product: &Product) {
    let kind = const { kind_of(KIND) };
    let layout = const { Layout::of(kind_of(KIND)) };
    let blocks = product.inputs / BLOCK;
    let scales = blocks * layout.code_bytes();
    let minima = scales + blocks * layout.scale_bytes();
    let halves = minima + blocks * layout.scale_bytes() * layout.minimum as usize;
    let step = tile_bytes(kind, product.inputs) / blocks.max(1);
    // SAFETY: all offsets stay within the tile and the group, by the layout of both.
    unsafe {
        for lane in (0..TILE).step_by(S::LANES) {
            let mut total = [S::splat(0.0); N];
            for block in 0..blocks {
                if product.fresh && lane == 0 {
                    let from = product.tile.wrapping_add(AHEAD + block * step);
                    for line in 0..step.div_ceil(64) {
                        S::prefetch(from.wrapping_add(line * 64));
                    }
                }
                let codes = product.tile.add(block * layout.code_bytes() + lane * 4);
                let record = product.activations.add(block * RECORD * N);
                let sums = record.add((BLOCK / 4 + 2) * N);
                let at = Parts {
                    scale: product.tile.add(scales + block * layout.scale_bytes()),
                    minimum: product.tile.add(minima + block * layout.scale_bytes()),
                    halves: product.tile.add(halves + block / 8 * layout.super_bytes()),
                    lane,
                };
                if const { matches!(Layout::of(kind_of(KIND)).group, Some(16)) } {
                    let mut dots = start::<S, KIND, N>(sums.add(N));
                    expand::<S, KIND, N, 0>(codes, record, &mut dots);
                    add::<S, KIND, N, 0>(&at, &dots, record, &mut total);
                    let mut dots = start::<S, KIND, N>(sums.add(2 * N));
                    expand::<S, KIND, N, 1>(codes, record, &mut dots);
                    add::<S, KIND, N, 1>(&at, &dots, record, &mut total);
                } else {
                    let mut dots = start::<S, KIND, N>(sums);
                    expand::<S, KIND, N, 2>(codes, record, &mut dots);
                    add::<S, KIND, N, 2>(&at, &dots, record, &mut total);
                }
            }
            for (index, total) in total.into_iter().enumerate() {
                S::store(product.out.add(index * product.stride + lane), total);
            }
        }
    }
}

/// Where a block's scales are, and which lanes are meant.
struct Parts {
    scale: *const u8,
    minimum: *const u8,
    halves: *const u8,
    lane: usize,
}

/// The sums that the products start from: what the codes' offset makes of the activations' sum.
///
/// # Safety
///
/// As of [`multiply`]; `sums` are `N` numbers.
#[inline(always)]
unsafe fn start<S: Simd, const KIND: u8, const N: usize>(sums: *const i32) -> [S::I; N] {
    let layout = const { Layout::of(kind_of(KIND)) };
    let bytes = matches!(layout.codes, Codes::Byte | Codes::Lookup);
    // Loops instead of closures throughout: a closure is a function of its own, which is not
    // compiled for the level's instructions.
    // SAFETY: says the caller.
    unsafe {
        let mut starts = [S::splat_i(0); N];
        if layout.offset_shift == 0 || (bytes && S::Dot::BYTES_ARE_CENTRED) {
            return starts;
        }
        for (index, start) in starts.iter_mut().enumerate() {
            let sum = S::splat_i(*sums.add(index));
            *start = match layout.offset_shift {
                2 => S::left_lane::<2>(sum),
                3 => S::left_lane::<3>(sum),
                4 => S::left_lane::<4>(sum),
                5 => S::left_lane::<5>(sum),
                _ => S::left_lane::<7>(sum),
            };
        }
        starts
    }
}

/// Adds the products of a block's codes: of the first half, the second, or (2) of all.
///
/// # Safety
///
/// As of [`multiply`].
#[inline(always)]
unsafe fn expand<S: Simd, const KIND: u8, const N: usize, const HALF: u8>(
    codes: *const u8,
    record: *const i32,
    dots: &mut [S::I; N],
) {
    let form = const { Layout::of(kind_of(KIND)).codes };
    // SAFETY: says the caller.
    unsafe {
        let low = S::splat_i(0x0f0f_0f0f);
        macro_rules! codes {
            ($index:expr) => {{
                let vector = S::load_i(codes.add(if form == Codes::Byte {
                    $index * 64
                } else {
                    $index % 4 * 64
                }));
                let nibble = if $index < 4 {
                    S::and(vector, low)
                } else {
                    S::and(S::right::<4>(vector), low)
                };
                match form {
                    Codes::Byte => vector,
                    Codes::Lookup => S::lookup(&IQ4_CODES, nibble),
                    Codes::Five => {
                        let high = S::load_i(codes.add(256));
                        let high = match $index {
                            0 => S::left::<4>(high),
                            1 => S::left::<3>(high),
                            2 => S::left::<2>(high),
                            3 => S::left::<1>(high),
                            4 => high,
                            5 => S::right::<1>(high),
                            6 => S::right::<2>(high),
                            _ => S::right::<3>(high),
                        };
                        S::or_masked(nibble, high, S::splat_i(0x1010_1010))
                    }
                    Codes::Six => {
                        let high = S::load_i(codes.add(256 + $index / 4 * 64));
                        let high = match $index % 4 {
                            0 => S::left::<4>(high),
                            1 => S::left::<2>(high),
                            2 => high,
                            _ => S::right::<2>(high),
                        };
                        S::or_masked(nibble, high, S::splat_i(0x3030_3030))
                    }
                    _ => nibble,
                }
            }};
        }
        macro_rules! group {
            ($index:literal) => {
                if HALF == 2 || HALF == $index / 4 {
                    let by = record.add($index * N);
                    match form {
                        Codes::Byte | Codes::Lookup => {
                            S::Dot::dots::<S, N, true>(dots, codes!($index), by);
                        }
                        _ => S::Dot::dots::<S, N, false>(dots, codes!($index), by),
                    }
                }
            };
        }
        macro_rules! pair {
            ($index:literal) => {
                if HALF == 2 || HALF == $index / 4 {
                    let both = [codes!($index), codes!($index + 1)];
                    S::Dot::dots_of_pairs(dots, both, record.add($index * N));
                }
            };
        }
        if S::Dot::PAIRS {
            S::Dot::pair_up(dots);
            pair!(0);
            pair!(4);
            pair!(2);
            pair!(6);
            S::Dot::part(dots);
            return;
        }
        group!(0);
        group!(4);
        group!(1);
        group!(5);
        group!(2);
        group!(6);
        group!(3);
        group!(7);
    }
}

/// Scales the products of a block, or of half of one, and adds them to the totals.
///
/// # Safety
///
/// As of [`multiply`].
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "indices are unrolled into registers"
)]
unsafe fn add<S: Simd, const KIND: u8, const N: usize, const HALF: u8>(
    at: &Parts,
    dots: &[S::I; N],
    record: *const i32,
    total: &mut [S::F; N],
) {
    let layout = const { Layout::of(kind_of(KIND)) };
    let offset = if HALF == 1 { TILE } else { 0 };
    // SAFETY: says the caller.
    unsafe {
        let mut minimum = S::splat(0.0);
        let scale = match layout.group {
            None => {
                if layout.minimum {
                    minimum = S::load_f16(at.minimum.add(at.lane * 2));
                }
                S::load_f16(at.scale.add(at.lane * 2))
            }
            Some(_) => {
                let halves = at.halves.add(at.lane * 2);
                if layout.minimum {
                    let small = S::load_u8(at.minimum.add(offset + at.lane));
                    minimum = S::mul(small, S::load_f16(halves.add(TILE * 2)));
                }
                let small = at.scale.add(offset + at.lane);
                S::mul(S::load_i8(small), S::load_f16(halves))
            }
        };
        let steps = record.add(BLOCK / 4 * N).cast::<f32>();
        for index in 0..N {
            let step = S::splat(*steps.add(index));
            let product = S::mul(S::to_float(dots[index]), step);
            total[index] = S::fma(product, scale, total[index]);
        }
        if !layout.minimum {
            return;
        }
        match HALF {
            // The minimum of half a block meets half the sum, which is kept as a whole number.
            0 | 1 => {
                let sums = record.add((BLOCK / 4 + 3 + usize::from(HALF)) * N);
                for index in 0..N {
                    let sum = -(*sums.add(index) as f32) * *steps.add(index);
                    total[index] = S::fnma(minimum, S::splat(sum), total[index]);
                }
            }
            _ => {
                let sums = steps.add(N);
                for index in 0..N {
                    let sum = S::splat(*sums.add(index));
                    total[index] = match layout.group {
                        None => S::fma(minimum, sum, total[index]),
                        Some(_) => S::fnma(minimum, sum, total[index]),
                    };
                }
            }
        }
    }
}

/// Multiplies a tile of floats with `N` activations of a group, from number `first` of `members`.
///
/// # Safety
///
/// As of [`multiply`], but the tile and `product.activations` are as `W` has them.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "indices are unrolled into registers"
)]
pub(super) unsafe fn multiply_floats<S: Simd, W: Floats<S>, const N: usize>(
    product: &Product,
    first: usize,
    members: usize,
) {
    // Four sums, so that an addition need not wait for the one before it.
    const SUMS: usize = 4;
    let vector = TILE * W::BYTES;
    // SAFETY: all offsets stay within the tile and the group, by the layout of both.
    unsafe {
        let activations = product.activations.add(first);
        let vectors = product.inputs.next_multiple_of(BLOCK) / W::COLUMNS;
        for lane in (0..TILE).step_by(S::LANES) {
            let mut sums = [[S::splat(0.0); N]; SUMS];
            for number in (0..vectors).step_by(SUMS) {
                if product.fresh && lane == 0 {
                    let from = product.tile.wrapping_add(AHEAD + number * vector);
                    for line in 0..SUMS * vector / 64 {
                        S::prefetch(from.wrapping_add(line * 64));
                    }
                }
                for (index, sums) in sums.iter_mut().enumerate() {
                    let number = number + index;
                    let weights = product.tile.add(number * vector + lane * W::BYTES);
                    let by = activations.add(number * W::WORDS * members);
                    W::add(sums, weights, by, members);
                }
            }
            for number in 0..N {
                let even = S::add(sums[0][number], sums[2][number]);
                let odd = S::add(sums[1][number], sums[3][number]);
                let out = product.out.add((first + number) * product.stride + lane);
                S::store(out, S::add(even, odd));
            }
        }
    }
}

/// The kind of this number.
pub(super) const fn kind_of(number: u8) -> Kind {
    const KINDS: [Kind; 15] = [
        Kind::F32,
        Kind::F16,
        Kind::Bf16,
        Kind::Q4_0,
        Kind::Q4_1,
        Kind::Q5_0,
        Kind::Q5_1,
        Kind::Q8_0,
        Kind::Q2K,
        Kind::Q3K,
        Kind::Q4K,
        Kind::Q5K,
        Kind::Q6K,
        Kind::Iq4Nl,
        Kind::Iq4Xs,
    ];
    KINDS[number as usize]
}
