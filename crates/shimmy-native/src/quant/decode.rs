//! Blocks of a file taken apart into codes, scales and minima. Owns ggml's bit layouts.

use super::{IQ4_VALUES, Kind, Layout};
use crate::half;

/// Up to 256 weights. Which fields mean something, the [`Layout`] says.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    pub(super) codes: [u8; 256],
    /// One for each group of 16 or 32 weights.
    pub(super) scales: [i8; 16],
    pub(super) minima: [u8; 16],
    /// Halves: the scale and the minimum of the block, or what theirs are multiplied with.
    pub(super) scale: u16,
    pub(super) minimum: u16,
}

impl Decoded {
    pub(super) const EMPTY: Self = Self {
        codes: [0; 256],
        scales: [0; 16],
        minima: [0; 16],
        scale: 0,
        minimum: 0,
    };

    /// Takes one block of the file apart.
    fn read(&mut self, kind: Kind, block: &[u8]) {
        self.read_scales(kind, block);
        self.read_codes(kind, block);
    }

    /// Reads all but the codes.
    #[inline(always)]
    pub(super) fn read_scales(&mut self, kind: Kind, block: &[u8]) {
        match kind {
            Kind::Q4_0 | Kind::Iq4Nl | Kind::Q5_0 | Kind::Q8_0 => self.scale = half_at(block, 0),
            Kind::Q4_1 | Kind::Q5_1 => {
                self.scale = half_at(block, 0);
                self.minimum = half_at(block, 2);
            }
            Kind::Q2K => self.read_scales_of_q2k(block),
            Kind::Q3K => self.read_scales_of_q3k(block),
            Kind::Q4K | Kind::Q5K => self.read_scales_of_6_bits(block),
            Kind::Q6K => {
                for (scale, &byte) in self.scales.iter_mut().zip(&block[192..208]) {
                    *scale = byte as i8;
                }
                self.scale = half_at(block, 208);
            }
            Kind::Iq4Xs => self.read_scales_of_iq4xs(block),
            Kind::F32 | Kind::F16 | Kind::Bf16 => {}
        }
    }

    fn read_codes(&mut self, kind: Kind, block: &[u8]) {
        match kind {
            Kind::Q4_0 | Kind::Iq4Nl => nibbles(&block[2..18], &mut self.codes[..32]),
            Kind::Q4_1 => nibbles(&block[4..20], &mut self.codes[..32]),
            Kind::Q5_0 => {
                nibbles(&block[6..22], &mut self.codes[..32]);
                fifth_bits(&block[2..6], &mut self.codes[..32]);
            }
            Kind::Q5_1 => {
                nibbles(&block[8..24], &mut self.codes[..32]);
                fifth_bits(&block[4..8], &mut self.codes[..32]);
            }
            Kind::Q8_0 => {
                for (code, byte) in self.codes[..32].iter_mut().zip(&block[2..34]) {
                    *code = byte ^ 0x80;
                }
            }
            Kind::Q2K => self.read_q2k(block),
            Kind::Q3K => self.read_q3k(block),
            Kind::Q4K => self.read_pairs_of_nibbles(&block[16..144]),
            Kind::Q5K => self.read_q5k(block),
            Kind::Q6K => self.read_q6k(block),
            Kind::Iq4Xs => {
                for (codes, bits) in self.codes.chunks_exact_mut(32).zip(block[8..].chunks(16)) {
                    nibbles(bits, codes);
                }
            }
            Kind::F32 | Kind::F16 | Kind::Bf16 => {}
        }
    }

    fn read_scales_of_q2k(&mut self, block: &[u8]) {
        for (index, &both) in block[..16].iter().enumerate() {
            self.scales[index] = (both & 15) as i8;
            self.minima[index] = both >> 4;
        }
        self.scale = half_at(block, 80);
        self.minimum = half_at(block, 82);
    }

    fn read_q2k(&mut self, block: &[u8]) {
        for part in 0..2 {
            let bits = &block[16 + 32 * part..48 + 32 * part];
            for quarter in 0..4 {
                let codes = &mut self.codes[128 * part + 32 * quarter..][..32];
                for (code, bits) in codes.iter_mut().zip(bits) {
                    *code = (bits >> (2 * quarter)) & 3;
                }
            }
        }
    }

    fn read_q3k(&mut self, block: &[u8]) {
        let high = &block[..32];
        for part in 0..2 {
            let bits = &block[32 + 32 * part..64 + 32 * part];
            for quarter in 0..4 {
                let codes = &mut self.codes[128 * part + 32 * quarter..][..32];
                for ((code, bits), high) in codes.iter_mut().zip(bits).zip(high) {
                    let third = (high >> (4 * part + quarter)) & 1;
                    *code = ((bits >> (2 * quarter)) & 3) | (third << 2);
                }
            }
        }
    }

    fn read_scales_of_q3k(&mut self, block: &[u8]) {
        let packed = &block[96..108];
        for (index, scale) in self.scales.iter_mut().enumerate() {
            let low = if index < 8 {
                packed[index] & 15
            } else {
                packed[index - 8] >> 4
            };
            let high = (packed[8 + index % 4] >> (2 * (index / 4))) & 3;
            *scale = (low | (high << 4)) as i8 - 32;
        }
        self.scale = half_at(block, 108);
    }

