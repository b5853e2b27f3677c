//! Products of bytes on Arm, by what the processor has for them.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::simd::{Dot, Simd};

/// Products of bytes by way of sums of two in 16 bits.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Pairs;

/// Products of signed bytes, four to a sum, in one instruction.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Signed;

/// Products of unsigned bytes with signed ones, and of matrices: two rows of eight codes with two
/// activations in one instruction, which is twice as many products.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Matrices;

impl Dot<int32x4_t> for Pairs {
    const BYTES_ARE_CENTRED: bool = true;

    #[inline(always)]
    unsafe fn dot(to: int32x4_t, codes: int32x4_t, by: int32x4_t) -> int32x4_t {
        // Two products are 32,512 at the most: `by` is never −128.
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let (codes, by) = (vreinterpretq_s8_s32(codes), vreinterpretq_s8_s32(by));
            let low = vmull_s8(vget_low_s8(codes), vget_low_s8(by));
            let high = vmull_high_s8(codes, by);
            vpadalq_s16(to, vpaddq_s16(low, high))
        }
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: int32x4_t, codes: int32x4_t, by: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { Self::dot(to, centred(codes), by) }
    }
}

impl Dot<int32x4_t> for Signed {
    const BYTES_ARE_CENTRED: bool = true;

    #[inline(always)]
    unsafe fn dot(to: int32x4_t, codes: int32x4_t, by: int32x4_t) -> int32x4_t {
        // Codes below 128 are the same signed and unsigned.
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { sdot(to, codes, by) }
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: int32x4_t, codes: int32x4_t, by: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { sdot(to, centred(codes), by) }
    }
    // Four words are one load, and the instruction takes each of them from where it is.
    #[inline(always)]
    unsafe fn dots<S: Simd<I = int32x4_t>, const N: usize, const BYTES: bool>(
        to: &mut [int32x4_t; N],
        codes: int32x4_t,
        by: *const i32,
    ) {
        let codes = if BYTES { centred(codes) } else { codes };
        let fours = N / 4 * 4;
        // SAFETY: says the caller.
        unsafe {
            for first in (0..fours).step_by(4) {
                let by = vld1q_s32(by.add(first));
                to[first] = sdot_lane::<0>(to[first], codes, by);
                to[first + 1] = sdot_lane::<1>(to[first + 1], codes, by);
                to[first + 2] = sdot_lane::<2>(to[first + 2], codes, by);
                to[first + 3] = sdot_lane::<3>(to[first + 3], codes, by);
            }
            for (index, to) in to.iter_mut().enumerate().skip(fours) {
                *to = sdot(*to, codes, vdupq_n_s32(*by.add(index)));
            }
        }
    }
}

impl Dot<int32x4_t> for Matrices {
    const BYTES_ARE_CENTRED: bool = false;
    const PAIRS: bool = true;

    #[inline(always)]
    unsafe fn dot(to: int32x4_t, codes: int32x4_t, by: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { usdot(to, codes, by) }
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: int32x4_t, codes: int32x4_t, by: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { usdot(to, codes, by) }
    }
    #[inline(always)]
    unsafe fn dots_of_pairs<const N: usize>(
        to: &mut [int32x4_t; N],
        codes: [int32x4_t; 2],
        by: *const i32,
    ) {
        // SAFETY: says the caller.
        unsafe {
            // Eight codes of rows 0 and 1, and of rows 2 and 3.
            let low = vzip1q_s32(codes[0], codes[1]);
            let high = vzip2q_s32(codes[0], codes[1]);
            for first in (0..N / 2 * 2).step_by(2) {
                let by = vld1q_s32(by.add(2 * first));
                to[first] = usmmla(to[first], low, by);
                to[first + 1] = usmmla(to[first + 1], high, by);
            }
            if N % 2 == 1 {
                let by = by.add(2 * (N - 1));
                let sum = usdot(to[N - 1], codes[0], vdupq_n_s32(*by));
                to[N - 1] = usdot(sum, codes[1], vdupq_n_s32(*by.add(1)));
            }
        }
    }
    // A matrix has two rows' sums with one activation and the next: the first of two vectors those of
    // rows 0 and 1, the second those of rows 2 and 3.
    #[inline(always)]
    unsafe fn pair_up<const N: usize>(sums: &mut [int32x4_t; N]) {
        for pair in sums.chunks_exact_mut(2) {
            // SAFETY: the processor has the instructions, says the trait's caller.
            unsafe {
                (pair[0], pair[1]) = (vzip1q_s32(pair[0], pair[1]), vzip2q_s32(pair[0], pair[1]));
            }
        }
    }
    #[inline(always)]
    unsafe fn part<const N: usize>(sums: &mut [int32x4_t; N]) {
        for pair in sums.chunks_exact_mut(2) {
            // SAFETY: the processor has the instructions, says the trait's caller.
            unsafe {
                (pair[0], pair[1]) = (vuzp1q_s32(pair[0], pair[1]), vuzp2q_s32(pair[0], pair[1]));
            }
        }
    }
}

/// Codes without their offset of 128, as signed bytes.
#[inline(always)]
fn centred(codes: int32x4_t) -> int32x4_t {
    // SAFETY: every processor of this architecture has the instructions.
    unsafe { veorq_s32(codes, vdupq_n_s32(0x8080_8080_u32 as i32)) }
}

/// An instruction that adds to `to` what it makes of `codes` and `by`. Its intrinsic is unstable in
/// Rust 1.95; inline assembly is not.
macro_rules! instruction {
    ($features:literal, $function:ident, $text:literal $(, $lane:ident)?) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $function$(<const $lane: i32>)?(
            mut to: int32x4_t,
            codes: int32x4_t,
            by: int32x4_t,
        ) -> int32x4_t {
            // SAFETY: it computes with vectors alone, and the feature is there.
            unsafe {
                asm!(
                    $text,
                    to = inout(vreg) to,
                    codes = in(vreg) codes,
                    by = in(vreg) by,
                    $(lane = const $lane,)?
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            to
        }
    };
}

instruction!("dotprod", sdot, "sdot {to:v}.4s, {codes:v}.16b, {by:v}.16b");
instruction!(
    "dotprod",
    sdot_lane,
    "sdot {to:v}.4s, {codes:v}.16b, {by:v}.4b[{lane}]",
    LANE
);
instruction!("i8mm", usdot, "usdot {to:v}.4s, {codes:v}.16b, {by:v}.16b");
instruction!(
    "i8mm",
    usmmla,
    "usmmla {to:v}.4s, {codes:v}.16b, {by:v}.16b"
);
