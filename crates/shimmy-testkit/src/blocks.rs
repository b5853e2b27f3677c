//! Numbers into ggml's block formats, each in the simplest way that keeps them: by the largest number
//! and the smallest, without a search for better scales. Owns the bit layouts, as
//! <https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h> has them.

use crate::tensor::{TensorType, f16_bits};

/// What the four bits of IQ4_NL and IQ4_XS stand for.
const UNEVEN: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// Appends the block of some numbers.
type Encode = fn(&[f32], &mut Vec<u8>);

/// The blocks of numbers, which must fill them.
pub(crate) fn encode(kind: TensorType, values: &[f32]) -> Vec<u8> {
    let (length, block): (usize, Encode) = match kind {
        TensorType::F32 | TensorType::F16 | TensorType::Bf16 => return Vec::new(),
        TensorType::Q4_0 => (32, |values, out| centred(values, 4, out)),
        TensorType::Q5_0 => (32, |values, out| centred(values, 5, out)),
        TensorType::Q4_1 => (32, |values, out| from_minimum(values, 4, out)),
        TensorType::Q5_1 => (32, |values, out| from_minimum(values, 5, out)),
        TensorType::Q8_0 => (32, q8_0),
        TensorType::Iq4Nl => (32, iq4_nl),
        TensorType::Q2K => (256, q2_k),
        TensorType::Q3K => (256, q3_k),
        TensorType::Q4K => (256, |values, out| q45_k(values, 4, out)),
        TensorType::Q5K => (256, |values, out| q45_k(values, 5, out)),
        TensorType::Q6K => (256, q6_k),
        TensorType::Iq4Xs => (256, iq4_xs),
    };
    let mut out = Vec::new();
    for values in values.chunks_exact(length) {
        block(values, &mut out);
    }
    out
}

/// The nearest code of so many bits.
fn code(value: f32, bits: u32) -> u8 {
    // NaN, of nothing divided by nothing, is zero.
    value.round().clamp(0.0, ((1 << bits) - 1) as f32) as u8
}

fn largest(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0, |all: f32, value| all.max(value.abs()))
}

/// How far values reach down from 0 and how far up.
fn extent(values: &[f32]) -> (f32, f32) {
    let below = values.iter().fold(0.0, |all: f32, &value| all.min(value));
    let above = values.iter().fold(0.0, |all: f32, &value| all.max(value));
    (-below, above)
}

fn put_half(value: f32, out: &mut Vec<u8>) {
    out.extend(f16_bits(value).to_le_bytes());
}

/// `scale × (code − half of the codes)`.
fn centred(values: &[f32], bits: u32, out: &mut Vec<u8>) {
    let middle = (1 << (bits - 1)) as f32;
    let scale = largest(values) / (middle - 1.0);
    put_half(scale, out);
    let codes: Vec<u8> = values
        .iter()
        .map(|value| code(value / scale + middle, bits))
        .collect();
    put_codes(&codes, bits, out);
}

/// `scale × code + minimum`.
fn from_minimum(values: &[f32], bits: u32, out: &mut Vec<u8>) {
    let (below, above) = extent(values);
    let scale = (below + above) / ((1 << bits) - 1) as f32;
    put_half(scale, out);
    put_half(-below, out);
    let codes: Vec<u8> = values
        .iter()
        .map(|value| code((value + below) / scale, bits))
        .collect();
    put_codes(&codes, bits, out);
}

/// Thirty-two codes: their fifth bits if they have any, then the first half in low nibbles and the
/// second in high ones.
fn put_codes(codes: &[u8], bits: u32, out: &mut Vec<u8>) {
    if bits == 5 {
        let fifth = codes.iter().enumerate();
        let fifth = fifth.fold(0, |all, (index, code)| all | u32::from(code >> 4) << index);
        out.extend(fifth.to_le_bytes());
    }
    let (first, second) = codes.split_at(16);
    out.extend(
        first
            .iter()
            .zip(second)
            .map(|(low, high)| low & 15 | high << 4),
    );
}

fn q8_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = largest(values) / 127.0;
    put_half(scale, out);
    out.extend(
        values
            .iter()
            .map(|value| (value / scale).round() as i8 as u8),
    );
}

