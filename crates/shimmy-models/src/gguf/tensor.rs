//! The tensor table. Owns the sizes of ggml's types and the check that every tensor lies within the
//! file; must not know what a tensor is for.

use super::TensorFault;

/// How a tensor's numbers are stored, by ggml's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType(u32);

/// ggml's types: number, name, elements in a block, bytes of a block. Facts of the file format;
/// numbers that are absent here belong to types that were removed from it.
const TYPES: [(u32, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

impl TensorType {
    /// The type of this number, known or not.
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// ggml's number of the type.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The type's usual name in capitals, if it is known.
    pub fn name(self) -> Option<&'static str> {
        self.facts().map(|(_, name, ..)| *name)
    }

    fn facts(self) -> Option<&'static (u32, &'static str, u64, u64)> {
        TYPES.iter().find(|(number, ..)| *number == self.0)
    }
}

/// One entry of the tensor table, checked against the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// How many elements each dimension has, fastest first; dimensions after the last are 1.
    pub dims: [u64; 4],
    /// How the elements are stored.
    pub kind: TensorType,
    /// Where the data starts, in bytes from the beginning of all data.
    pub offset: u64,
}

impl TensorInfo {
    /// How many elements there are. The reader has made sure that the product fits.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// How many bytes the data takes, if the type is known.
    pub fn size(&self) -> Option<u64> {
        let (_, _, block, bytes) = self.kind.facts()?;
        (self.elements() / block).checked_mul(*bytes)
    }

    /// Checks the shape alone: the product of the dimensions, and whole blocks in every row.
    pub(super) fn check_shape(&self) -> Result<(), TensorFault> {
        let fits = |elements: &u64| i64::try_from(*elements).is_ok();
        // A zero must not hide an overflow among the other dimensions from a later multiplication.
        self.dims
            .iter()
            .try_fold(1_u64, |product, &dim| product.checked_mul(dim.max(1)))
            .filter(fits)
            .ok_or(TensorFault::Overflow)?;
        if let Some(&(_, _, block, bytes)) = self.kind.facts() {
            let row = self.dims[0];
            if !row.is_multiple_of(block) {
                return Err(TensorFault::PartialBlock { row, block });
            }
            (self.elements() / block)
                .checked_mul(bytes)
                .filter(fits)
                .ok_or(TensorFault::Overflow)?;
        }
        Ok(())
    }

    /// Checks that the data, which all tensors' data precedes from `start` on, ends within a file
    /// of `length` bytes. Of an unknown type, only the beginning can be checked.
    pub(super) fn check_extent(
        &self,
        start: u64,
        alignment: u64,
        length: u64,
    ) -> Result<(), TensorFault> {
        if !self.offset.is_multiple_of(alignment) {
            return Err(TensorFault::Misaligned {
                offset: self.offset,
                alignment,
            });
        }
        let end = start
            .saturating_add(self.offset)
            .saturating_add(self.size().unwrap_or(0));
        if end > length {
            return Err(TensorFault::BeyondEnd { end, length });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{TYPES, TensorInfo, TensorType};
    use crate::gguf::TensorFault;

    fn tensor(kind: u32, dims: [u64; 4], offset: u64) -> TensorInfo {
        TensorInfo {
            name: "t".to_owned(),
            dims,
            kind: TensorType::new(kind),
            offset,
        }
    }

    #[test]
    fn sizes_follow_the_blocks() {
        assert_eq!(tensor(0, [3, 5, 1, 1], 0).size(), Some(60));
        assert_eq!(tensor(2, [64, 2, 1, 1], 0).size(), Some(4 * 18));
        assert_eq!(tensor(14, [512, 1, 1, 1], 0).size(), Some(420));
        assert_eq!(tensor(4, [512, 1, 1, 1], 0).size(), None);
    }

    #[test]
    fn numbers_are_sorted_and_unique() {
        assert!(TYPES.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn wrapping_shapes_and_partial_blocks_are_refused() {
        let overflow = Err(TensorFault::Overflow);
        assert_eq!(
            tensor(0, [1 << 32, 1 << 32, 1, 1], 0).check_shape(),
            overflow
        );
        assert_eq!(
            tensor(0, [0, 1 << 40, 1 << 40, 1], 0).check_shape(),
            overflow
        );
        assert_eq!(tensor(0, [1 << 62, 1, 1, 1], 0).check_shape(), overflow);
        assert_eq!(tensor(0, [0, 8, 1, 1], 0).check_shape(), Ok(()));
        let partial = TensorFault::PartialBlock { row: 33, block: 32 };
        assert_eq!(tensor(2, [33, 1, 1, 1], 0).check_shape(), Err(partial));
    }

    #[test]
    fn the_last_byte_may_be_the_files_last_and_no_later() {
        let tensor = tensor(0, [8, 1, 1, 1], 64);
        assert_eq!(tensor.check_extent(96, 32, 192), Ok(()));
        let beyond = TensorFault::BeyondEnd {
            end: 192,
            length: 191,
        };
        assert_eq!(tensor.check_extent(96, 32, 191), Err(beyond));
    }
}
