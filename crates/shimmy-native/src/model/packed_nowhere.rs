//! The same as `packed.rs` where weights are packed at every load.

use std::io;
use std::path::Path;

use memmap2::{Mmap, MmapMut};
use shimmy_engine::KeptFiles;

use super::PackedFolder;
use crate::pool::Pool;

pub(super) const FIRST_PAGE: usize = 0;

#[derive(Debug)]
pub(super) enum Place<'a> {
    #[expect(dead_code, reason = "there is no place")]
    Never(std::convert::Infallible, &'a PackedFolder),
}

#[derive(Debug)]
pub(super) enum Unfinished {}

impl<'a> Place<'a> {
    pub(super) fn of(_: &'a PackedFolder, _: &Path, _: usize) -> Option<Self> {
        None
    }

    pub(super) fn find(&self, _: &mut Pool, _: &mut dyn FnMut(f32) -> bool) -> Option<Mmap> {
        None
    }

    pub(super) fn distrust(&self, _: &str) {}

    pub(super) fn make(&self) -> Option<(MmapMut, Unfinished)> {
        None
    }
}

/// Nothing is kept here.
pub fn kept_weights(_: &Path) -> KeptFiles {
    KeptFiles::default()
}

impl Unfinished {
    pub(super) fn finish(self, _: &mut MmapMut, _: u64) -> io::Result<()> {
        match self {}
    }
}

/// The hash of packed weights that are kept.
pub(super) fn digest(_: &mut Pool, _: &[u8], _: &mut dyn FnMut(f32) -> bool) -> Option<u64> {
    None
}
