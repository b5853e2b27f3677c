//! Vectors of 512 bits (AVX-512 F, BW, VL, VNNI), with and without products of bfloat16s (BF16).

use std::arch::x86_64::*;

use super::simd::{Dot, Floats, Simd};

/// AVX-512 with VNNI: Ice Lake, Zen 4 and later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512;

impl Simd for Avx512 {
    const LANES: usize = 16;
    const ROWS: usize = 8;
    type F = __m512;
    type I = __m512i;
    type Dot = Self;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            _mm512_storeu_ps(to, value);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn low_brains(value: __m512i) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(value)) }
    }
    #[inline(always)]
    unsafe fn high_brains(value: __m512i) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_castsi512_ps(_mm512_and_si512(value, _mm512_set1_epi32(!0xffff))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(
                _mm256_loadu_si256(from.cast()),
            )))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn round(value: __m512) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_cvtps_epi32(value) }
    }
    #[inline(always)]
    unsafe fn to_float(value: __m512i) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_cvtepi32_ps(value) }
    }
    #[inline(always)]
    unsafe fn exp2i(value: __m512i) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
                value,
                _mm512_set1_epi32(127),
            )))
        }
    }
    #[inline(always)]
    unsafe fn keep_above(x: __m512, limit: f32, value: __m512) -> __m512 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            _mm512_maskz_mov_ps(
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(limit)),
                value,
            )
        }
    }
    #[inline(always)]
    unsafe fn largest(value: __m512) -> f32 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_reduce_max_ps(value) }
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> __m512i {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn or_masked(a: __m512i, b: __m512i, mask: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_ternarylogic_epi32::<0xf8>(a, b, mask) }
    }
    #[inline(always)]
    unsafe fn right<const BY: u32>(value: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_srli_epi16::<BY>(value) }
    }
    #[inline(always)]
    unsafe fn left<const BY: u32>(value: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_slli_epi16::<BY>(value) }
    }
    #[inline(always)]
    unsafe fn left_lane<const BY: u32>(value: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_slli_epi32::<BY>(value) }
    }
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], index: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            _mm512_shuffle_epi8(
                _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())),
                index,
            )
        }
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(from.cast());
        }
    }
}

impl Dot<__m512i> for Avx512 {
    const BYTES_ARE_CENTRED: bool = false;

    #[inline(always)]
    unsafe fn dot(to: __m512i, codes: __m512i, by: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_dpbusd_epi32(to, codes, by) }
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: __m512i, codes: __m512i, by: __m512i) -> __m512i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm512_dpbusd_epi32(to, codes, by) }
    }
}

/// The same bits as bfloat16s.
#[inline(always)]
fn brains(value: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and any are valid.
    unsafe { std::ptr::from_ref(&value).cast::<__m512bh>().read() }
}

/// Pairs of bfloat16s, weights and activations, multiplied in one instruction: Cooper Lake, Zen 4 and
/// later. It rounds as two multiplications and additions do, the second column's first; but what is too
/// small for a normal float is nothing to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs;

impl Floats<Avx512> for Pairs {
    const COLUMNS: usize = 2;
    const BYTES: usize = 4;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn add<const N: usize>(
        to: &mut [__m512; N],
        weights: *const u8,
        by: *const i32,
        _: usize,
    ) {
        // SAFETY: the instructions are there and the pointers are valid, says the trait's caller.
        unsafe {
            let weights = brains(_mm512_loadu_si512(weights.cast()));
            for (number, to) in to.iter_mut().enumerate() {
                let by = brains(_mm512_set1_epi32(*by.add(number)));
                *to = _mm512_dpbf16_ps(*to, weights, by);
            }
        }
    }
}
