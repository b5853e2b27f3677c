//! What a search remembers: headers from one to the next, and the names that users gave.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use shimmy_models::{Aliases, Discovery, RootSettings, Roots, Source, discover};
use shimmy_testkit::tiny;

use crate::support::{folder, names, problems, write, write_model};

/// Long enough ago that a file may be remembered.
fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

fn search(root: &Path) -> Discovery {
    let mut roots = Roots::new();
    roots.add(root.join("models"), Source::ModelDirs);
    discover(roots.remember_in(root.join("cache/headers")))
}

fn titles(found: &Discovery) -> Vec<&str> {
    let models = found.models.iter();
    models.filter_map(|m| m.summary.title.as_deref()).collect()
}

/// A model of one name, always of the same length.
fn write_named(path: &Path, name: &str) {
    write(path, tiny::Model::new().name(name).to_bytes());
}

#[test]
fn what_is_remembered_is_not_read_again() {
    let (_dir, root) = folder();
    let path = root.join("models/a.gguf");
    write_named(&path, "One");
    age(&path, 100);
    let first = search(&root);
    // The same size and time: only a reader of the content could tell.
    write_named(&path, "Two");
    let before = fs::metadata(&path).unwrap().len();
    let modified = first.models[0].modified;
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let second = search(&root);
    assert_eq!(second.models[0].size_bytes, before);
    assert_eq!(
        (titles(&first), titles(&second)),
        (vec!["One"], vec!["One"])
    );
    assert_eq!(second.models[0].summary, first.models[0].summary);
}

#[test]
fn a_changed_file_is_read_again() {
    let (_dir, root) = folder();
    let path = root.join("models/a.gguf");
    write_named(&path, "One");
    age(&path, 100);
    assert_eq!(titles(&search(&root)), ["One"]);
    write_named(&path, "Two");
    age(&path, 50);
    assert_eq!(titles(&search(&root)), ["Two"]);
    fs::remove_file(&path).unwrap();
    assert!(search(&root).models.is_empty());
}

#[test]
fn a_file_that_may_still_change_is_not_remembered() {
    let (_dir, root) = folder();
    let path = root.join("models/a.gguf");
    write_named(&path, "One");
    search(&root);
    assert!(!root.join("cache/headers").exists());
}

#[test]
fn a_damaged_memory_is_as_good_as_none() {
    let (_dir, root) = folder();
    let (path, cache) = (root.join("models/a.gguf"), root.join("cache/headers"));
    write_named(&path, "One");
    age(&path, 100);
    search(&root);
    let sound = fs::read(&cache).unwrap();
    for at in (0..sound.len()).step_by(97) {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&cache, &damaged).unwrap();
        assert_eq!(titles(&search(&root)), ["One"], "byte {at}");
        assert_eq!(fs::read(&cache).unwrap(), sound, "byte {at}");
    }
    for content in [&sound[..sound.len() / 2], b"", b"\n", b"no\n{}"] {
        fs::write(&cache, content).unwrap();
        assert_eq!(titles(&search(&root)), ["One"]);
    }
    let leftovers = fs::read_dir(root.join("cache")).unwrap().count();
    assert_eq!(leftovers, 1);
}

#[test]
fn other_folders_are_not_forgotten() {
    let (_dir, root) = folder();
    let cache = root.join("headers");
    for name in ["a", "b"] {
        let path = root.join(name).join("m.gguf");
        write_model(&path);
        age(&path, 100);
        let mut roots = Roots::new();
        discover(
            roots
                .add(root.join(name), Source::ModelDirs)
                .remember_in(&cache),
        );
    }
    let text = fs::read_to_string(&cache).unwrap();
    assert!(text.contains("/a/m.gguf") && text.contains("/b/m.gguf"));
}

#[test]
fn a_memory_that_cannot_be_kept_is_told_of_and_hides_nothing() {
    let (_dir, root) = folder();
    let path = root.join("models/a.gguf");
    write_model(&path);
    age(&path, 100);
    write(&root.join("cache"), "a file where a folder should be");
    let found = search(&root);
    assert_eq!(names(&found), ["a"]);
    assert!(problems(&found)[0].contains("cannot be remembered"));
}

#[test]
fn a_model_has_the_names_that_users_gave() {
    let (_dir, root) = folder();
    write_model(&root.join("models/a.gguf"));
    let settings = RootSettings {
        working_folder: root.clone(),
        home: Some(root.clone()),
        ..RootSettings::default()
    };
    let store = settings.store().unwrap();
    let roots = Roots::from_settings(&settings);
    let found = discover(&roots);
    let mut aliases = Aliases::read(&store).unwrap();
    aliases.insert("gpt-4o", &found.models[0]).unwrap();
    for bad in ["", "-rf", "../x", "a\nb"] {
        assert!(aliases.insert(bad, &found.models[0]).is_err(), "{bad:?}");
    }
    aliases.save().unwrap();
    assert_eq!(discover(&roots).models[0].aliases, ["gpt-4o"]);

    fs::rename(root.join("models/a.gguf"), root.join("models/b.gguf")).unwrap();
    let text = &problems(&discover(&roots))[0];
    assert!(text.contains("a.gguf") && text.contains("gpt-4o"), "{text}");

    let mut aliases = Aliases::read(&store).unwrap();
    assert!(aliases.remove("gpt-4o") && !aliases.remove("gpt-4o"));
    aliases.save().unwrap();
    assert_eq!(problems(&discover(&roots)), [""; 0]);

    write(&store.join("aliases.json"), "{");
    let found = discover(&roots);
    assert_eq!(names(&found), ["b"]);
    assert!(problems(&found)[0].contains("aliases.json"));
}
