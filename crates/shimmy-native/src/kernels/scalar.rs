//! Vectors of 16 lanes without vector instructions: the reference, and the fallback of processors
//! that have no kernels of their own.

use super::simd::{Dot, Simd};
use crate::half;

/// Plain Rust.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar;

const LANES: usize = 16;
type F = [f32; LANES];
type I = [u32; LANES];

#[inline(always)]
fn lanes<T>(value: impl FnMut(usize) -> T) -> [T; LANES] {
    std::array::from_fn(value)
}

/// Written with shifts: of the same with arrays of bytes, rustc 1.95 made vector code that was wrong
/// in one lane of sixteen.
#[inline(always)]
fn products(to: u32, codes: u32, by: u32) -> u32 {
    let mut sum = to as i32;
    for shift in [0, 8, 16, 24] {
        let code = ((codes >> shift) & 0xff) as i32;
        let by = i32::from((by >> shift) as i8);
        sum = sum.wrapping_add(code * by);
    }
    sum as u32
}

// SAFETY of all blocks here: the caller's pointers are valid for the lanes read or written.
impl Simd for Scalar {
    const LANES: usize = LANES;
    const ROWS: usize = 1;
    type F = F;
    type I = I;
    type Dot = Self;

    #[inline(always)]
    unsafe fn splat(value: f32) -> F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        // SAFETY: see above.
        unsafe { from.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: F) {
        // SAFETY: see above.
        unsafe { to.cast::<F>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> F {
        // SAFETY: see above.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        lanes(|lane| half::to_f32(bits[lane]))
    }
    #[inline(always)]
    unsafe fn low_brains(value: I) -> F {
        lanes(|lane| half::bf16_to_f32(value[lane] as u16))
    }
    #[inline(always)]
    unsafe fn high_brains(value: I) -> F {
        lanes(|lane| half::bf16_to_f32((value[lane] >> 16) as u16))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> F {
        // SAFETY: see above.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        lanes(|lane| half::bf16_to_f32(bits[lane]))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> F {
        // SAFETY: see above.
        let bytes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        lanes(|lane| f32::from(bytes[lane]))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> F {
        // SAFETY: see above.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        lanes(|lane| f32::from(bytes[lane]))
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        lanes(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        lanes(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        lanes(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        lanes(|lane| a[lane] / b[lane])
    }
    // As x86 has it: the second operand where the comparison is false, as with a NaN.
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        lanes(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        lanes(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        lanes(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    unsafe fn fnma(a: F, b: F, c: F) -> F {
        lanes(|lane| (-a[lane]).mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    unsafe fn round(value: F) -> I {
        lanes(|lane| value[lane].round_ties_even() as i32 as u32)
    }
    #[inline(always)]
    unsafe fn to_float(value: I) -> F {
        lanes(|lane| value[lane] as i32 as f32)
    }
    #[inline(always)]
    unsafe fn exp2i(value: I) -> F {
        lanes(|lane| f32::from_bits(value[lane].wrapping_add(127) << 23))
    }
    #[inline(always)]
    unsafe fn keep_above(x: F, limit: f32, value: F) -> F {
        lanes(|lane| if x[lane] > limit { value[lane] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn largest(value: F) -> f32 {
        value
            .iter()
            .fold(f32::NEG_INFINITY, |all, &one| all.max(one))
    }
    #[inline(always)]
    unsafe fn splat_i(value: i32) -> I {
        [value as u32; LANES]
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> I {
        // SAFETY: see above.
        unsafe { from.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn and(a: I, b: I) -> I {
        lanes(|lane| a[lane] & b[lane])
    }
    #[inline(always)]
    unsafe fn or_masked(a: I, b: I, mask: I) -> I {
        lanes(|lane| a[lane] | (b[lane] & mask[lane]))
    }
    #[inline(always)]
    unsafe fn right<const BY: u32>(value: I) -> I {
        let mask = (0xffff >> BY) * 0x1_0001;
        lanes(|lane| (value[lane] >> BY) & mask)
    }
    #[inline(always)]
    unsafe fn left<const BY: u32>(value: I) -> I {
        let mask = (0xffff >> BY << BY) * 0x1_0001;
        lanes(|lane| (value[lane] << BY) & mask)
    }
    #[inline(always)]
    unsafe fn left_lane<const BY: u32>(value: I) -> I {
        lanes(|lane| value[lane] << BY)
    }
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], index: I) -> I {
        lanes(|lane| {
            let bytes = index[lane].to_le_bytes();
            u32::from_le_bytes(bytes.map(|byte| table[usize::from(byte & 15)]))
        })
    }
    #[inline(always)]
    unsafe fn prefetch(_from: *const u8) {}
}

impl Dot<I> for Scalar {
    const BYTES_ARE_CENTRED: bool = false;

    #[inline(always)]
    unsafe fn dot(to: I, codes: I, by: I) -> I {
        lanes(|lane| products(to[lane], codes[lane], by[lane]))
    }
    #[inline(always)]
    unsafe fn dot_bytes(to: I, codes: I, by: I) -> I {
        lanes(|lane| products(to[lane], codes[lane], by[lane]))
    }
}