/// The code whose step is nearest.
fn uneven(value: f32) -> u8 {
    let distance = |code: &usize| (UNEVEN[*code] - value).abs();
    let nearest = (0..16).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.unwrap_or_default() as u8
}

fn iq4_nl(values: &[f32], out: &mut Vec<u8>) {
    let scale = largest(values) / 113.0;
    put_half(scale, out);
    let codes: Vec<u8> = values.iter().map(|value| uneven(value / scale)).collect();
    put_codes(&codes, 4, out);
}

fn iq4_xs(values: &[f32], out: &mut Vec<u8>) {
    let scales = group_scales(values, 32, 113.0);
    let scale = largest(&scales) / 31.0;
    let scales: Vec<u8> = scales.iter().map(|s| code(s / scale, 5) + 32).collect();
    put_half(scale, out);
    let high = scales.iter().enumerate();
    let high = high.fold(0, |all, (index, scale)| {
        all | u16::from(scale >> 4) << (2 * index)
    });
    out.extend(high.to_le_bytes());
    out.extend(
        scales
            .chunks_exact(2)
            .map(|pair| pair[0] & 15 | pair[1] << 4),
    );
    for (values, &of_group) in values.chunks_exact(32).zip(&scales) {
        let step = scale * f32::from(of_group - 32);
        let codes: Vec<u8> = values.iter().map(|value| uneven(value / step)).collect();
        put_codes(&codes, 4, out);
    }
}

/// For each group the scale by which its largest number becomes `most`.
fn group_scales(values: &[f32], group: usize, most: f32) -> Vec<f32> {
    let groups = values.chunks_exact(group);
    groups.map(|values| largest(values) / most).collect()
}

/// Scales and minima of groups as whole numbers of so many bits, what these are multiplied with, and
/// the codes that go with them: `scale × step × code − minimum × offset`.
struct Grouped {
    scale: f32,
    minimum: f32,
    steps: Vec<u8>,
    offsets: Vec<u8>,
    codes: Vec<u8>,
}

impl Grouped {
    fn new(values: &[f32], group: usize, bits: u32, step_bits: u32) -> Self {
        let most = ((1 << bits) - 1) as f32;
        let extents = values.chunks_exact(group).map(extent);
        let (offsets, steps): (Vec<f32>, Vec<f32>) = extents
            .map(|(below, above)| (below, (below + above) / most))
            .unzip();
        let units = ((1 << step_bits) - 1) as f32;
        let (scale, minimum) = (largest(&steps) / units, largest(&offsets) / units);
        let whole = |values: Vec<f32>, unit: f32| -> Vec<u8> {
            let values = values.iter().map(|value| code(value / unit, step_bits));
            values.collect()
        };
        let (steps, offsets) = (whole(steps, scale), whole(offsets, minimum));
        let codes = values.iter().enumerate().map(|(index, value)| {
            let group = index / group;
            let offset = minimum * f32::from(offsets[group]);
            code((value + offset) / (scale * f32::from(steps[group])), bits)
        });
        Self {
            codes: codes.collect(),
            scale,
            minimum,
            steps,
            offsets,
        }
    }
}

fn q2_k(values: &[f32], out: &mut Vec<u8>) {
    let grouped = Grouped::new(values, 16, 2, 4);
    let scales = grouped.steps.iter().zip(&grouped.offsets);
    out.extend(scales.map(|(step, offset)| step | offset << 4));
    put_pairs_of_bits(&grouped.codes, out);
    put_half(grouped.scale, out);
    put_half(grouped.minimum, out);
}

/// The lowest two bits of 256 codes: four codes that are 32 apart in one byte.
fn put_pairs_of_bits(codes: &[u8], out: &mut Vec<u8>) {
    for codes in codes.chunks_exact(128) {
        out.extend((0..32).map(|index| {
            (0..4).fold(0, |byte, part| {
                byte | (codes[32 * part + index] & 3) << (2 * part)
            })
        }));
    }
}

