//! What can go wrong with a download. Owns the public text; must not know who reads it. No text
//! holds a token, and of an address no more than its host.

use std::io;
use std::path::PathBuf;

use crate::gguf::GgufError;

/// Why a model was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It was ended from outside; what has come is kept.
    #[error("the download was cancelled")]
    Cancelled,
    /// The hub has no such repository or file, or does not say so to strangers.
    #[error("{host} has no {what}")]
    NotFound {
        /// The host that was asked.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// The hub wants to know who asks, or refuses who does.
    #[error("{host} refuses {what}{}", if *with_token { " to the holder of this token" } else { " without a token" })]
    Denied {
        /// The host that was asked.
        host: String,
        /// What was asked for.
        what: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A repository without a model that can be used.
    #[error("{what} has no GGUF file")]
    NoModel {
        /// The repository.
        what: String,
    },
    /// No file of the repository is what was asked for.
    #[error("there is no {wanted}; there are {}", available.join(", "))]
    NoSuchQuant {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// Not even the smallest file fits into memory.
    #[error(
        "the smallest file, {label}, takes about {needed} bytes of memory, and there are {memory}"
    )]
    TooBig {
        /// The smallest quantisation.
        label: String,
        /// The memory that it takes.
        needed: u64,
        /// The memory that there is.
        memory: u64,
    },
    /// The disk has no room for it.
    #[error("{needed} bytes are needed in {}, and {available} are free", folder.display())]
    DiskFull {
        /// The folder that it would go to.
        folder: PathBuf,
        /// The bytes that are missing of it.
        needed: u64,
        /// The bytes that there are.
        available: u64,
    },
    /// The hub could not be reached, or failed, as often as it was tried.
    #[error("{host} cannot be used: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What happened the last time.
        reason: String,
    },
    /// A redirect to where this download must not go.
    #[error("{host} leads to {to}, which is {why}")]
    Redirect {
        /// The host that answered.
        host: String,
        /// Where it leads.
        to: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// A host that should be public has an address of this machine or of a local network.
    #[error("{host} has a private address, which is not asked on a public hub's word")]
    PrivateAddress {
        /// The host.
        host: String,
    },
    /// An answer that makes no sense.
    #[error("{host} answers what makes no sense: {reason}")]
    Nonsense {
        /// The host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a file of that name, and it is another one.
    #[error("{} is another file: it has {reason}", path.display())]
    NameTaken {
        /// The file that is here.
        path: PathBuf,
        /// What tells them apart.
        reason: String,
    },
    /// What came has another hash than it should. It is not kept.
    #[error("{file} has the hash {found} and should have {expected}; it was discarded")]
    WrongHash {
        /// The file.
        file: String,
        /// The hash that the hub says.
        expected: String,
        /// That of what came.
        found: String,
    },
    /// What came is no GGUF file. It is not kept.
    #[error("{file} is no model: {reason}; it was discarded")]
    NotAModel {
        /// The file.
        file: String,
        /// What is wrong with it.
        #[source]
        reason: GgufError,
    },
    /// The disk refuses.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl PullError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