    fn read_q5k(&mut self, block: &[u8]) {
        self.read_pairs_of_nibbles(&block[48..176]);
        for (index, codes) in self.codes.chunks_exact_mut(32).enumerate() {
            for (code, high) in codes.iter_mut().zip(&block[16..48]) {
                *code |= ((high >> index) & 1) << 4;
            }
        }
    }

    fn read_q6k(&mut self, block: &[u8]) {
        for part in 0..2 {
            let low = &block[64 * part..64 * part + 64];
            let high = &block[128 + 32 * part..160 + 32 * part];
            let codes = &mut self.codes[128 * part..128 * part + 128];
            for index in 0..32 {
                let (first, second, high) = (low[index], low[index + 32], high[index]);
                codes[index] = (first & 15) | ((high & 3) << 4);
                codes[index + 32] = (second & 15) | (((high >> 2) & 3) << 4);
                codes[index + 64] = (first >> 4) | (((high >> 4) & 3) << 4);
                codes[index + 96] = (second >> 4) | ((high >> 6) << 4);
            }
        }
    }

    fn read_scales_of_iq4xs(&mut self, block: &[u8]) {
        self.scale = half_at(block, 0);
        let high = half_at(block, 2);
        for index in 0..8 {
            let low = (block[4 + index / 2] >> (4 * (index % 2))) & 15;
            let both = low | (((high >> (2 * index)) & 3) << 4) as u8;
            self.scales[index] = both as i8 - 32;
        }
    }

    /// Scale, minimum and their eight multiples of Q4_K and Q5_K.
    fn read_scales_of_6_bits(&mut self, block: &[u8]) {
        self.scale = half_at(block, 0);
        self.minimum = half_at(block, 2);
        let packed = &block[4..16];
        for index in 0..8 {
            let (scale, minimum) = if index < 4 {
                (packed[index] & 63, packed[index + 4] & 63)
            } else {
                (
                    (packed[index + 4] & 15) | ((packed[index - 4] >> 6) << 4),
                    (packed[index + 4] >> 4) | ((packed[index] >> 6) << 4),
                )
            };
            self.scales[index] = scale as i8;
            self.minima[index] = minimum;
        }
    }

    /// The low halves of 32 bytes are 32 codes, the high halves the next 32.
    fn read_pairs_of_nibbles(&mut self, bytes: &[u8]) {
        for (codes, bytes) in self.codes.chunks_exact_mut(64).zip(bytes.chunks_exact(32)) {
            let (low, high) = codes.split_at_mut(32);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                *low = byte & 15;
                *high = byte >> 4;
            }
        }
    }
}

/// The weights of one row of a tensor, as floats.
pub(crate) fn dequantize(kind: Kind, row: &[u8], out: &mut [f32]) {
    match kind {
        Kind::F32 => {
            for (value, bytes) in out.iter_mut().zip(row.chunks_exact(4)) {
                *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        Kind::F16 | Kind::Bf16 => {
            for (value, bytes) in out.iter_mut().zip(row.chunks_exact(2)) {
                let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
                *value = if kind == Kind::F16 {
                    half::to_f32(bits)
                } else {
                    half::bf16_to_f32(bits)
                };
            }
        }
        _ => dequantize_codes(kind, row, out),
    }
}

fn dequantize_codes(kind: Kind, row: &[u8], out: &mut [f32]) {
    let layout = Layout::of(kind);
    let (weights, bytes) = kind.file_block();
    let lookup = matches!(kind, Kind::Iq4Nl | Kind::Iq4Xs);
    let offset = match layout.offset_shift {
        0 => 0,
        shift => 1 << shift,
    };
    let mut decoded = Decoded::EMPTY;
    for (out, block) in out.chunks_exact_mut(weights).zip(row.chunks_exact(bytes)) {
        decoded.read(kind, block);
        let (scale, minimum) = (half::to_f32(decoded.scale), half::to_f32(decoded.minimum));
        for (index, value) in out.iter_mut().enumerate() {
            let code = decoded.codes[index];
            let whole = if lookup {
                i32::from(IQ4_VALUES[usize::from(code & 15)])
            } else {
                i32::from(code) - offset
            };
            *value = match layout.group {
                None => scale * whole as f32 + minimum,
                Some(group) => {
                    let group = index / group;
                    let step = scale * f32::from(decoded.scales[group]);
                    step * whole as f32 - minimum * f32::from(decoded.minima[group])
                }
            };
        }
    }
}

fn half_at(block: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([block[offset], block[offset + 1]])
}

/// The low halves of 16 bytes are 16 codes, the high halves the next 16.
#[inline(always)]
fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

#[inline(always)]
fn fifth_bits(bytes: &[u8], codes: &mut [u8]) {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for (index, code) in codes.iter_mut().enumerate() {
        *code |= (((bits >> index) & 1) << 4) as u8;
    }
}
