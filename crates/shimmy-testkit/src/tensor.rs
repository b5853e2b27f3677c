//! Tensors and how their numbers are stored. Owns the names and numbers of ggml's formats; how blocks
//! are filled is the business of `blocks`.

use crate::blocks;

/// How a tensor's numbers are stored. The block formats need rows that are a multiple of 32 long,
/// those named after `K` and `Iq4Xs` of 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Four bits, one scale for 32 numbers.
    Q4_0,
    /// Four bits, a scale and a minimum for 32 numbers.
    Q4_1,
    /// Five bits, one scale for 32 numbers.
    Q5_0,
    /// Five bits, a scale and a minimum for 32 numbers.
    Q5_1,
    /// Eight bits, one scale for 32 numbers.
    Q8_0,
    /// Two bits, scales and minima for 16 numbers.
    Q2K,
    /// Three bits, scales for 16 numbers.
    Q3K,
    /// Four bits, scales and minima for 32 numbers.
    Q4K,
    /// Five bits, scales and minima for 32 numbers.
    Q5K,
    /// Six bits, scales for 16 numbers.
    Q6K,
    /// Four bits that stand for uneven steps, one scale for 32 numbers.
    Iq4Nl,
    /// The same with scales for 32 of 256 numbers.
    Iq4Xs,
}

impl TensorType {
    /// All formats.
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];

    /// The format's number in a tensor table (`ggml_type`).
    pub const fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Iq4Nl => 20,
            Self::Iq4Xs => 23,
            Self::Bf16 => 30,
        }
    }

    /// What `general.file_type` says of a file whose matrices are mostly of this format.
    pub const fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q2K => 10,
            Self::Q3K => 12,
            Self::Q4K => 15,
            Self::Q5K => 17,
            Self::Q6K => 18,
            Self::Iq4Nl => 25,
            Self::Iq4Xs => 30,
            Self::Bf16 => 32,
        }
    }
}

/// A named array of numbers. `dims[0]` is the length of a row (the fastest index), as in ggml.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: TensorType,
    pub(crate) data: Vec<u8>,
}

impl Tensor {
    /// A tensor of `values`, row after row, stored as `kind`. The number of values should be the
    /// product of `dims`; it is not checked, since broken files need the opposite.
    pub fn new(name: &str, dims: &[u64], kind: TensorType, values: &[f32]) -> Self {
        Self {
            name: name.to_owned(),
            dims: dims.to_vec(),
            kind,
            data: encode(kind, values),
        }
    }

    /// The size of the tensor's data in bytes, padding not included.
    pub fn size(&self) -> usize {
        self.data.len()
    }
}

fn encode(kind: TensorType, values: &[f32]) -> Vec<u8> {
    let halves = |bits: fn(f32) -> u16| {
        let halves = values.iter().map(|&value| bits(value).to_le_bytes());
        halves.flatten().collect()
    };
    match kind {
        TensorType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        TensorType::F16 => halves(f16_bits),
        TensorType::Bf16 => halves(bf16_bits),
        _ => blocks::encode(kind, values),
    }
}

/// Rounds to the nearest IEEE 754 half-precision number, ties to even; too large becomes infinite.
pub(crate) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    // Halves below 2^-14 are multiples of 2^-24, so scaling and rounding is all there is to do.
    if magnitude < 2.0_f32.powi(-14) {
        return sign | (magnitude * 2.0_f32.powi(24)).round_ties_even() as u16;
    }
    // 65520 lies halfway between the largest half and the next step: from there on, infinity.
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Dropping 13 mantissa bits: adding just under half a step, and the last kept bit, rounds ties
    // to even; a carry into the exponent is exactly the next power of two.
    let bits = magnitude.to_bits();
    let rounded = bits + 0x0fff + ((bits >> 13) & 1);
    sign | ((rounded - (112 << 23)) >> 13) as u16
}

/// Rounds a finite number to the upper half of its bits, ties to even.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::{Tensor, TensorType, bf16_bits, f16_bits};

    #[test]
    fn halves_round_to_nearest_even() {
        let cases = [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65520.0, 0x7c00),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
        ];
        for (value, bits) in cases {
            assert_eq!(f16_bits(value), bits, "{value}");
        }
        assert_eq!(bf16_bits(1.0), 0x3f80);
        assert_eq!(bf16_bits(-1.0 - 1.0 / 256.0), 0xbf80);
        assert_eq!(bf16_bits(1.0 + 3.0 / 256.0), 0x3f82);
    }

    #[test]
    fn every_format_takes_the_bytes_that_ggml_gives_it() {
        let values = [0.5; 256];
        let sizes = TensorType::ALL.map(|kind| Tensor::new("t", &[256], kind, &values).size());
        let expected = [
            1024, 512, 512, 144, 160, 176, 192, 272, 84, 110, 144, 176, 210, 144, 136,
        ];
        assert_eq!(sizes, expected);
    }
}
