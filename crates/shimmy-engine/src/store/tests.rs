//! Prefixes on disk: found, refused, thrown away.

use super::*;

fn config(folder: &Path) -> StoreConfig {
    StoreConfig {
        folder: folder.to_owned(),
        fingerprint: 7,
        most_bytes: 10_000,
    }
}

fn tokens(first: Token, count: u32) -> Vec<Token> {
    (first..first + count).collect()
}

fn keep(folder: &Path, tokens: &[Token], state: &[u8]) {
    let key = Key::default();
    let save = || Some(Cow::Borrowed(state));
    Store::open(config(folder)).write([(tokens, &key, save)].into_iter());
}

fn find(store: &mut Store, prompt: &[Token]) -> Option<Vec<u8>> {
    let entry = store.find(prompt, &Key::default(), 0, false)?.clone();
    match entry.read() {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            store.give_up(&entry, error);
            None
        }
    }
}

#[test]
fn what_was_written_is_found_by_a_prompt_that_begins_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    keep(folder.path(), &tokens(0, 20), b"twenty");
    keep(folder.path(), &tokens(0, 12), b"twelve");
    let mut store = Store::open(config(folder.path()));
    assert_eq!(
        find(&mut store, &tokens(0, 15)).as_deref(),
        Some(&b"twenty"[..])
    );
    assert_eq!(find(&mut store, &tokens(5, 15)), None);
    // Others see nothing of it.
    let scoped = Key {
        scope: 1,
        ..Key::default()
    };
    let store = Store::open(config(folder.path()));
    assert!(store.find(&tokens(0, 20), &scoped, 0, false).is_none());
    let mut other = Store::open(StoreConfig {
        fingerprint: 8,
        ..config(folder.path())
    });
    assert_eq!(find(&mut other, &tokens(0, 20)), None);
}

#[test]
fn a_file_damaged_anywhere_is_ignored_and_removed() {
    let whole = tempfile::tempdir().expect("a folder");
    keep(whole.path(), &tokens(0, 20), b"a state of some bytes");
    let path = files(whole.path()).pop().expect("a file");
    let bytes = fs::read(&path).expect("its bytes");
    let kept = |damaged: usize| {
        let kept = kept_prefixes(whole.path());
        kept.count == 1 && kept.damaged.len() == damaged
    };
    assert!(kept(0));
    for at in 0..bytes.len() {
        fs::write(&path, &bytes[..at]).expect("written");
        assert!(kept(1), "cut at byte {at}");
        for damaged in [bytes[..at].to_vec(), {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            flipped
        }] {
            fs::write(&path, damaged).expect("written");
            let mut store = Store::open(config(whole.path()));
            let found = find(&mut store, &tokens(0, 20));
            // A flipped token makes another prefix, which this prompt finds a part of.
            assert!(found.is_none(), "byte {at}");
            let _ = fs::remove_file(&path);
        }
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocked = folder.path().join("a file");
    fs::write(&blocked, "no folder").expect("written");
    keep(&blocked, &tokens(0, 20), b"twenty");
    assert_eq!(fs::read(&blocked).expect("there"), b"no folder");

    keep(folder.path(), &tokens(0, 20), b"twenty");
    // Its name is taken by something that no file can replace.
    let path = files(folder.path()).pop().expect("a file");
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    keep(folder.path(), &tokens(0, 20), b"twenty");
    let entries = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(entries, 2, "nothing unfinished is left");
}

#[test]
fn what_differs_only_at_its_end_is_kept_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::default();
    let save = || Some(Cow::Owned(vec![1, 2, 3]));
    let (long, near, far) = (tokens(0, 200), tokens(0, 180), tokens(1000, 200));
    let prefixes = [&long, &near, &far].map(|tokens| (tokens.as_slice(), &key, save));
    Store::open(config(folder.path())).write(prefixes.into_iter());
    assert_eq!(files(folder.path()).len(), 2);
}

#[test]
fn what_a_killed_process_left_goes_and_what_another_writes_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let left = dir
        .path()
        .join(format!("7-1.{}.partial", std::process::id()));
    fs::write(&left, [0; 9000]).expect("written");
    drop(Store::open(config(dir.path())));
    assert!(!left.exists());
    let other = Unfinished::create(dir.path(), "7-2").expect("a file");
    other.file().set_len(9000).expect("long");
    keep(dir.path(), &tokens(0, 20), &[0; 2000]);
    assert!(files(dir.path()).is_empty());
    keep(dir.path(), &tokens(0, 20), &[0; 500]);
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn the_folder_keeps_to_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    for first in 0..20 {
        keep(folder.path(), &tokens(first * 100, 20), &[0; 2000]);
    }
    let size: u64 = files(folder.path())
        .iter()
        .map(|path| fs::metadata(path).expect("there").len())
        .sum();
    assert!((8_000..=10_000).contains(&size), "{size}");
}

#[cfg(unix)]
#[test]
fn only_their_owner_reads_prefixes() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().expect("a folder");
    let folder = outer.path().join("prefixes");
    keep(&folder, &tokens(0, 20), b"a state");
    let mode = |path: &Path| {
        let about = fs::metadata(path).expect("there");
        about.permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder), 0o700);
    let files = files(&folder);
    assert_eq!(files.len(), 1);
    assert_eq!(mode(&files[0]), 0o600);
}
