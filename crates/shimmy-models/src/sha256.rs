//! SHA-256 of what is on disk or on its way there. Owns the digits; must not know what for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, Digest, SHA256};

/// The hash of what comes piece by piece.
pub(crate) struct Hasher(Context);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Its 64 digits.
    pub(crate) fn finish(self) -> String {
        digits(&self.0.finish())
    }
}

/// The digits of a file; none if `is_wanted` says no on the way.
pub(crate) fn of_file(path: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hasher.finish())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !is_wanted() {
            return Ok(None);
        }
    }
}

/// A digest in lower-case hexadecimal digits.
pub(crate) fn digits(digest: &Digest) -> String {
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
