//! Files of packed weights: found, refused, thrown away.

use super::*;
use std::thread;

const LENGTH: usize = 10_000;

fn folder(dir: &tempfile::TempDir, most_bytes: u64) -> PackedFolder {
    PackedFolder {
        path: dir.path().join("weights"),
        most_bytes,
        least_bytes: 0,
    }
}

fn model(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, name).unwrap();
    path
}

fn fill(place: &Place<'_>, value: u8) {
    let (mut map, unfinished) = place.make().expect("room");
    map[FIRST_PAGE..].fill(value);
    unfinished.finish(&mut map).unwrap();
}

/// The note that a file is on the disk comes from another thread, and changes the file's time.
fn wait_for_note(file: &File) {
    let mut note = [0];
    while note != [1] {
        thread::yield_now();
        file.read_exact_at(&mut note, ON_DISK as u64).unwrap();
    }
}

fn files(folder: &PackedFolder) -> usize {
    fs::read_dir(&folder.path).map_or(0, Iterator::count)
}

#[test]
fn what_was_packed_is_found_again_and_only_for_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    assert!(place.find().is_none());
    fill(&place, 7);
    let map = place.find().expect("packed weights");
    assert!(map[FIRST_PAGE..].iter().all(|&byte| byte == 7));
    let kept = KeptFiles {
        count: 1,
        bytes: (FIRST_PAGE + LENGTH) as u64,
        damaged: Vec::new(),
    };
    assert_eq!(kept_weights(&folder.path), kept);
    assert!(
        Place::of(&folder, &path, LENGTH + 64)
            .unwrap()
            .find()
            .is_none()
    );
    fill(&place, 7);
    let other = model(&dir, "b");
    assert!(Place::of(&folder, &other, LENGTH).unwrap().find().is_none());
    fs::write(&path, "changed").unwrap();
    assert!(Place::of(&folder, &path, LENGTH).unwrap().find().is_none());
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    drop(place.make().expect("room"));
    assert_eq!(files(&folder), 0);
    assert!(place.find().is_none());
}

#[test]
fn what_cannot_be_written_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(&dir, "a");
    // Where its folder should be there is a file; then no disk has room for it.
    let blocked = PackedFolder {
        path: path.clone(),
        ..folder(&dir, u64::MAX)
    };
    assert!(Place::of(&blocked, &path, LENGTH).unwrap().make().is_none());
    let folder = folder(&dir, u64::MAX);
    let place = Place::of(&folder, &path, 1 << 60).unwrap();
    assert!(place.make().is_none());
    // Its name is taken by something that no file can replace.
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    fs::create_dir_all(place.name().join("in the way")).unwrap();
    let (mut map, unfinished) = place.make().expect("room");
    unfinished.finish(&mut map).unwrap_err();
    assert_eq!(files(&folder), 1, "nothing unfinished is left");
}

#[test]
fn a_damaged_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    // Cut short, another number at the front, another fingerprint, another checksum.
    for at in [None, Some(7), Some(FINGERPRINT), Some(CHECKSUM)] {
        fill(&place, 7);
        let file = OpenOptions::new().write(true).open(place.name()).unwrap();
        match at {
            None => file.set_len(5000).unwrap(),
            Some(at) => file.write_all_at(&[0xff], at as u64).unwrap(),
        }
        assert_eq!(kept_weights(&folder.path).damaged, [place.name()], "{at:?}");
        assert!(place.find().is_none(), "{at:?}");
        assert_eq!(files(&folder), 0, "{at:?}");
    }
}

#[test]
fn what_may_not_have_reached_the_disk_is_not_believed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    for (on_disk, is_believed) in [(0, false), (1, true)] {
        fill(&place, 7);
        let file = OpenOptions::new().read(true).write(true).open(place.name());
        let file = file.unwrap();
        wait_for_note(&file);
        let page = first_page(place.fingerprint, LENGTH, &[b'x'; CHECKSUM - BOOT]);
        file.write_all_at(&page, 0).unwrap();
        let sum = xxh3_64(&page).to_le_bytes();
        file.write_all_at(&sum, CHECKSUM as u64).unwrap();
        file.write_all_at(&[on_disk], ON_DISK as u64).unwrap();
        assert_eq!(place.find().is_some(), is_believed);
    }
}

#[test]
fn the_folder_keeps_to_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir, 2 * (FIRST_PAGE + LENGTH) as u64);
    let paths = ["a", "b", "c"].map(|name| model(&dir, name));
    let places = paths
        .each_ref()
        .map(|path| Place::of(&folder, path, LENGTH).unwrap());
    let used = |place: &Place<'_>, seconds| {
        let file = OpenOptions::new().read(true).write(true).open(place.name());
        let file = file.unwrap();
        wait_for_note(&file);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    };
    fill(&places[0], 1);
    fill(&places[1], 2);
    used(&places[0], 2);
    used(&places[1], 1);
    fill(&places[2], 3);
    assert!(places[0].find().is_some());
    assert!(places[1].find().is_none());
    assert!(places[2].find().is_some());
    let all = (FIRST_PAGE + LENGTH) as u64 * 2;
    assert!(Place::of(&folder, &paths[0], all as usize + 1).is_none());
}
