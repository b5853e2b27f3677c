//! Paths in a Hugging Face cache: which repository and revision a file belongs to. Owns that
//! layout's names; must not touch the disk.
//!
//! The layout: `models--OWNER--NAME/snapshots/REVISION/FILE` links to `blobs/HASH`, and `refs/main`
//! holds the revision that `main` was.

use std::path::Path;

/// What a path in a Hugging Face cache says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubPath {
    /// `OWNER/NAME`.
    pub(crate) repository: String,
    pub(crate) revision: String,
}

impl HubPath {
    /// Takes a path apart; none if it is not one of a snapshot.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let at = parts.iter().rposition(|&part| part == "snapshots")?;
        let name = parts.get(at.checked_sub(1)?)?.strip_prefix("models--")?;
        Some(Self {
            repository: name.replacen("--", "/", 1),
            revision: (*parts.get(at + 1)?).to_owned(),
        })
    }
}

/// The SHA-256 that a blob is named after, as `sha256:…`: Hugging Face's tools name large files so,
/// Ollama all.
pub(crate) fn digest_of_blob(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if !path.parent()?.ends_with("blobs") {
        return None;
    }
    let digits = name.strip_prefix("sha256-").unwrap_or(name);
    is_sha256(digits).then(|| format!("sha256:{digits}"))
}

/// Whether a text is a SHA-256 in lower-case hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshots_path_names_its_repository() {
        let path = "/hub/models--Qwen--Qwen3--0.6B-GGUF/snapshots/0a1b/sub/file.gguf";
        let found = HubPath::parse(Path::new(path)).unwrap();
        assert_eq!(found.repository, "Qwen/Qwen3--0.6B-GGUF");
        assert_eq!(found.revision, "0a1b");
        for other in [
            "/a/snapshots/b/c.gguf",
            "/models--a--b/blobs/c",
            "snapshots/x",
        ] {
            assert_eq!(HubPath::parse(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn only_a_sha256_is_a_digest() {
        let digits = "0123456789abcdef".repeat(4);
        let of = |name: &str| digest_of_blob(&Path::new("blobs").join(name));
        assert_eq!(of(&digits), Some(format!("sha256:{digits}")));
        assert_eq!(
            of(&format!("sha256-{digits}")),
            Some(format!("sha256:{digits}"))
        );
        for other in [
            &digits[1..],
            &format!("{digits}0"),
            &digits.to_uppercase(),
            "x.gguf",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        for other in [format!("/models/{digits}"), digits.clone()] {
            assert_eq!(digest_of_blob(Path::new(&other)), None, "{other}");
        }
    }
}
