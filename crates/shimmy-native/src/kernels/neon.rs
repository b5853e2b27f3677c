//! Vectors of 128 bits (NEON, which every processor of 64-bit Arm has).

mod dot;

use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

use dot::{Matrices, Pairs, Signed};

use super::simd::{Dot, Simd};

/// NEON alone: Cortex-A53 and A72, Raspberry Pi 3 and 4.
pub(super) type Neon = Vectors<Pairs>;
/// With FEAT_DotProd: Armv8.2 and later, such as Neoverse N1, Raspberry Pi 5, Apple M1.
pub(super) type Dotprod = Vectors<Signed>;
/// With FEAT_I8MM: Armv8.6 and later, such as Neoverse V1, Apple M2.
pub(super) type I8mm = Vectors<Matrices>;

/// Vectors of 128 bits whose bytes are multiplied by `D`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors<D>(PhantomData<D>);

impl<D: Dot<int32x4_t>> Simd for Vectors<D> {
    const LANES: usize = 4;
    // Half of the 32 registers for the sums, of floats and of whole numbers.
    const ROWS: usize = 8;
    type F = float32x4_t;
    type I = int32x4_t;
    type Dot = D;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            vst1q_f32(to, value);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> float32x4_t {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn low_brains(value: int32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_s32(value))) }
    }
    #[inline(always)]
    unsafe fn high_brains(value: int32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            vreinterpretq_f32_u32(vandq_u32(
                vreinterpretq_u32_s32(value),
                vdupq_n_u32(!0xffff),
            ))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> float32x4_t {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> float32x4_t {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            let bytes = vcreate_s8(u64::from(from.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> float32x4_t {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            let bytes = vcreate_u8(u64::from(from.cast::<u32>().read_unaligned()));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vdivq_f32(a, b) }
    }
    // Not `vmaxq_f32`: of a NaN and of two zeros it makes other bits than the other levels do.
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vfmsq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn round(value: float32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vcvtnq_s32_f32(value) }
    }
    #[inline(always)]
    unsafe fn to_float(value: int32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vcvtq_f32_s32(value) }
    }
    #[inline(always)]
    unsafe fn exp2i(value: int32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(value, vdupq_n_s32(127)))) }
    }
    #[inline(always)]
    unsafe fn keep_above(x: float32x4_t, limit: f32, value: float32x4_t) -> float32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let above = vcgtq_f32(x, vdupq_n_f32(limit));
            vreinterpretq_f32_u32(vandq_u32(above, vreinterpretq_u32_f32(value)))
        }
    }
    #[inline(always)]
    unsafe fn largest(value: float32x4_t) -> f32 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vmaxnmvq_f32(value) }
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vdupq_n_s32(value) }
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> int32x4_t {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { vld1q_s32(from.cast()) }
    }
    #[inline(always)]
    unsafe fn and(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vandq_s32(a, b) }
    }
    #[inline(always)]
    unsafe fn or_masked(a: int32x4_t, b: int32x4_t, mask: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vorrq_s32(a, vandq_s32(b, mask)) }
    }
    // Shifts by a vector, which the compiler knows and makes shifts by a constant of.
    #[inline(always)]
    unsafe fn right<const BY: u32>(value: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let by = vdupq_n_s16(-(BY as i16));
            vreinterpretq_s32_u16(vshlq_u16(vreinterpretq_u16_s32(value), by))
        }
    }
    #[inline(always)]
    unsafe fn left<const BY: u32>(value: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let by = vdupq_n_s16(BY as i16);
            vreinterpretq_s32_u16(vshlq_u16(vreinterpretq_u16_s32(value), by))
        }
    }
    #[inline(always)]
    unsafe fn left_lane<const BY: u32>(value: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { vshlq_s32(value, vdupq_n_s32(BY as i32)) }
    }
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], index: int32x4_t) -> int32x4_t {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let table = vld1q_u8(table.as_ptr());
            vreinterpretq_s32_u8(vqtbl1q_u8(table, vreinterpretq_u8_s32(index)))
        }
    }
    // The intrinsic is unstable in Rust 1.95, inline assembly is not.
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a prefetch of an address that is not valid does nothing.
        unsafe {
            asm!(
                "prfm pldl2keep, [{from}]",
                from = in(reg) from,
                options(readonly, nostack, preserves_flags)
            );
        }
    }
}
