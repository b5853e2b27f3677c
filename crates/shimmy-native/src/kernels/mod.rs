//! The arithmetic: everything that is worth vector instructions, each kernel written once over
//! [`Simd`](simd::Simd) and compiled for every level of processors. Owns what is unsafe about it;
//! must not know models, sequences or files.
#![expect(
    unsafe_code,
    reason = "vector instructions and pointers into shared buffers"
)]

mod activations;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod elementwise;
mod matrix;
mod scalar;
mod simd;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use activations::{Activations, Forms};
pub(crate) use attention::{Attention, CELLS, KEYS, Query, attend};
pub(crate) use elementwise::{Gate, add_scaled, gate, rms_norm, rms_norm_into};
pub(crate) use matrix::{Matrix, Product, multiply};

/// What the processor can do, or what of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Plain Rust.
    Scalar,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best level of this processor.
    pub(crate) fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self::Scalar)
    }

    /// All levels of this processor, the best last.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 {
                levels.push(Self::Avx2);
            }
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 {
                levels.push(Self::Avx512);
            }
        }
        levels
    }

    /// What it is called.
    fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    /// Rows that the kernels compute together.
    pub(crate) fn group(self) -> usize {
        use simd::Simd;
        match self {
            Self::Scalar => scalar::Scalar::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::Avx512::ROWS,
        }
    }
}

/// The instructions that the kernels use on this processor; none where there are no kernels for its
/// vectors, and everything is computed in plain Rust.
pub fn processor() -> Option<&'static str> {
    Some(Level::detect())
        .filter(|&level| level != Level::Scalar)
        .map(Level::name)
}

/// Calls a kernel `unsafe fn kernel<S: Simd>(…)`, compiled for a level's instructions.
macro_rules! dispatch {
    ($level:expr, $kernel:ident ( $($name:ident : $type:ty),* $(,)? )) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn on_avx2($($name: $type),*) {
            // SAFETY: the caller has checked the level; the rest is the kernel's own condition.
            unsafe { $kernel::<$crate::kernels::avx2::Avx2>($($name),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        unsafe fn on_avx512($($name: $type),*) {
            // SAFETY: as above.
            unsafe { $kernel::<$crate::kernels::avx512::Avx512>($($name),*) }
        }
        // SAFETY: a level is only made where its instructions are.
        unsafe {
            match $level {
                $crate::kernels::Level::Scalar => {
                    $kernel::<$crate::kernels::scalar::Scalar>($($name),*)
                }
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Level::Avx2 => on_avx2($($name),*),
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Level::Avx512 => on_avx512($($name),*),
            }
        }
    }};
}
use dispatch;
