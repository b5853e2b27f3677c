//! A model file in memory. Owns the mapping and what the system is told about it.
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
        // changes a model's file while it is loaded gets wrong answers or, by cutting it short, a
        // crash; llama.cpp has the same condition, and the alternative is a copy of every file.
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

    /// Tells the system that all but one tensor need not stay in memory.
    pub(crate) fn release(&self, metadata: &Metadata, keep: usize) {
        let Some(keep) = range(metadata, keep) else {
            return;
        };
        for (start, end) in [(0, keep.start), (keep.end, self.map.len())] {
            // Whole pages.
            let (start, end) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
            if start < end {
                self.release_range(start, end - start);
            }
        }
    }

    #[cfg(unix)]
    fn release_range(&self, start: usize, length: usize) {
        // SAFETY: of a mapped file, pages that are dropped come back from the file when they are
        // read again.
        let result = unsafe {
            self.map
                .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, length)
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the file's pages stay in memory");
        }
    }

    #[cfg(not(unix))]
    fn release_range(&self, _start: usize, _length: usize) {}
}

/// The largest page of the systems that this is built for.
const PAGE: usize = 64 << 10;

/// Where a tensor is in the file, as its header says.
pub(crate) fn range(metadata: &Metadata, index: usize) -> Option<Range<usize>> {
    let tensor = metadata.tensors().get(index)?;
    let start = metadata.data_start().checked_add(tensor.offset)?;
    let end = start.checked_add(tensor.size()?)?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}
