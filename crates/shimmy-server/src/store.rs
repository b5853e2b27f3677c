//! The seam to whatever keeps models: fetches them, names them, forgets them.
//!
//! Beside [`Loader`](crate::Loader), which knows models as they run. It must not know how a store
//! lays out its files, or any dialect.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, Value};
use shimmy_chat::Message;

/// A blob's name: the SHA-256 of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

/// Why a text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `sha256:` and 64 hexadecimal digits in lower case")]
pub struct InvalidDigest;

impl Digest {
    /// The 64 digits, in lower case: safe as a file's name.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    /// Reads `sha256:…`. Exact: nothing else may ever become a part of a path (CVE-2024-37032).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha256:").ok_or(InvalidDigest)?;
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() == 64 && hex.bytes().all(is_hex) {
            Ok(Self(hex.to_owned()))
        } else {
            Err(InvalidDigest)
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// This server cannot do it at all.
    #[error("this server cannot {what}")]
    Unsupported {
        /// What was asked, as a verb with its object.
        what: &'static str,
    },
    /// There is no such model.
    #[error("model '{name}' not found")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// There is no such blob.
    #[error("blob {digest} not found")]
    NoBlob {
        /// The blob asked for.
        digest: Digest,
    },
    /// What was asked makes no sense; the reason continues a sentence that starts with the field.
    #[error("`{field}` {reason}")]
    Invalid {
        /// The field of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What came is not what its digest says.
    #[error("the content is not that of {expected}")]
    WrongContent {
        /// What should have come.
        expected: Digest,
    },
    /// The client did not send all of it.
    #[error("the content did not come whole: {reason}")]
    CutShort {
        /// What happened.
        reason: String,
    },
    /// A disk or a network failed.
    #[error("{reason}")]
    Failed {
        /// What happened, in words for users: no folders, no secrets.
        reason: String,
    },
}

/// How far something has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreProgress {
    /// What is being done: `pulling manifest`, `verifying sha256 digest`, …
    pub status: String,
    /// Which file is being fetched.
    pub digest: Option<Digest>,
    /// Its bytes.
    pub total: Option<u64>,
    /// Those of them that are there.
    pub completed: Option<u64>,
}

/// What happens on the way; an error ends it, and an end without one is a success. The first event
/// comes before anything that takes long, unless that is the failure of it all.
pub type StoreEvents = BoxStream<'static, Result<StoreProgress, StoreError>>;

/// A model to be made of what is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewModel {
    /// Its name.
    pub name: String,
    /// The model that it starts from.
    pub from: Option<String>,
    /// Its files: names and the blobs that hold them.
    pub files: Vec<(String, Digest)>,
    /// Adapters that it applies, likewise.
    pub adapters: Vec<(String, Digest)>,
    /// How its conversations are written, in place of how they were.
    pub template: Option<String>,
    /// What it is told before every conversation, in place of what it was.
    pub system: Option<String>,
    /// How it is asked where a request does not say, by Ollama's names. The values make sense.
    pub parameters: Map<String, Value>,
    /// Messages that every conversation goes on from, in place of those that there were.
    pub messages: Vec<Message>,
    /// Texts of licences.
    pub licenses: Vec<String>,
}

/// Whatever keeps models. Each method has a default that says no: a store does what it can.
pub trait Store: Send + Sync {
    /// Fetches a model. Dropping the stream ends it; what has come is kept to go on from.
    fn pull(&self, _name: &str) -> StoreEvents {
        refused("pull models")
    }

    /// Deletes a model, its files included where nothing else needs them.
    fn remove<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        unsupported("delete models")
    }

    /// Gives a model another name; it takes no further room.
    fn copy<'a>(
        &'a self,
        _source: &'a str,
        _destination: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        unsupported("copy models")
    }

    /// Makes a model of blobs, or of another model.
    fn create(&self, _model: NewModel) -> StoreEvents {
        refused("create models")
    }

    /// Whether a blob is there, whole.
    fn has_blob<'a>(&'a self, _digest: &'a Digest) -> BoxFuture<'a, Result<bool, StoreError>> {
        unsupported("keep blobs")
    }

    /// Takes a blob to disk as it comes. It exists only once all of it has come and its content is
    /// that of the digest; else nothing is left of it.
    fn put_blob<'a>(
        &'a self,
        _digest: &'a Digest,
        _content: BoxStream<'static, Result<Bytes, StoreError>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        unsupported("keep blobs")
    }
}

/// The store of a server that only runs the models that are there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoStore;

impl Store for NoStore {}

fn unsupported<T>(what: &'static str) -> BoxFuture<'static, Result<T, StoreError>>
where
    T: Send + 'static,
{
    std::future::ready(Err(StoreError::Unsupported { what })).boxed()
}

fn refused(what: &'static str) -> StoreEvents {
    futures_util::stream::once(unsupported(what)).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_nothing_but_its_digits() {
        let hex = "0123456789abcdef".repeat(4);
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(
            (digest.hex(), digest.to_string()),
            (hex.as_str(), format!("sha256:{hex}"))
        );
        for wrong in [
            String::new(),
            hex.clone(),
            format!("sha256-{hex}"),
            format!("SHA256:{hex}"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:../{hex}"),
            format!("sha256:{}/", &hex[1..]),
            format!("sha256:{}\0", &hex[1..]),
            format!(" sha256:{hex}"),
            format!("sha256:{hex}\n"),
            format!("sha256:{}é", &hex[2..]),
        ] {
            assert_eq!(wrong.parse::<Digest>(), Err(InvalidDigest), "{wrong:?}");
        }
    }
}
