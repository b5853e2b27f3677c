//! Half-precision floats (IEEE 754 binary16) and bfloat16 as plain integers. Owns the conversions
//! that need no vector instructions.

/// The value of a half.
pub(crate) fn to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff);
    if magnitude >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | ((magnitude & 0x3ff) << 13));
    }
    // Shifted into place the exponent is 112 too small; a multiplication by 2^112 corrects it and
    // makes normal numbers of subnormal ones.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(scaled.to_bits() | sign)
}

/// The nearest half, ties to even. What is too large becomes the largest finite one: an infinity in
/// the cache would spoil every later token.
pub(crate) fn from_f32(value: f32) -> u16 {
    const LARGEST: f32 = 65504.0;
    let sign = ((value.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    let magnitude = magnitude.min(LARGEST);
    if magnitude < f32::from_bits(0x3880_0000) {
        // Subnormal: adding 2^-1 · 2^-13 leaves the rounded result in the lowest bits.
        let rounded = magnitude + 0.5;
        return sign | (rounded.to_bits() - 0x3f00_0000) as u16;
    }
    let bits = magnitude.to_bits();
    let rounded = bits - 0x3800_0000 + 0xfff + ((bits >> 13) & 1);
    sign | (rounded >> 13) as u16
}

/// The value of a bfloat16.
pub(crate) fn bf16_to_f32(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// The nearest bfloat16, ties to even.
pub(crate) fn bf16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::{bf16_from_f32, bf16_to_f32, from_f32, to_f32};

    #[test]
    fn bfloat16s_survive_and_others_go_to_the_nearest() {
        for brain in (0..=u16::MAX).filter(|brain| brain & 0x7f80 != 0x7f80) {
            let value = bf16_to_f32(brain);
            assert_eq!(bf16_from_f32(value), brain);
            let bits = value.to_bits();
            let even = if brain % 2 == 0 { brain } else { brain + 1 };
            assert_eq!(bf16_from_f32(f32::from_bits(bits + 0x7fff)), brain);
            assert_eq!(bf16_from_f32(f32::from_bits(bits + 0x8000)), even);
            assert_eq!(bf16_from_f32(f32::from_bits(bits + 0x8001)), brain + 1);
        }
        assert!(bf16_to_f32(bf16_from_f32(f32::NAN)).is_nan());
    }

    #[test]
    fn every_finite_half_survives_the_way_there_and_back() {
        for half in 0..=u16::MAX {
            if half & 0x7c00 == 0x7c00 {
                continue;
            }
            assert_eq!(from_f32(to_f32(half)), half, "{half:#x}");
        }
    }

    #[test]
    fn values_between_two_halves_go_to_the_nearer_and_ties_to_even() {
        for half in 0x0001..0x7bff_u16 {
            let (low, high) = (to_f32(half), to_f32(half + 1));
            let middle = (low + high) / 2.0;
            let even = if half % 2 == 0 { half } else { half + 1 };
            assert_eq!(from_f32(middle), even, "{half:#x}");
            assert_eq!(from_f32(low + (middle - low) * 0.99), half);
            assert_eq!(from_f32(high - (high - middle) * 0.99), half + 1);
        }
    }

    #[test]
    fn what_is_too_large_stays_finite() {
        assert_eq!(to_f32(from_f32(1e9)), 65504.0);
        assert_eq!(to_f32(from_f32(f32::NEG_INFINITY)), -65504.0);
        assert!(to_f32(from_f32(f32::NAN)).is_nan());
    }
}
