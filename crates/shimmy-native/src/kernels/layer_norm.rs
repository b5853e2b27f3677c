//! The norm of encoders, which takes the mean off. Owns its order of summation, which is the same for
//! every level and never depends on other rows.

use super::elementwise::{LANES, add_lanes};
use super::simd::Simd;
use super::{Level, dispatch};

/// What becomes of a row whose mean is zero and whose variance is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNorm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
}

/// `x = weight × (y − mean of y) ÷ standard deviation of y + bias` where `y = x + added`.
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn layer_norm(
    level: Level,
    x: &mut [f32],
    added: Option<&[f32]>,
    norm: LayerNorm<'_>,
    epsilon: f32,
) {
    let lengths = [norm.weight.len(), norm.bias.len()];
    assert_eq!(lengths, [x.len(); 2], "a row and its norm");
    assert!(
        added.is_none_or(|added| added.len() == x.len()),
        "a row and what is added"
    );
    let mut lanes = [0.0; LANES];
    let sums = &mut lanes;
    dispatch!(
        level,
        sum_on(x: &mut [f32], added: Option<&[f32]>, sums: &mut [f32; LANES])
    );
    let mean = add_lanes(&lanes) / x.len() as f32;
    let mut lanes = [0.0; LANES];
    let sums = &mut lanes;
    dispatch!(
        level,
        centre_on(x: &mut [f32], mean: f32, sums: &mut [f32; LANES])
    );
    let variance = add_lanes(&lanes) / x.len() as f32;
    let scale = 1.0 / (variance + epsilon).sqrt();
    dispatch!(
        level,
        scale_on(x: &mut [f32], scale: f32, norm: LayerNorm<'_>)
    );
}

/// Adds to a row and sums it up in lanes.
///
/// # Safety
///
/// The processor has `S`; both slices are of one length.
#[inline(always)]
unsafe fn sum_on<S: Simd>(x: &mut [f32], added: Option<&[f32]>, sums: &mut [f32; LANES]) {
    let whole = x.len() / LANES * LANES;
    // SAFETY: within the slices, of which each chunk has 16 floats, as do the sums.
    unsafe {
        for lane in (0..LANES).step_by(S::LANES) {
            let mut sum = S::splat(0.0);
            for at in (lane..whole).step_by(LANES) {
                let mut value = S::load(x.as_ptr().add(at));
                if let Some(added) = added {
                    value = S::add(value, S::load(added.as_ptr().add(at)));
                    S::store(x.as_mut_ptr().add(at), value);
                }
                sum = S::add(sum, value);
            }
            S::store(sums.as_mut_ptr().add(lane), sum);
        }
    }
    for (index, sum) in sums[..x.len() - whole].iter_mut().enumerate() {
        let x = &mut x[whole + index];
        if let Some(added) = added {
            *x += added[whole + index];
        }
        *sum += *x;
    }
}

/// Takes the mean off a row and sums up squares in lanes.
///
/// # Safety
///
/// The processor has `S`.
#[inline(always)]
unsafe fn centre_on<S: Simd>(x: &mut [f32], mean: f32, sums: &mut [f32; LANES]) {
    let whole = x.len() / LANES * LANES;
    // SAFETY: as above.
    unsafe {
        for lane in (0..LANES).step_by(S::LANES) {
            let mut sum = S::splat(0.0);
            for at in (lane..whole).step_by(LANES) {
                let value = S::sub(S::load(x.as_ptr().add(at)), S::splat(mean));
                S::store(x.as_mut_ptr().add(at), value);
                sum = S::fma(value, value, sum);
            }
            S::store(sums.as_mut_ptr().add(lane), sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(&mut x[whole..]) {
        *x -= mean;
        *sum = x.mul_add(*x, *sum);
    }
}

/// `x = x × scale × weight + bias`.
///
/// # Safety
///
/// The processor has `S`; all slices are of one length.
#[inline(always)]
unsafe fn scale_on<S: Simd>(x: &mut [f32], scale: f32, norm: LayerNorm<'_>) {
    let whole = x.len() / S::LANES * S::LANES;
    // SAFETY: within the slices.
    unsafe {
        for at in (0..whole).step_by(S::LANES) {
            let value = S::mul(S::load(x.as_ptr().add(at)), S::splat(scale));
            let weight = S::load(norm.weight.as_ptr().add(at));
            let bias = S::load(norm.bias.as_ptr().add(at));
            S::store(x.as_mut_ptr().add(at), S::fma(value, weight, bias));
        }
    }
    let weights = norm.weight[whole..].iter().zip(&norm.bias[whole..]);
    for (x, (weight, bias)) in x[whole..].iter_mut().zip(weights) {
        *x = (*x * scale).mul_add(*weight, *bias);
    }
}

#[cfg(test)]
mod tests {
    use super::{LayerNorm, layer_norm};
    use crate::kernels::Level;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn layer_norms_are_as_exact_as_floats_can_be(
            x in prop::collection::vec(-30.0_f32..30.0, 2..200),
            far in -100.0_f32..100.0,
        ) {
            let added: Vec<f32> = x.iter().map(|x| far - 0.3 * x).collect();
            let weight: Vec<f32> = x.iter().map(|x| 1.0 + x / 60.0).collect();
            let norm = LayerNorm { weight: &weight, bias: &added };
            let sum: Vec<f64> = x.iter().zip(&added).map(|(&x, &y)| f64::from(x + y)).collect();
            let mean = sum.iter().sum::<f64>() / sum.len() as f64;
            let squares = sum.iter().map(|x| (x - mean) * (x - mean));
            let scale = 1.0 / (squares.sum::<f64>() / sum.len() as f64 + 1e-2).sqrt();
            let run = |level| {
                let mut x = x.clone();
                layer_norm(level, &mut x, Some(&added), norm, 1e-2);
                x
            };
            let out = run(Level::Scalar);
            for (index, out) in out.iter().enumerate() {
                let exact = (sum[index] - mean) * scale;
                let exact = exact * f64::from(weight[index]) + f64::from(added[index]);
                prop_assert!((f64::from(*out) - exact).abs() < 1e-3, "{out} {exact}");
            }
            for level in Level::available() {
                prop_assert_eq!(&run(level), &out, "{:?}", level);
                let mut alone: Vec<f32> = x.iter().zip(&added).map(|(x, y)| x + y).collect();
                layer_norm(level, &mut alone, None, norm, 1e-2);
                prop_assert_eq!(&alone, &out, "{:?}", level);
            }
        }
    }
}
