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
mod layer_norm;
mod low_rank;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod simd;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use activations::{Activations, Forms};
pub use attention::CacheType;
pub(crate) use attention::{Attention, CELLS, HeadLayout, PART, Query, Sight, attend, spread_keys};
pub(crate) use elementwise::{Gate, activate, add_scaled, gate, rms_norm, rms_norm_into};
pub(crate) use layer_norm::{LayerNorm, layer_norm};
pub(crate) use low_rank::{Floats, LowRank, Sum, Update, add_low_rank};
pub(crate) use matrix::{Matrix, Product, multiply};

/// What the processor can do, or what of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Plain Rust.
    Scalar,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The same with AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 F, BW, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// NEON, without products of bytes.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// NEON and FEAT_DotProd.
    #[cfg(target_arch = "aarch64")]
    Dotprod,
    /// NEON and FEAT_I8MM.
    #[cfg(target_arch = "aarch64")]
    I8mm,
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
            if avx2 && is_x86_feature_detected!("avxvnni") {
                levels.push(Self::AvxVnni);
            }
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 {
                levels.push(Self::Avx512);
            }
            if avx2 && avx512 && is_x86_feature_detected!("avx512bf16") {
                levels.push(Self::Avx512Bf16);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected;
            levels.push(Self::Neon);
            if is_aarch64_feature_detected!("dotprod") {
                levels.push(Self::Dotprod);
            }
            if is_aarch64_feature_detected!("i8mm") {
                levels.push(Self::I8mm);
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
            Self::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => "avx512-bf16",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod => "dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => "i8mm",
        }
    }

    /// Whether pairs of bfloat16s are multiplied in one instruction.
    fn multiplies_brains(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => true,
            _ => false,
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
            Self::AvxVnni => avx2::AvxVnni::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Bf16 => avx512::Avx512::ROWS,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::ROWS,
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod => neon::Dotprod::ROWS,
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => neon::I8mm::ROWS,
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

/// A function that is compiled for a level's instructions, on processors that may have them.
macro_rules! compiled_for {
    (Avx2, $($function:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        $($function)*
    };
    (AvxVnni, $($function:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        $($function)*
    };
    (Avx512, $($function:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        $($function)*
    };
    (Avx512Bf16, $($function:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"
        )]
        $($function)*
    };
    (Neon, $($function:tt)*) => {
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon")]
        $($function)*
    };
    (Dotprod, $($function:tt)*) => {
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon,dotprod")]
        $($function)*
    };
    (I8mm, $($function:tt)*) => {
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon,i8mm")]
        $($function)*
    };
}
use compiled_for;

/// A kernel `unsafe fn kernel<S: Simd>(…)`, compiled for a level's instructions.
macro_rules! compiled_kernel {
    ($level:ident, $simd:ty, $function:ident, $kernel:ident ( $($name:ident : $type:ty),* )) => {
        $crate::kernels::compiled_for!(
            $level,
            unsafe fn $function($($name: $type),*) {
                // SAFETY: the caller has checked the level; the rest is the kernel's own condition.
                unsafe { $kernel::<$simd>($($name),*) }
            }
        );
    };
}
use compiled_kernel;

/// Calls a kernel `unsafe fn kernel<S: Simd>(…)`, compiled for a level's instructions.
macro_rules! dispatch {
    ($level:expr, $kernel:ident ( $($name:ident : $type:ty),* $(,)? )) => {{
        use $crate::kernels::{Level, compiled_kernel};
        #[cfg(target_arch = "x86_64")]
        use $crate::kernels::{avx2, avx512};
        #[cfg(target_arch = "aarch64")]
        use $crate::kernels::neon;
        compiled_kernel!(Avx2, avx2::Avx2, on_avx2, $kernel($($name: $type),*));
        compiled_kernel!(AvxVnni, avx2::AvxVnni, on_avx_vnni, $kernel($($name: $type),*));
        compiled_kernel!(Avx512, avx512::Avx512, on_avx512, $kernel($($name: $type),*));
        compiled_kernel!(Neon, neon::Neon, on_neon, $kernel($($name: $type),*));
        compiled_kernel!(Dotprod, neon::Dotprod, on_dotprod, $kernel($($name: $type),*));
        compiled_kernel!(I8mm, neon::I8mm, on_i8mm, $kernel($($name: $type),*));
        // SAFETY: a level is only made where its instructions are.
        unsafe {
            match $level {
                Level::Scalar => $kernel::<$crate::kernels::scalar::Scalar>($($name),*),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => on_avx2($($name),*),
                #[cfg(target_arch = "x86_64")]
                Level::AvxVnni => on_avx_vnni($($name),*),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Avx512Bf16 => on_avx512($($name),*),
                #[cfg(target_arch = "aarch64")]
                Level::Neon => on_neon($($name),*),
                #[cfg(target_arch = "aarch64")]
                Level::Dotprod => on_dotprod($($name),*),
                #[cfg(target_arch = "aarch64")]
                Level::I8mm => on_i8mm($($name),*),
            }
        }
    }};
}
use dispatch;
