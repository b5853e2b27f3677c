//! Models that are made of others: what a search finds of them, and what stays when one goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shimmy_models::{Discovery, PackageError, Packages, PartKind, Roots, Source, discover};
use shimmy_testkit::sha256::sha256;
use shimmy_testkit::tiny;

use crate::support::{folder, names, problems, write};

struct Place {
    root: PathBuf,
    file: PathBuf,
    packages: Packages,
    _dir: tempfile::TempDir,
}

impl Place {
    /// A folder with one model, and one for packages.
    fn new() -> Self {
        let (dir, root) = folder();
        let file = root.join("plain/tiny.gguf");
        fs::create_dir_all(root.join("plain")).unwrap();
        tiny::Model::new().write(&file).unwrap();
        Self {
            packages: Packages::at(root.join("packages")),
            root,
            file,
            _dir: dir,
        }
    }

    fn make(&self, name: &str, system: &str) {
        let model = self
            .packages
            .add_file(PartKind::Model, &self.file, None, &|| true);
        let system = self.packages.add_text(PartKind::System, system.as_bytes());
        self.packages
            .put(name, &[model.unwrap(), system.unwrap()])
            .unwrap();
    }

    fn search(&self) -> Discovery {
        let mut roots = Roots::new();
        roots.add(self.root.join("plain"), Source::ModelDirs);
        roots.add(self.root.join("packages"), Source::Store);
        discover(&roots)
    }

    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("packages/blobs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

fn text(path: Option<&Path>) -> String {
    fs::read_to_string(path.unwrap()).unwrap()
}

#[test]
fn a_model_made_of_a_file_is_beside_it_and_takes_no_room() {
    let place = Place::new();
    place.make("mine", "Be brief.");
    let found = place.search();
    assert_eq!(problems(&found), [""; 0]);
    assert_eq!(names(&found), ["mine", "tiny"]);
    let mine = &found.models[0];
    assert_eq!(text(mine.companions.system.as_deref()), "Be brief.");
    assert_eq!(mine.summary, found.models[1].summary);
    let digest = sha256(&fs::read(&place.file).unwrap());
    assert_eq!(mine.digest.as_deref(), Some(&*format!("sha256:{digest}")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&mine.path), inode(&place.file));
    }
    fs::remove_file(&place.file).unwrap();
    assert_eq!(
        names(&place.search()),
        ["mine"],
        "it outlives what it was made of"
    );
}

#[test]
fn what_no_other_model_needs_goes_with_the_last_one_that_does() {
    let place = Place::new();
    place.make("mine", "Be brief.");
    place.make("yours", "Be kind.");
    assert!(place.packages.copy("mine", "me/copy:v1").unwrap());
    assert!(!place.packages.copy("nobody", "x").unwrap());
    assert_eq!(place.blobs().len(), 3);
    assert_eq!(names(&place.search()), ["me/copy:v1", "tiny", "yours"]);
    assert!(place.packages.remove("MINE").unwrap());
    assert!(!place.packages.remove("mine").unwrap());
    assert_eq!(place.blobs().len(), 3, "the copy needs them");
    assert!(place.packages.remove("me/copy:v1").unwrap());
    assert_eq!(place.blobs().len(), 2);
    assert!(
        !place
            .root
            .join("packages/manifests/registry.ollama.ai/me")
            .exists()
    );
    let yours = shimmy_models::Removal::plan(&place.search().models[1]).unwrap();
    yours.run().unwrap();
    assert_eq!(place.blobs(), [""; 0]);
    assert_eq!(names(&place.search()), ["tiny"]);
    assert!(place.file.exists());
}

#[test]
fn a_model_in_the_place_of_another_leaves_nothing_of_it() {
    let place = Place::new();
    place.make("Mine", "Be brief.");
    place.make("mine", "Be kind.");
    let found = place.search();
    assert_eq!(names(&found), ["mine", "tiny"]);
    assert_eq!(
        text(found.models[0].companions.system.as_deref()),
        "Be kind."
    );
    assert_eq!(place.blobs().len(), 2);
    place.make("mine", "Be kind.");
    assert_eq!(place.blobs().len(), 2);
    assert_eq!(problems(&place.search()), [""; 0]);
}

#[test]
fn a_blob_is_kept_only_if_it_is_what_was_said() {
    let place = Place::new();
    let digits = sha256(b"content");
    let mut blob = place.packages.new_blob().unwrap();
    blob.write(b"con").unwrap();
    assert_eq!(place.packages.blob(&digits), None);
    blob.write(b"tent").unwrap();
    blob.keep_as(&digits).unwrap();
    assert_eq!(
        fs::read(place.packages.blob(&digits).unwrap()).unwrap(),
        b"content"
    );
    let mut wrong = place.packages.new_blob().unwrap();
    wrong.write(b"other").unwrap();
    let error = wrong.keep_as(&digits).unwrap_err();
    assert!(
        matches!(error, PackageError::WrongContent { .. }),
        "{error}"
    );
    drop(place.packages.new_blob().unwrap());
    assert_eq!(place.blobs(), [format!("sha256-{digits}")]);
    for digits in ["", "..", "../../x", &digits.to_uppercase()] {
        assert_eq!(place.packages.blob(digits), None);
    }
}

#[test]
fn what_nobody_needs_is_swept_once_it_is_old() {
    let place = Place::new();
    place.make("mine", "Be brief.");
    write(&place.root.join("packages/blobs/12-3.new"), "half");
    write(
        &place
            .root
            .join(format!("packages/blobs/sha256-{}", "a".repeat(64))),
        "lone",
    );
    place.packages.sweep(Duration::from_secs(3600)).unwrap();
    assert_eq!(place.blobs().len(), 4);
    place.packages.sweep(Duration::ZERO).unwrap();
    assert_eq!(place.blobs().len(), 2);
    assert_eq!(problems(&place.search()), [""; 0]);
}

#[test]
fn a_name_leads_nowhere_else() {
    let place = Place::new();
    for name in ["../mine", "a/../../b", "", "a/b/c/d", ".hidden", "a\0b"] {
        let error = place.packages.put(name, &[]).unwrap_err();
        assert!(matches!(error, PackageError::NotAName(_)), "{name:?}");
        assert!(!place.packages.has(name));
        assert!(!place.packages.remove(name).unwrap());
    }
}
