//! Where prefixes outlive their engine. Owns the fingerprint that tells whose they are; must not know
//! what a state holds.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use shimmy_engine::StoreConfig;
use shimmy_models::ModelFile;

use super::OpenOptions;

/// The folder for this model's prefixes, if there is to be one. Whatever changes a state changes the
/// fingerprint: the file, the version, and the `engine` with its settings.
pub(super) fn config(
    file: &ModelFile,
    options: &OpenOptions,
    engine: &impl Hash,
) -> Option<StoreConfig> {
    let folder = options.cache.disk.folder.clone()?;
    if options.cache.bytes == 0 || options.cache.disk.bytes == 0 {
        return None;
    }
    let about = std::fs::metadata(&file.path).ok()?;
    let mut hash = DefaultHasher::new();
    file.path.canonicalize().ok()?.hash(&mut hash);
    (about.len(), about.modified().ok()).hash(&mut hash);
    engine.hash(&mut hash);
    env!("CARGO_PKG_VERSION").hash(&mut hash);
    Some(StoreConfig {
        folder,
        fingerprint: hash.finish(),
        most_bytes: options.cache.disk.bytes,
    })
}
