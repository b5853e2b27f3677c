//! What a repository of the hub holds. Owns the hub's JSON and the checks on it; must not know
//! which files are wanted.

use serde::Deserialize;

use super::client::Client;
use super::reference::is_part;
use super::{Cancel, PullError};
use crate::hub_path::is_sha256;

/// The longest answer that is read.
const MAX_BYTES: u64 = 32 << 20;
/// The most files of a repository.
const MAX_FILES: usize = 50_000;

/// One revision of a repository.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit that the revision was.
    pub(super) commit: String,
    /// The GGUF files, in the hub's order.
    pub(super) files: Vec<HubFile>,
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubFile {
    /// Its path in the repository.
    pub(super) name: String,
    pub(super) size: u64,
    /// What it must hash to.
    pub(super) hash: Option<Hash>,
}

/// What a file must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hash {
    /// The SHA-256 of a file in large-file storage.
    Sha256(String),
    /// Git's own hash of a small file, which is also its name in the cache.
    Git(String),
}

impl Hash {
    pub(super) fn sha256(&self) -> Option<String> {
        match self {
            Self::Sha256(digits) => Some(digits.clone()),
            Self::Git(_) => None,
        }
    }

    /// The digits.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    #[serde(rename = "rfilename")]
    name: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// Asks for the files of a revision.
pub(super) fn list(
    client: &Client,
    repository: &str,
    revision: &str,
    cancel: &Cancel,
) -> Result<Listing, PullError> {
    let endpoint = client.first().trim_end_matches('/');
    let url = format!("{endpoint}/api/models/{repository}/revision/{revision}?blobs=true");
    let what = format!("repository {repository}");
    let text = client.text(&url, &what, MAX_BYTES, cancel)?;
    let nonsense = |reason: String| client.nonsense(reason);
    let answer: Answer =
        serde_json::from_slice(&text).map_err(|error| nonsense(error.to_string()))?;
    if answer.sha.len() != 40 || !is_hexadecimal(&answer.sha) {
        return Err(nonsense("its commit is no hash".to_owned()));
    }
    if answer.siblings.len() > MAX_FILES {
        return Err(nonsense(format!("it has {} files", answer.siblings.len())));
    }
    let models = answer.siblings.into_iter();
    let models = models.filter(|file| file.name.to_ascii_lowercase().ends_with(".gguf"));
    let files = models.map(|file| checked(file).map_err(nonsense));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    if files.is_empty() {
        return Err(PullError::NoModel { what });
    }
    Ok(Listing {
        commit: answer.sha,
        files,
    })
}

/// The address of a file.
pub(super) fn url(endpoint: &str, repository: &str, commit: &str, file: &HubFile) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let name = file.name.replace(' ', "%20").replace('+', "%2B");
    format!("{endpoint}/{repository}/resolve/{commit}/{name}")
}

/// A file whose name and hash may become parts of paths.
fn checked(file: Sibling) -> Result<HubFile, String> {
    if !file.name.split('/').all(is_part) || file.name.len() > 1000 {
        return Err(format!(
            "a file is called {}",
            crate::text::quoted(&file.name)
        ));
    }
    let about = |what: &str| format!("it says no {what} of {}", file.name);
    let (size, hash) = match (&file.lfs, &file.blob_id) {
        (Some(lfs), _) if is_sha256(&lfs.sha256) => {
            (lfs.size, Some(Hash::Sha256(lfs.sha256.clone())))
        }
        (Some(_), _) => return Err(about("proper SHA-256")),
        (None, Some(id)) if id.len() == 40 && is_hexadecimal(id) => (
            file.size.ok_or_else(|| about("size"))?,
            Some(Hash::Git(id.clone())),
        ),
        (None, _) => return Err(about("hash")),
    };
    if i64::try_from(size).is_err() {
        return Err(about("possible size"));
    }
    Ok(HubFile {
        name: file.name,
        size,
        hash,
    })
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
