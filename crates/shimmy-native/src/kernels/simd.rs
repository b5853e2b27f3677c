//! What the kernels ask of a processor. Each operation is exact or rounds once, so every
//! implementation gives the same bits: the scalar one is the reference for all others.

/// Vectors of 32-bit lanes.
///
/// # Safety
///
/// All functions: the processor has the instructions of the implementation, and pointers are valid
/// for what the name says, of any alignment. Those that take vectors alone are unsafe for the
/// first reason only.
pub(super) trait Simd {
    /// Lanes of a vector; divides 16.
    const LANES: usize;
    /// The most activations that a kernel keeps in registers at a time.
    const ROWS: usize;
    /// Floats.
    type F: Copy;
    /// Whole numbers of 32 bits, or four times as many bytes.
    type I: Copy;
    /// How bytes are multiplied.
    type Dot: Dot<Self::I>;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn load_f16(from: *const u8) -> Self::F;
    unsafe fn load_bf16(from: *const u8) -> Self::F;
    unsafe fn load_i8(from: *const u8) -> Self::F;
    unsafe fn load_u8(from: *const u8) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `a × b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c − a × b`, rounded once.
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The nearest whole numbers, ties to even; lanes beyond an `i32` are unspecified.
    unsafe fn round(value: Self::F) -> Self::I;
    unsafe fn to_float(value: Self::I) -> Self::F;
    /// The bfloat16s in the low halves of the lanes.
    unsafe fn low_brains(value: Self::I) -> Self::F;
    /// The bfloat16s in the high halves of the lanes.
    unsafe fn high_brains(value: Self::I) -> Self::F;
    /// Two to the power of each lane, which is from −126 to 127.
    unsafe fn exp2i(value: Self::I) -> Self::F;

    /// The value where `x` is above `limit`, zero elsewhere.
    unsafe fn keep_above(x: Self::F, limit: f32, value: Self::F) -> Self::F;
    /// The largest lane.
    unsafe fn largest(value: Self::F) -> f32;

    unsafe fn splat_i(value: i32) -> Self::I;
    unsafe fn load_i(from: *const u8) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    /// `a | (b & mask)`.
    unsafe fn or_masked(a: Self::I, b: Self::I, mask: Self::I) -> Self::I;
    /// Shifts the 16-bit halves of each lane right.
    unsafe fn right<const BY: u32>(value: Self::I) -> Self::I;
    /// Shifts the 16-bit halves of each lane left.
    unsafe fn left<const BY: u32>(value: Self::I) -> Self::I;
    /// Shifts each lane left.
    unsafe fn left_lane<const BY: u32>(value: Self::I) -> Self::I;
    /// For each byte, which is below 16, that byte of the table.
    unsafe fn lookup(table: &[u8; 16], index: Self::I) -> Self::I;
    /// Asks for a cache line that is needed soon. The address need not be valid.
    unsafe fn prefetch(from: *const u8);
}

/// Products of bytes, in which processors with the same vectors differ.
///
/// # Safety
///
/// All functions: the processor has the instructions of the implementation, and pointers are valid
/// for what is said.
pub(super) trait Dot<I: Copy> {
    /// Whether [`dot_bytes`](Self::dot_bytes) takes the offset of 128 off by itself.
    const BYTES_ARE_CENTRED: bool;
    /// Whether products are taken of pairs of words ([`dots_of_pairs`](Self::dots_of_pairs)), and
    /// activations kept in that order.
    const PAIRS: bool = false;

    /// Adds to each lane the products of its four unsigned bytes of `codes`, each below 64, with
    /// the signed bytes of `by`, none of which is −128.
    unsafe fn dot(to: I, codes: I, by: I) -> I;
    /// The same for any bytes; see [`BYTES_ARE_CENTRED`](Self::BYTES_ARE_CENTRED).
    unsafe fn dot_bytes(to: I, codes: I, by: I) -> I;

