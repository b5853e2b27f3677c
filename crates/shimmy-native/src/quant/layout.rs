//! What the formats have in common: every weight is `scale × (code − offset) − minimum`, with codes
//! of 4 to 8 bits, a scale for 16 or 32 weights, and an offset or a minimum or neither.

use shimmy_models::gguf::TensorType;

/// Weights that share a scale and, of the activations that they meet, one scale too.
pub(crate) const BLOCK: usize = 32;

/// Outputs (rows of a matrix) that are computed together, one in each 32-bit lane of 64 bytes.
pub(crate) const TILE: usize = 16;

/// A format of weights in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

impl Kind {
    /// The format of a tensor, if there are kernels for it.
    pub(crate) fn new(kind: TensorType) -> Option<Self> {
        Some(match kind.number() {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            20 => Self::Iq4Nl,
            23 => Self::Iq4Xs,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Whether the weights are floats, which meet unquantised activations.
    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Weights of a block in the file and its bytes.
    pub(crate) const fn file_block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Iq4Xs => (256, 136),
        }
    }

    /// Bytes of one row of `inputs` weights in the file.
    pub(crate) const fn row_bytes(self, inputs: usize) -> usize {
        let (weights, bytes) = self.file_block();
        inputs / weights * bytes
    }
}

/// How a tile stores the codes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    /// Four bits.
    Nibble,
    /// Four bits that stand for one of [`IQ4_VALUES`](super::IQ4_VALUES).
    Lookup,
    /// Four bits, and the fifth apart.
    Five,
    /// Four bits, and two more apart.
    Six,
    /// Eight bits.
    Byte,
    /// Floats of this many bytes, no codes.
    Float(usize),
}

/// A format as its tiles have it; see [`pack`](super::pack) for the order of the parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) codes: Codes,
    /// Weights of one small whole-number scale, which a half per 256 weights multiplies; none where
    /// every block has its own half.
    pub(crate) group: Option<usize>,
    /// Whether blocks (or groups) have a minimum, stored as their scales are.
    pub(crate) minimum: bool,
    /// The offset of the codes as a power of two; 0 means none.
    pub(crate) offset_shift: u32,
}

impl Layout {
    pub(crate) const fn of(kind: Kind) -> Self {
        use Codes::{Byte, Five, Float, Lookup, Nibble, Six};
        let (codes, group, minimum, offset_shift) = match kind {
            Kind::F32 => (Float(4), None, false, 0),
            Kind::F16 | Kind::Bf16 => (Float(2), None, false, 0),
            Kind::Q4_0 => (Nibble, None, false, 3),
            Kind::Q4_1 => (Nibble, None, true, 0),
            Kind::Q5_0 => (Five, None, false, 4),
            Kind::Q5_1 => (Five, None, true, 0),
            Kind::Q8_0 => (Byte, None, false, 7),
            Kind::Q2K => (Nibble, Some(16), true, 0),
            Kind::Q3K => (Nibble, Some(16), false, 2),
            Kind::Q4K => (Nibble, Some(32), true, 0),
            Kind::Q5K => (Five, Some(32), true, 0),
            Kind::Q6K => (Six, Some(16), false, 5),
            Kind::Iq4Nl => (Lookup, None, false, 7),
            Kind::Iq4Xs => (Lookup, Some(32), false, 7),
        };
        Self {
            codes,
            group,
            minimum,
            offset_shift,
        }
    }

    /// Bytes of a tile's codes for one block.
    pub(crate) const fn code_bytes(self) -> usize {
        match self.codes {
            Codes::Nibble | Codes::Lookup => TILE * 16,
            Codes::Five => TILE * 20,
            Codes::Six => TILE * 24,
            Codes::Byte => TILE * 32,
            Codes::Float(bytes) => TILE * BLOCK * bytes,
        }
    }

    /// Bytes of a tile's scales for one block; minima take the same.
    pub(crate) const fn scale_bytes(self) -> usize {
        match (self.codes, self.group) {
            (Codes::Float(_), _) => 0,
            (_, None) => TILE * 2,
            (_, Some(group)) => TILE * (BLOCK / group),
        }
    }

    /// Bytes of a tile's halves for 256 weights.
    pub(crate) const fn super_bytes(self) -> usize {
        match self.group {
            None => 0,
            Some(_) => TILE * 2 * (1 + self.minimum as usize),
        }
    }
}
