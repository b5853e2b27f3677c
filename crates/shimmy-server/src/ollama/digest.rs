//! The digest that Ollama's clients show beside a model and tell its versions apart by.
//!
//! Where the file's SHA-256 is known already, it is that. Reading gigabytes to know it is not done
//! for a list: elsewhere it is a fingerprint of what the file is known by, its name, size and time
//! of change. It stays the same as long as the file does and changes with it, in as many digits.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::model_info::ModelInfo;

/// 64 hexadecimal digits.
pub(super) fn digest(model: &ModelInfo) -> String {
    if let Some(sha256) = &model.sha256 {
        return sha256.clone();
    }
    let modified = model.modified.map_or(0, jiff::Timestamp::as_nanosecond);
    let identity = format!("{}\0{}\0{modified}", model.name, model.size_bytes);
    let half = |seed| xxh3_128_with_seed(identity.as_bytes(), seed);
    format!("{:032x}{:032x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_changes_with_the_file_and_only_with_it() {
        let model = ModelInfo {
            name: "a".to_owned(),
            size_bytes: 1,
            ..ModelInfo::default()
        };
        let loaded = ModelInfo {
            loaded: true,
            ..model.clone()
        };
        let changed = ModelInfo {
            modified: Some(jiff::Timestamp::UNIX_EPOCH + jiff::Span::new().nanoseconds(1)),
            ..model.clone()
        };
        let known = ModelInfo {
            sha256: Some("0f".repeat(32)),
            ..model.clone()
        };
        assert_eq!(digest(&model), digest(&loaded));
        assert_ne!(digest(&model), digest(&changed));
        assert_eq!(digest(&known), "0f".repeat(32));
        assert!(digest(&model).bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(digest(&model).len(), 64);
    }
}
