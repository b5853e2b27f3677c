//! Rows of floats: norms, gates, sums. Owns their order of summation, which is the same for every
//! level and never depends on other rows.

use super::simd::Simd;
use super::{Level, dispatch};

/// The function of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// `x × sigmoid(x)`.
    Silu,
    /// The approximation of GELU with a hyperbolic tangent.
    Gelu,
}

/// The lanes that sums are kept in, on every level.
pub(super) const LANES: usize = 16;

/// `out = weight × x ÷ root mean square of x`.
pub(crate) fn rms_norm_into(
    level: Level,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    let scale = inverse_rms(level, x, epsilon);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// The same in place.
pub(crate) fn rms_norm(level: Level, x: &mut [f32], weight: &[f32], epsilon: f32) {
    let scale = inverse_rms(level, x, epsilon);
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
}

/// `x += y × scale`.
pub(crate) fn add_scaled(x: &mut [f32], y: &[f32], scale: f32) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y * scale;
    }
}

/// `gate = function(gate) × up`.
pub(crate) fn gate(level: Level, function: Gate, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "the gate and what it gates");
    let up = Some(up);
    dispatch!(
        level,
        gate_on(function: Gate, gate: &mut [f32], up: Option<&[f32]>)
    );
}

/// `x = function(x)`.
pub(crate) fn activate(level: Level, function: Gate, x: &mut [f32]) {
    let up = None;
    dispatch!(
        level,
        gate_on(function: Gate, x: &mut [f32], up: Option<&[f32]>)
    );
}

fn inverse_rms(level: Level, x: &[f32], epsilon: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let sums_of = &mut sums;
    dispatch!(level, squares_on(x: &[f32], sums_of: &mut [f32; LANES]));
    let mean = add_lanes(&sums) / x.len() as f32;
    1.0 / (mean + epsilon).sqrt()
}

/// The sum of 16 lanes, pairwise.
#[inline(always)]
pub(super) fn add_lanes(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

/// # Safety
///
/// The processor has `S`.
#[inline(always)]
unsafe fn squares_on<S: Simd>(x: &[f32], sums: &mut [f32; LANES]) {
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    // SAFETY: each chunk has 16 floats, as do the sums.
    unsafe {
        for lane in (0..LANES).step_by(S::LANES) {
            let mut sum = S::splat(0.0);
            for chunk in whole.clone() {
                let x = S::load(chunk.as_ptr().add(lane));
                sum = S::fma(x, x, sum);
            }
            S::store(sums.as_mut_ptr().add(lane), sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = x.mul_add(*x, *sum);
    }
}

/// # Safety
///
/// The processor has `S`; both slices are of one length.
#[inline(always)]
unsafe fn gate_on<S: Simd>(function: Gate, gate: &mut [f32], up: Option<&[f32]>) {
    let whole = gate.len() / S::LANES * S::LANES;
    // SAFETY: within both slices; the rest goes through buffers of a whole vector.
    unsafe {
        for at in (0..whole).step_by(S::LANES) {
            let x = S::load(gate.as_ptr().add(at));
            let mut y = apply::<S>(function, x);
            if let Some(up) = up {
                y = S::mul(y, S::load(up.as_ptr().add(at)));
            }
            S::store(gate.as_mut_ptr().add(at), y);
        }
        let rest = gate.len() - whole;
        if rest > 0 {
            let mut buffer = [0.0; LANES];
            buffer[..rest].copy_from_slice(&gate[whole..]);
            let x = apply::<S>(function, S::load(buffer.as_ptr()));
            S::store(buffer.as_mut_ptr(), x);
            for (index, gate) in gate[whole..].iter_mut().enumerate() {
                *gate = buffer[index] * up.map_or(1.0, |up| up[whole + index]);
            }
        }
    }
}

/// # Safety
///
/// The processor has `S`.
#[inline(always)]
unsafe fn apply<S: Simd>(function: Gate, x: S::F) -> S::F {
    // SAFETY: says the caller.
    unsafe {
        let inner = match function {
            Gate::Silu => x,
            Gate::Gelu => {
                // tanh(u) is 2 × sigmoid(2u) − 1, which makes x × sigmoid(2u) of it.
                let cube = S::mul(S::mul(x, x), x);
                let u = S::fma(cube, S::splat(0.044_715), x);
                S::mul(u, S::splat(2.0 * 0.797_884_6))
            }
        };
        let divisor = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), inner)));
        S::div(x, divisor)
    }
}

/// The exponential function to about one unit in the last place; exactly zero below −87.
///
/// # Safety
///
/// The processor has `S`.
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // 2^n × e^r with |r| at most half of ln 2, and a polynomial for e^r.
    const LOWEST: f32 = -87.0;
    const COEFFICIENTS: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    // SAFETY: says the caller.
    unsafe {
        let bounded = S::min(S::max(x, S::splat(LOWEST)), S::splat(88.0));
        let whole = S::round(S::mul(bounded, S::splat(std::f32::consts::LOG2_E)));
        let n = S::to_float(whole);
        let r = S::fnma(n, S::splat(0.693_359_4), bounded);
        let r = S::fnma(n, S::splat(-2.121_944_4e-4), r);
        let mut sum = S::splat(COEFFICIENTS[0]);
        for coefficient in &COEFFICIENTS[1..] {
            sum = S::fma(sum, r, S::splat(*coefficient));
        }
        let sum = S::fma(S::mul(r, r), sum, S::add(r, S::splat(1.0)));
        S::keep_above(x, LOWEST, S::mul(sum, S::exp2i(whole)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, activate, gate, rms_norm_into};
    use crate::kernels::Level;
    use proptest::prelude::*;

    fn silu(x: f64) -> f64 {
        x / (1.0 + (-x).exp())
    }

    fn gelu(x: f64) -> f64 {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        0.5 * x * (1.0 + u.tanh())
    }

    #[test]
    fn gates_are_as_exact_as_floats_can_be() {
        for level in Level::available() {
            for (function, exact) in [
                (Gate::Silu, silu as fn(f64) -> f64),
                (Gate::Gelu, gelu as fn(f64) -> f64),
            ] {
                let x: Vec<f32> = (-400..400).map(|step| step as f32 * 0.0371).collect();
                let mut out = x.clone();
                gate(level, function, &mut out, &vec![1.0; x.len()]);
                let mut alone = x.clone();
                activate(level, function, &mut alone);
                assert_eq!(alone, out);
                for (x, out) in x.iter().zip(&out) {
                    let exact = exact(f64::from(*x));
                    let error = (f64::from(*out) - exact).abs();
                    assert!(
                        error <= 2e-6 * exact.abs() + 1e-9,
                        "{level:?} {x}: {out} {exact}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_level_gives_the_same_bits(
            x in prop::collection::vec(-30.0_f32..30.0, 1..200),
            gelu in any::<bool>(),
        ) {
            let function = if gelu { Gate::Gelu } else { Gate::Silu };
            let run = |level| {
                let mut normed = vec![0.0; x.len()];
                rms_norm_into(level, &x, &x, 1e-5, &mut normed);
                let mut gated = x.clone();
                gate(level, function, &mut gated, &x);
                (normed, gated)
            };
            let expected = run(Level::Scalar);
            for level in Level::available() {
                prop_assert_eq!(&run(level), &expected, "{:?}", level);
            }
        }
    }
}
