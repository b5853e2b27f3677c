//! How weights are stored: in a file (ggml's block formats) and in memory (tiles that the kernels
//! read). Must not know what a weight is for, nor any processor.
//!
//! ggml's formats: <https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>.

mod decode;
mod layout;
mod tile;
mod words;

pub(crate) use decode::dequantize;
pub(crate) use layout::{BLOCK, Codes, Kind, Layout, TILE};
pub(crate) use tile::{pack, tile_bytes};

/// What the four bits of IQ4_NL and IQ4_XS stand for.
pub(crate) const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
