//! Vectors of 256 bits (AVX2, FMA, F16C), with and without VNNI.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::simd::{Dot, Simd};

/// AVX2 with FMA and F16C: Haswell, Zen and later.
pub(super) type Avx2 = Vectors<Pairs>;
/// The same with AVX-VNNI: Alder Lake, Zen 5 and later.
pub(super) type AvxVnni = Vectors<Vnni>;

/// Vectors of 256 bits whose bytes are multiplied by `D`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors<D>(PhantomData<D>);

/// Products of bytes by way of sums of two in 16 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs;

/// Products of bytes in one instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vnni;

impl<D: Dot<__m256i>> Simd for Vectors<D> {
    const LANES: usize = 8;
    const ROWS: usize = 4;
    type F = __m256;
    type I = __m256i;
    type Dot = D;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            _mm256_storeu_ps(to, value);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m256 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn low_brains(value: __m256i) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(value)) }
    }
    #[inline(always)]
    unsafe fn high_brains(value: __m256i) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_castsi256_ps(_mm256_and_si256(value, _mm256_set1_epi32(!0xffff))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m256 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(
                _mm_loadu_si128(from.cast()),
            )))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m256 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m256 {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn round(value: __m256) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_cvtps_epi32(value) }
    }
    #[inline(always)]
    unsafe fn to_float(value: __m256i) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_cvtepi32_ps(value) }
    }
    #[inline(always)]
    unsafe fn exp2i(value: __m256i) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                value,
                _mm256_set1_epi32(127),
            )))
        }
    }
    #[inline(always)]
    unsafe fn keep_above(x: __m256, limit: f32, value: __m256) -> __m256 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(limit)), value) }
    }
    #[inline(always)]
    unsafe fn largest(value: __m256) -> f32 {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let four = _mm_max_ps(
                _mm256_castps256_ps128(value),
                _mm256_extractf128_ps::<1>(value),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> __m256i {
        // SAFETY: the instructions are there and the pointer is valid, says the trait's caller.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    unsafe fn or_masked(a: __m256i, b: __m256i, mask: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_or_si256(a, _mm256_and_si256(b, mask)) }
    }
    #[inline(always)]
    unsafe fn right<const BY: u32>(value: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_srl_epi16(value, _mm_cvtsi32_si128(BY as i32)) }
    }
    #[inline(always)]
    unsafe fn left<const BY: u32>(value: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_sll_epi16(value, _mm_cvtsi32_si128(BY as i32)) }
    }
    #[inline(always)]
    unsafe fn left_lane<const BY: u32>(value: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_sll_epi32(value, _mm_cvtsi32_si128(BY as i32)) }
    }
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], index: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            _mm256_shuffle_epi8(
                _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())),
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

impl Dot<__m256i> for Pairs {
    const BYTES_ARE_CENTRED: bool = true;

    #[inline(always)]
    unsafe fn dot(to: __m256i, codes: __m256i, by: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let pairs = _mm256_maddubs_epi16(codes, by);
            _mm256_add_epi32(to, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: __m256i, codes: __m256i, by: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe {
            let centred = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
            let signed = _mm256_sign_epi8(by, centred);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(centred), signed);
            _mm256_add_epi32(to, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

impl Dot<__m256i> for Vnni {
    const BYTES_ARE_CENTRED: bool = false;

    #[inline(always)]
    unsafe fn dot(to: __m256i, codes: __m256i, by: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_dpbusd_avx_epi32(to, codes, by) }
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: __m256i, codes: __m256i, by: __m256i) -> __m256i {
        // SAFETY: the processor has the instructions, says the trait's caller.
        unsafe { _mm256_dpbusd_avx_epi32(to, codes, by) }
    }
}
