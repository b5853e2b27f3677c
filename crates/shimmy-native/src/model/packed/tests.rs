//! What is believed, what is thrown away, and what all may take.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;

use super::*;

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
    let digest = digest(&mut Pool::new(1), &map[FIRST_PAGE..], &mut |_| true).unwrap();
    unfinished.finish(&mut map, digest).unwrap();
}

fn find(place: &Place<'_>) -> Option<Mmap> {
    place.find(&mut Pool::new(2), &mut |_| true)
}

fn files(folder: &PackedFolder) -> usize {
    fs::read_dir(&folder.path).map_or(0, Iterator::count)
}

#[test]
fn what_was_packed_is_found_again_and_only_for_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    assert!(find(&place).is_none());
    fill(&place, 7);
    let map = find(&place).expect("packed weights");
    assert!(map[FIRST_PAGE..].iter().all(|&byte| byte == 7));
    let kept = KeptFiles {
        count: 1,
        bytes: (FIRST_PAGE + LENGTH) as u64,
        damaged: Vec::new(),
    };
    assert_eq!(kept_weights(&folder.path), kept);
    let longer = Place::of(&folder, &path, LENGTH + 64).unwrap();
    assert!(find(&longer).is_none());
    fill(&place, 7);
    let other = model(&dir, "b");
    assert!(find(&Place::of(&folder, &other, LENGTH).unwrap()).is_none());
    fs::write(&path, "changed").unwrap();
    assert!(find(&Place::of(&folder, &path, LENGTH).unwrap()).is_none());
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    drop(place.make().expect("room"));
    assert_eq!(files(&folder), 0);
    assert!(find(&place).is_none());
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
    unfinished.finish(&mut map, 0).unwrap_err();
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
        assert!(find(&place).is_none(), "{at:?}");
        assert_eq!(files(&folder), 0, "{at:?}");
    }
}

/// A place whose files are taken to be settled at once, and a way to write to one so that it shows.
fn settled<'a>(folder: &'a PackedFolder, path: &Path) -> Place<'a> {
    Place {
        settled: Duration::ZERO,
        ..Place::of(folder, path, LENGTH).unwrap()
    }
}

/// Writes until the system's clock has ticked.
fn write(place: &Place<'_>, bytes: &[u8], at: usize) {
    let file = OpenOptions::new().write(true).open(place.name()).unwrap();
    let time = || {
        let about = file.metadata().unwrap();
        (about.ctime(), about.ctime_nsec())
    };
    let before = time();
    while time() == before {
        file.write_all_at(bytes, at as u64).unwrap();
    }
}

fn record(place: &Place<'_>) -> String {
    fs::read_to_string(place.name().with_extension(CHECKED)).unwrap()
}

#[test]
fn one_byte_that_is_not_what_was_written_is_found_checked_before_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = settled(&folder, &path);
    let zeros = [0; 512];
    for (at, bytes) in [
        (0, &[8][..]),
        (5000, &[6]),
        (LENGTH - 1, &[0]),
        (77, &zeros),
    ] {
        for was_checked in [false, true] {
            fill(&place, 7);
            if was_checked {
                assert!(find(&place).is_some());
                assert!(!record(&place).is_empty());
            }
            write(&place, bytes, FIRST_PAGE + at);
            assert!(find(&place).is_none(), "{at} {was_checked}");
            assert_eq!(files(&folder), 0, "{at} {was_checked}");
        }
    }
}

#[test]
fn what_was_checked_is_not_read_again_until_it_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = settled(&folder, &path);
    let reads = || {
        let mut reports = 0;
        let mut count = |_| {
            reports += 1;
            true
        };
        let found = place.find(&mut Pool::new(1), &mut count);
        assert!(found.is_some());
        reports
    };
    fill(&place, 7);
    assert_eq!((reads(), reads(), reads()), (1, 0, 0));
    // What it says is true, but the file was touched.
    write(&place, &[7], FIRST_PAGE);
    assert_eq!((reads(), reads()), (1, 0));
    // One that somebody made up, and one of another boot.
    let (kept, noted) = (place.name().with_extension(CHECKED), record(&place));
    let forged = noted.replace(|c: char| c.is_ascii_digit(), "1");
    let before = format!("0{noted}");
    for other in [forged, before, String::new()] {
        fs::write(&kept, other).unwrap();
        assert_eq!((reads(), reads()), (1, 0));
    }
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_was_just_written_is_not_noted_as_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place {
        settled: Duration::from_secs(3600),
        ..Place::of(&folder, &path, LENGTH).unwrap()
    };
    fill(&place, 7);
    assert!(find(&place).is_some());
    assert_eq!(record(&place), "");
}

#[test]
fn a_check_that_nobody_waits_for_throws_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    fill(&place, 7);
    assert!(place.find(&mut Pool::new(1), &mut |_| false).is_none());
    assert!(find(&place).is_some());
}

/// What a killed process leaves has no lock; it is the same id that names it again in a container.
#[test]
fn what_a_killed_process_left_is_removed_and_what_is_being_made_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let all = 2 * (FIRST_PAGE + LENGTH) as u64;
    let (folder, path) = (folder(&dir, all), model(&dir, "a"));
    let place = Place::of(&folder, &path, LENGTH).unwrap();
    let others = model(&dir, "b");
    let other = Place::of(&folder, &others, LENGTH).unwrap();
    fill(&place, 7);
    let left = format!("{:016x}.{}.part", place.fingerprint, std::process::id());
    let left = folder.path.join(left);
    fs::write(&left, vec![0; LENGTH]).unwrap();
    let orphan = folder.path.join(format!("0123.{CHECKED}"));
    fs::write(&orphan, "").unwrap();
    let (mut map, unfinished) = other.make().expect("room");
    assert!(find(&place).is_some());
    assert!(!left.exists() && !orphan.exists());
    // The weights, their record, and what is being made.
    assert_eq!(files(&folder), 3);
    // What others are making counts: this takes the place of what is finished, and no more.
    let third = model(&dir, "c");
    let third = Place::of(&folder, &third, LENGTH).unwrap();
    let (_, more) = third.make().expect("room");
    assert!(!place.name().exists());
    assert!(place.make().is_none());
    drop(more);
    let digest = digest(&mut Pool::new(1), &map[FIRST_PAGE..], &mut |_| true).unwrap();
    unfinished.finish(&mut map, digest).unwrap();
    assert!(find(&other).is_some());
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
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    };
    fill(&places[0], 1);
    fill(&places[1], 2);
    used(&places[0], 2);
    used(&places[1], 1);
    fill(&places[2], 3);
    assert!(find(&places[0]).is_some());
    assert!(find(&places[1]).is_none());
    assert!(find(&places[2]).is_some());
    let all = (FIRST_PAGE + LENGTH) as u64 * 2;
    assert!(Place::of(&folder, &paths[0], all as usize + 1).is_none());
}
