//! The hash of a file that follows what comes of it.

use std::fs::File;
use std::io::{self, Read};
use std::thread;

use ring::digest;

use super::BUFFER;
use super::download::Download;
use crate::hub::listing::Hash;
use crate::hub::progress::TICK;
use crate::sha256::digits;

/// The hashes of a file.
#[derive(Debug)]
pub(super) struct Hashes {
    pub(super) sha256: String,
    pub(super) git: String,
}

impl Download<'_> {
    /// Hashes the file as it grows, from the beginning; none if it does not get whole.
    pub(super) fn hash(&self) -> io::Result<Option<Hashes>> {
        let mut file = File::open(self.job.place.partial())?;
        let mut sha256 = digest::Context::new(&digest::SHA256);
        let mut git = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        // As Git hashes a file.
        git.update(format!("blob {}\0", self.job.size).as_bytes());
        let is_git = matches!(self.job.hash, Some(Hash::Git(_)));
        let mut buffer = vec![0; BUFFER];
        let mut hashed = 0;
        while hashed < self.job.size {
            let ready = self.parts.contiguous(hashed) - hashed;
            if self.is_over() {
                return Ok(None);
            }
            if ready == 0 {
                thread::park_timeout(TICK);
                continue;
            }
            let most = buffer
                .len()
                .min(usize::try_from(ready).unwrap_or(usize::MAX));
            file.read_exact(&mut buffer[..most])?;
            sha256.update(&buffer[..most]);
            if is_git {
                git.update(&buffer[..most]);
            }
            hashed += most as u64;
        }
        Ok(Some(Hashes {
            sha256: digits(&sha256.finish()),
            git: digits(&git.finish()),
        }))
    }
}
