//! A model file while it is read. Owns the mapping.
#![expect(unsafe_code, reason = "a mapped file can change under the process")]

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use shimmy_models::Metadata;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct ModelFile {
    map: Mmap,
}

impl ModelFile {
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes are only read, as numbers for which every bit pattern is valid. Whoever
        // changes a model's file in the moment in which it is read gets wrong answers or, by cutting
        // it short, a crash.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map })
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The data of a tensor; none if they are not all there.
    pub(crate) fn tensor(&self, metadata: &Metadata, index: usize) -> Option<&[u8]> {
        self.map.get(range(metadata, index)?)
    }
}

/// Where a tensor is in the file, as its header says.
pub(crate) fn range(metadata: &Metadata, index: usize) -> Option<Range<usize>> {
    let tensor = metadata.tensors().get(index)?;
    let start = metadata.data_start().checked_add(tensor.offset)?;
    let end = start.checked_add(tensor.size()?)?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}
