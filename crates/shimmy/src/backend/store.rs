//! Where prefixes outlive their engine. Owns the fingerprint that tells whose they are; must not know
//! what a state holds.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use shimmy_engine::StoreConfig;
use shimmy_models::ModelFile;

use super::OpenOptions;

/// The folder for this model's prefixes, if there is to be one. Whatever changes a state changes the
/// fingerprint: the file in all its parts, the version, and the `engine` with its settings.
pub(super) fn config(
    file: &ModelFile,
    options: &OpenOptions,
    engine: &impl Hash,
) -> Option<StoreConfig> {
    let folder = options.cache.disk.folder.clone()?;
    if options.cache.bytes == 0 || options.cache.disk.bytes == 0 {
        return None;
    }
    let mut hash = DefaultHasher::new();
    for part in file.parts() {
        let about = std::fs::metadata(part).ok()?;
        part.canonicalize().ok()?.hash(&mut hash);
        (about.len(), about.modified().ok()).hash(&mut hash);
    }
    engine.hash(&mut hash);
    env!("CARGO_PKG_VERSION").hash(&mut hash);
    Some(StoreConfig {
        folder,
        fingerprint: hash.finish(),
        most_bytes: options.cache.disk.bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use shimmy_testkit::tiny;

    use super::*;
    use crate::backend::{CacheOptions, DiskOptions};

    #[test]
    fn a_part_that_is_replaced_makes_another_model() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny::Model::new();
        let shards = model.write_shards(folder.path(), "parts", 2).unwrap();
        let file = ModelFile::open(&shards[0]).unwrap();
        let disk = DiskOptions {
            folder: Some(folder.path().to_owned()),
            bytes: 1,
        };
        let options = OpenOptions {
            cache: CacheOptions {
                bytes: 1,
                disk,
                ..CacheOptions::default()
            },
            ..OpenOptions::default()
        };
        let fingerprint = |engine: u32| config(&file, &options, &engine).unwrap().fingerprint;
        let before = fingerprint(1);
        assert_eq!(fingerprint(1), before);
        assert_ne!(fingerprint(2), before);
        let mut second = std::fs::OpenOptions::new().append(true).open(&shards[1]);
        second.as_mut().unwrap().write_all(b"more").unwrap();
        assert_ne!(fingerprint(1), before);
    }
}
