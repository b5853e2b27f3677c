//! The bounded reader under the GGUF parser. Owns the position, the file's length and the limits on
//! what is read and kept; must not know what the bytes mean.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::GgufError;

/// The largest header that is walked; the biggest vocabularies take about 20 MB. A file of nothing
/// but empty strings takes half a second up to here.
const HEADER_LIMIT: u64 = 128 << 20;
/// The most bytes of a header that are kept in memory.
const KEPT_LIMIT: u64 = 8 << 20;
/// Large enough that skipping over the strings of a vocabulary rarely leaves the buffer.
const BUFFER: usize = 128 << 10;

/// Reads little-endian primitives, never past the end and never more than the limits.
#[derive(Debug)]
pub(super) struct Cursor<R> {
    inner: BufReader<R>,
    position: u64,
    length: u64,
    kept: u64,
}

impl<R: Read + Seek> Cursor<R> {
    /// Starts at the beginning of `reader`, wherever it was.
    pub(super) fn new(mut reader: R) -> Result<Self, GgufError> {
        let length = reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        Ok(Self {
            inner: BufReader::with_capacity(BUFFER, reader),
            position: 0,
            length,
            kept: 0,
        })
    }

    /// How many bytes come before the next one that is read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The length of the whole file in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes follow.
    pub(super) fn remaining(&self) -> u64 {
        self.length - self.position
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// Reads as many bytes as `bytes` has room for.
    pub(super) fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), GgufError> {
        self.advance(bytes.len() as u64, what)?;
        self.inner.read_exact(bytes)?;
        Ok(())
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Reads `length` bytes into memory. The length is checked against the file first, so that what
    /// is allocated is there, and within the budget.
    pub(super) fn bytes(&mut self, length: u64, what: &str) -> Result<Vec<u8>, GgufError> {
        self.advance(length, what)?;
        self.keep(length)?;
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Moves past `length` bytes.
    pub(super) fn skip(&mut self, length: u64, what: &str) -> Result<(), GgufError> {
        self.advance(length, what)?;
        // At most HEADER_LIMIT, so it fits.
        self.inner.seek_relative(length as i64)?;
        Ok(())
    }

    /// Charges `bytes` of memory to the budget of this file.
    pub(super) fn keep(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > KEPT_LIMIT {
            return Err(GgufError::TooLong {
                what: "the metadata",
                length: self.kept,
                limit: KEPT_LIMIT,
            });
        }
        Ok(())
    }

    /// Moves the position, if the file is long enough and the header not too long.
    fn advance(&mut self, length: u64, what: &str) -> Result<(), GgufError> {
        if length > self.remaining() {
            return Err(GgufError::Truncated {
                what: what.to_owned(),
                needed: length,
                available: self.remaining(),
            });
        }
        // No overflow: the sum is at most the file's length.
        let position = self.position + length;
        if position > HEADER_LIMIT {
            return Err(GgufError::TooLong {
                what: "the header",
                length: position,
                limit: HEADER_LIMIT,
            });
        }
        self.position = position;
        Ok(())
    }
}