    /// [`dot`](Self::dot), or [`dot_bytes`](Self::dot_bytes) if `BYTES`, of the same codes with each
    /// of the `N` words at `by`, which all lanes share.
    #[inline(always)]
    unsafe fn dots<S: Simd<I = I>, const N: usize, const BYTES: bool>(
        to: &mut [I; N],
        codes: I,
        by: *const i32,
    ) {
        for (index, to) in to.iter_mut().enumerate() {
            // SAFETY: says the caller.
            unsafe {
                let by = S::splat_i(*by.add(index));
                *to = if BYTES {
                    Self::dot_bytes(*to, codes, by)
                } else {
                    Self::dot(*to, codes, by)
                };
            }
        }
    }
    /// The same of two vectors of codes, with two words after each other for each of the `N`. What it
    /// adds to is in the order of [`pair_up`](Self::pair_up). Only where there are
    /// [`PAIRS`](Self::PAIRS).
    #[inline(always)]
    unsafe fn dots_of_pairs<const N: usize>(_to: &mut [I; N], _codes: [I; 2], _by: *const i32) {
        unreachable!("products of pairs on a processor without");
    }
    /// Brings sums into the order that products of pairs are added to.
    #[inline(always)]
    unsafe fn pair_up<const N: usize>(_sums: &mut [I; N]) {}
    /// Brings them back.
    #[inline(always)]
    unsafe fn part<const N: usize>(_sums: &mut [I; N]) {}
}

/// Weights that are floats of some kind, and how they are multiplied: a vector of one column at a time,
/// or of two.
///
/// # Safety
///
/// As of [`Dot`].
pub(super) trait Floats<S: Simd> {
    /// Columns that are multiplied at a time.
    const COLUMNS: usize;
    /// Bytes of them in one row.
    const BYTES: usize;
    /// Words of as many activations.
    const WORDS: usize;

    /// Adds to each lane of the `N` sums the products of its `weights` with activations. Those of sum
    /// `n` are at `by` + `n`; their words are `members` apart.
    unsafe fn add<const N: usize>(
        to: &mut [S::F; N],
        weights: *const u8,
        by: *const i32,
        members: usize,
    );
}

/// Floats of 32 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Singles;
/// Halves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Halves;
/// Pairs of bfloat16s, which meet activations that are bfloat16s as well, but written as floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brains;

/// Adds the products of weights with an activation for each sum.
///
/// # Safety
///
/// As of [`Floats::add`].
#[inline(always)]
unsafe fn add_column<S: Simd, const N: usize>(to: &mut [S::F; N], weights: S::F, by: *const i32) {
    for (number, to) in to.iter_mut().enumerate() {
        // SAFETY: says the caller.
        unsafe { *to = S::fma(weights, S::splat(*by.cast::<f32>().add(number)), *to) }
    }
}

impl<S: Simd> Floats<S> for Singles {
    const COLUMNS: usize = 1;
    const BYTES: usize = 4;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn add<const N: usize>(
        to: &mut [S::F; N],
        weights: *const u8,
        by: *const i32,
        _: usize,
    ) {
        // SAFETY: says the caller.
        unsafe { add_column::<S, N>(to, S::load(weights.cast()), by) }
    }
}

impl<S: Simd> Floats<S> for Halves {
    const COLUMNS: usize = 1;
    const BYTES: usize = 2;
    const WORDS: usize = 1;

    #[inline(always)]
    unsafe fn add<const N: usize>(
        to: &mut [S::F; N],
        weights: *const u8,
        by: *const i32,
        _: usize,
    ) {
        // SAFETY: says the caller.
        unsafe { add_column::<S, N>(to, S::load_f16(weights), by) }
    }
}

impl<S: Simd> Floats<S> for Brains {
    const COLUMNS: usize = 2;
    const BYTES: usize = 4;
    const WORDS: usize = 2;

    /// The second column comes first, as with the instruction for both.
    #[inline(always)]
    unsafe fn add<const N: usize>(
        to: &mut [S::F; N],
        weights: *const u8,
        by: *const i32,
        members: usize,
    ) {
        // SAFETY: says the caller.
        unsafe {
            let weights = S::load_i(weights);
            add_column::<S, N>(to, S::high_brains(weights), by.add(members));
            add_column::<S, N>(to, S::low_brains(weights), by);
        }
    }
}
