//! Names and looks, on files that the tests write.

use shimmy_models::RootSettings;
use shimmy_testkit::tiny;
use tempfile::TempDir;

use super::*;

/// A catalog of a folder, which the test's files are in, and a base model.
fn catalog(folder: &TempDir, base: Option<&str>) -> Catalog {
    let base = base.map(|name| folder.path().join(name));
    let roots = Roots::from_settings(&RootSettings {
        working_folder: folder.path().to_owned(),
        base_gguf: base.clone(),
        ..RootSettings::default()
    });
    Catalog::new(base, roots)
}

fn folder_with(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        add(&folder, file);
    }
    folder
}

fn add(folder: &TempDir, file: &str) {
    let path = folder.path().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    tiny::Model::new().write(&path).unwrap();
}

fn names(catalog: &Catalog) -> Vec<String> {
    let targets = catalog.list();
    let files = targets
        .iter()
        .filter(|target| matches!(target, Target::File(_)));
    files.map(|target| target.name().to_owned()).collect()
}

fn is_base(target: &Target) -> bool {
    matches!(target, Target::File(entry) if entry.is_base)
}

#[test]
fn the_base_model_keeps_its_plain_name_among_namesakes() {
    let folder = folder_with(&["a/x.gguf", "models/x.gguf"]);
    let catalog = catalog(&folder, Some("a/x.gguf"));
    let before = catalog.find(Some("x")).unwrap();
    assert_eq!(names(&catalog), ["x"], "nobody has looked further");
    catalog.look();
    assert_eq!(names(&catalog), ["models-x", "x"]);
    let after = catalog.find(Some("x")).unwrap();
    assert!(is_base(&before) && is_base(&after));
    assert_eq!(before.key(), after.key());
}

#[test]
fn a_base_model_that_no_look_finds_is_listed_and_its_namesake_numbered() {
    // Only files that end in .gguf are looked at.
    let folder = folder_with(&["a/x", "models/x.gguf", "models/x-2.gguf"]);
    let catalog = catalog(&folder, Some("a/x"));
    catalog.look();
    assert_eq!(names(&catalog), ["x", "x-2", "x-3"]);
    assert!(is_base(&catalog.find(Some("x")).unwrap()));
    assert!(!is_base(&catalog.find(Some("x-3")).unwrap()));
}

#[test]
fn any_part_of_a_split_base_model_is_the_base_model() {
    let folder = tempfile::tempdir().unwrap();
    tiny::Model::new()
        .write_shards(folder.path(), "s", 3)
        .unwrap();
    let catalog = catalog(&folder, Some("s-00002-of-00003.gguf"));
    catalog.look();
    assert_eq!(names(&catalog), ["s"]);
    assert!(is_base(&catalog.find(Some("s")).unwrap()));
}

#[cfg(unix)]
#[test]
fn a_link_to_the_base_model_is_the_same_model() {
    let folder = folder_with(&["models/real.gguf"]);
    let link = folder.path().join("link.gguf");
    std::os::unix::fs::symlink(folder.path().join("models/real.gguf"), link).unwrap();
    let catalog = catalog(&folder, Some("link.gguf"));
    catalog.look();
    assert_eq!(names(&catalog), ["link"]);
}

#[test]
fn the_default_model_has_several_ways_to_be_meant() {
    let folder = folder_with(&["base.gguf", "models/other.gguf"]);
    let catalog = catalog(&folder, Some("base.gguf"));
    for name in [None, Some(""), Some("default"), Some("Default")] {
        assert!(is_base(&catalog.find(name).unwrap()), "{name:?}");
        assert!(is_base(&catalog.glance(name).unwrap()), "{name:?}");
    }
}

#[test]
fn what_is_known_is_not_read_again() {
    let folder = folder_with(&["base.gguf", "models/other.gguf"]);
    let catalog = catalog(&folder, Some("base.gguf"));
    assert!(names(&catalog).is_empty());
    assert!(catalog.glance(Some("other")).is_err());
    catalog.look();
    std::fs::remove_file(folder.path().join("base.gguf")).unwrap();
    std::fs::remove_file(folder.path().join("models/other.gguf")).unwrap();
    assert!(is_base(&catalog.find(None).unwrap()));
    assert!(catalog.find(Some("other")).is_ok());
    assert_eq!(names(&catalog), ["base", "other"]);
    catalog.look();
    assert!(names(&catalog).is_empty());
}

#[test]
fn a_broken_base_model_is_tried_again() {
    let folder = folder_with(&["models/other.gguf"]);
    let catalog = catalog(&folder, Some("base.gguf"));
    let error = catalog.find(None).unwrap_err();
    assert!(matches!(error, LoadError::Failed { reason, .. } if reason.contains("base.gguf")));
    assert!(catalog.find(Some("other")).is_ok());
    add(&folder, "base.gguf");
    assert!(is_base(&catalog.find(None).unwrap()));
}

#[test]
fn a_file_that_is_cut_off_is_said_to_be_so_until_it_is_replaced() {
    let folder = folder_with(&["models/whole.gguf"]);
    let whole = std::fs::read(folder.path().join("models/whole.gguf")).unwrap();
    let cut = folder.path().join("models/Cut_Off.gguf");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let mut catalog = catalog(&folder, None);
    catalog.look_again = Duration::ZERO;
    let Err(LoadError::Failed { name, reason }) = catalog.find(Some("cut-off")) else {
        panic!("no reason");
    };
    assert_eq!(name, "Cut_Off");
    assert!(reason.contains("Cut_Off.gguf"), "{reason}");
    let error = catalog.find(Some("cut-of")).unwrap_err();
    assert!(matches!(error, LoadError::NotFound { .. }));
    std::fs::write(&cut, &whole).unwrap();
    assert!(catalog.find(Some("cut-off")).is_ok());
}

#[test]
fn an_unknown_name_is_looked_for_again_but_not_all_the_time() {
    let folder = folder_with(&["models/old.gguf"]);
    let mut catalog = catalog(&folder, None);
    catalog.look_again = Duration::MAX;
    catalog.look();
    add(&folder, "models/new.gguf");
    let error = catalog.find(Some("new")).unwrap_err();
    assert!(matches!(error, LoadError::NotFound { .. }));
    catalog.look_again = Duration::ZERO;
    assert!(catalog.find(Some("new")).is_ok());
}

#[test]
fn the_first_look_is_one_for_all_who_need_it() {
    let folder = folder_with(&["models/a.gguf", "models/b.gguf"]);
    let catalog = catalog(&folder, None);
    let looks: Vec<Arc<Found>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| catalog.found())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(looks.iter().all(|look| Arc::ptr_eq(look, &looks[0])));
}