fn q3_k(values: &[f32], out: &mut Vec<u8>) {
    let scales = group_scales(values, 16, 3.0);
    let scale = largest(&scales) / 31.0;
    let scales: Vec<u8> = scales.iter().map(|s| code(s / scale, 5) + 32).collect();
    let codes = values.iter().enumerate().map(|(index, value)| {
        let step = scale * f32::from(scales[index / 16] - 32);
        code(value / step + 4.0, 3)
    });
    let codes: Vec<u8> = codes.collect();
    out.extend((0..32).map(|index| {
        (0..8).fold(0, |byte, part| {
            byte | (codes[32 * part + index] >> 2) << part
        })
    }));
    put_pairs_of_bits(&codes, out);
    out.extend((0..8).map(|index| scales[index] & 15 | scales[index + 8] << 4));
    out.extend((0..4).map(|index| {
        (0..4).fold(0, |byte, part| {
            byte | (scales[4 * part + index] >> 4) << (2 * part)
        })
    }));
    put_half(scale, out);
}

/// Q4_K and Q5_K.
fn q45_k(values: &[f32], bits: u32, out: &mut Vec<u8>) {
    let Grouped {
        scale,
        minimum,
        steps,
        offsets,
        codes,
    } = Grouped::new(values, 32, bits, 6);
    put_half(scale, out);
    put_half(minimum, out);
    for list in [&steps, &offsets] {
        out.extend((0..4).map(|index| list[index] | list[index + 4] >> 4 << 6));
    }
    out.extend((4..8).map(|index| steps[index] & 15 | offsets[index] << 4));
    if bits == 5 {
        out.extend((0..32).map(|index| {
            (0..8).fold(0, |byte, part| {
                byte | (codes[32 * part + index] >> 4) << part
            })
        }));
    }
    for codes in codes.chunks_exact(64) {
        out.extend((0..32).map(|index| codes[index] & 15 | codes[index + 32] << 4));
    }
}

fn q6_k(values: &[f32], out: &mut Vec<u8>) {
    let scales = group_scales(values, 16, 31.0);
    let scale = largest(&scales) / 127.0;
    let scales: Vec<u8> = scales.iter().map(|s| code(s / scale, 7)).collect();
    let codes = values.iter().enumerate().map(|(index, value)| {
        let step = scale * f32::from(scales[index / 16]);
        code(value / step + 32.0, 6)
    });
    let codes: Vec<u8> = codes.collect();
    for codes in codes.chunks_exact(128) {
        out.extend((0..64).map(|index| codes[index] & 15 | codes[index + 64] << 4));
    }
    for codes in codes.chunks_exact(128) {
        out.extend((0..32).map(|index| {
            (0..4).fold(0, |byte, part| {
                byte | (codes[32 * part + index] >> 4) << (2 * part)
            })
        }));
    }
    out.extend(&scales);
    put_half(scale, out);
}

#[cfg(test)]
mod tests {
    use super::encode;
    use crate::tensor::TensorType;

    #[test]
    fn blocks_of_zeros_are_zeros_and_no_accident() {
        for kind in TensorType::ALL {
            let block = encode(kind, &[0.0; 256]);
            // Whatever the codes are, every scale and minimum is zero.
            let halves: &[usize] = match kind {
                TensorType::F32 | TensorType::F16 | TensorType::Bf16 => continue,
                TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4K | TensorType::Q5K => &[0, 2],
                TensorType::Q2K => &[80, 82],
                TensorType::Q3K => &[108],
                TensorType::Q6K => &[208],
                _ => &[0],
            };
            for &at in halves {
                assert_eq!(block[at..at + 2], [0, 0], "{kind:?}");
            }
        }
    }

    #[test]
    fn the_largest_number_of_a_block_has_the_outermost_code() {
        let mut values = [0.1; 32];
        values[3] = -7.0;
        values[20] = 7.0;
        let block = encode(TensorType::Q4_0, &values);
        assert_eq!(block[..2], 0x3c00_u16.to_le_bytes(), "a scale of 1");
        assert_eq!([block[2 + 3] & 15, block[2 + 4] >> 4], [1, 15]);
        let block = encode(TensorType::Q8_0, &values);
        assert_eq!([block[2 + 3] as i8, block[2 + 20] as i8], [-127, 127]);
    }
}
