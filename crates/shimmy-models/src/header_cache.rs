//! The headers that were read before, in a file. Owns when a remembered one still holds and how
//! they are kept; must not know what they say.
//!
//! The file is a line with the program's version and a checksum, and JSON after it. One that is
//! damaged, too large or of another version is as good as none, and the next search writes a new
//! one. Searches that end at the same time replace each other's file as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::facts::Facts;
use crate::files::{read_short, replace};

/// To be raised with every change in what is read from a header, or in how it is written down.
const FORMAT: u32 = 1;
/// How many files are remembered.
const MAX_ENTRIES: usize = 4096;
/// The longest file that is read.
const MAX_BYTES: u64 = 16 << 20;
/// A file that was changed this recently may be changed again without a later time or another size,
/// so it is not remembered yet.
const SETTLED: Duration = Duration::from_secs(2);

/// What is remembered, by path.
#[derive(Debug, Default)]
pub(crate) struct HeaderCache {
    file: Option<PathBuf>,
    entries: BTreeMap<String, Entry>,
    has_news: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    size: u64,
    /// When the file was changed, in nanoseconds since 1970.
    modified: u64,
    facts: Facts,
    /// Whether this search has asked for it.
    #[serde(skip)]
    used: bool,
}

impl HeaderCache {
    /// What the file at `path` remembers.
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            entries: read(path).unwrap_or_default(),
            file: Some(path.to_owned()),
            has_news: false,
        }
    }

    /// What is remembered of a file, if it is still the same. Looks at the file's size and time.
    pub(crate) fn get(&mut self, path: &Path) -> Option<(Facts, fs::Metadata)> {
        let entry = self.entries.get_mut(path.to_str()?)?;
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let is_same = entry.size == file.len() && Some(entry.modified) == nanoseconds(&file);
        entry.used = is_same;
        is_same.then(|| (entry.facts.clone(), file))
    }

    /// Remembers what was read of a file.
    pub(crate) fn put(&mut self, path: &Path, file: &fs::Metadata, facts: &Facts) {
        let (Some(_), Some(path), Some(modified)) = (&self.file, path.to_str(), nanoseconds(file))
        else {
            return;
        };
        let age = file.modified().ok().and_then(|time| time.elapsed().ok());
        if age.is_none_or(|age| age < SETTLED) {
            return;
        }
        let entry = Entry {
            size: file.len(),
            modified,
            facts: facts.clone(),
            used: true,
        };
        self.entries.insert(path.to_owned(), entry);
        self.has_news = true;
    }

    /// Writes what is new, in place of the file that there was.
    pub(crate) fn save(mut self) -> io::Result<()> {
        let Some(file) = self.file.take().filter(|_| self.has_news) else {
            return Ok(());
        };
        // Those of this search first: it may be one of other folders than the last.
        let (used, unused): (Vec<_>, Vec<_>) =
            self.entries.into_iter().partition(|(_, entry)| entry.used);
        let kept = used.into_iter().chain(unused).take(MAX_ENTRIES);
        let body = serde_json::to_vec(&kept.collect::<BTreeMap<_, _>>())?;
        replace(&file, &[title(&body).as_bytes(), &body].concat())
    }
}

fn read(path: &Path) -> Option<BTreeMap<String, Entry>> {
    let content = read_short(path, MAX_BYTES).ok()?;
    let end = content.iter().position(|&byte| byte == b'\n')? + 1;
    let (head, body) = content.split_at(end);
    (head == title(body).as_bytes()).then(|| serde_json::from_slice(body).ok())?
}

/// The first line.
fn title(body: &[u8]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("shimmy headers {FORMAT} {version} {:016x}\n", xxh3_64(body))
}

fn nanoseconds(file: &fs::Metadata) -> Option<u64> {
    let modified: SystemTime = file.modified().ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}
