//! Parked prefixes on disk, between two lives of an engine.
//!
//! One file per prefix, bound to the model and the settings that computed it, and checked before
//! it is used: a damaged file is a warning and a prefix that is computed again. The folder is
//! bounded in bytes; what was used least recently goes first. It must not know what the bytes of a
//! state mean: the runner does.

use std::borrow::Cow;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use xxhash_rust::xxh3::Xxh3;

use crate::offload::State;
use crate::prefix::{Key, best_match, shared};
use crate::runner::Token;
use crate::unfinished::{Unfinished, sweep_unfinished};

/// Where parked prefixes are kept between two lives of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder; it is made when it is needed.
    pub folder: PathBuf,
    /// Stands for the model's file and every setting on which a state depends: another value
    /// finds none of the prefixes.
    pub fingerprint: u64,
    /// Bytes of all files in the folder, those of other models among them.
    pub most_bytes: u64,
}

/// The first bytes of a file; the number is raised when what follows them changes.
const MAGIC: [u8; 8] = *b"SHIMKV\x00\x01";

/// Tokens that are not worth a file of their own.
const NEAR: usize = 64;

const ENDING: &str = "kv";

/// Bytes before the tokens: five numbers of 8 bytes, and the count of tokens.
const HEADER_BYTES: u64 = 5 * 8 + 4;

/// Tokens of the longest prefix that a file may claim to have.
const MOST_TOKENS: u32 = 1 << 24;

/// A prefix on disk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    path: PathBuf,
    fingerprint: u64,
    tokens: Vec<Token>,
    scope: u64,
}

impl Entry {
    /// Reads and checks what the runner saved. Blocks.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        read_state(&self.path, self.fingerprint)
    }

    /// The prefix with what was read.
    pub(crate) fn state(&self, bytes: Vec<u8>) -> State {
        State {
            tokens: self.tokens.clone(),
            key: Key {
                // None with adapters are kept.
                adapters: Vec::new(),
                scope: self.scope,
            },
            bytes,
        }
    }
}

/// The prefixes of one model on disk.
#[derive(Debug)]
pub(crate) struct Store {
    config: StoreConfig,
    entries: Vec<Entry>,
}

impl Store {
    /// Looks at what an earlier engine left. Reads the tokens, not the states.
    pub(crate) fn open(config: StoreConfig) -> Self {
        sweep_unfinished(&config.folder);
        let prefix = format!("{:016x}-", config.fingerprint);
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        };
        let mut entries = Vec::new();
        for path in files(&config.folder).into_iter().filter(is_ours) {
            match read_tokens(&path, config.fingerprint) {
                Ok((tokens, scope)) => entries.push(Entry {
                    path,
                    fingerprint: config.fingerprint,
                    tokens,
                    scope,
                }),
                Err(error) => give_up(&path, &error),
            }
        }
        Self { config, entries }
    }

    /// The prefix that shares most with a prompt, if that is clearly more than `known` tokens. With
    /// `whole`, only a prefix that the prompt begins with. One that was read is still found: it may
    /// have to leave the cache again.
    pub(crate) fn find(
        &self,
        prompt: &[Token],
        key: &Key,
        known: usize,
        whole: bool,
    ) -> Option<&Entry> {
        // Adapters' numbers mean nothing in another process.
        if !key.adapters.is_empty() {
            return None;
        }
        let entries = self.entries.iter().enumerate();
        let candidates = entries.filter(|(_, entry)| entry.scope == key.scope);
        let candidates = candidates.map(|(at, entry)| (at, entry.tokens.as_slice()));
        let (at, _) = best_match(candidates, prompt, known, whole)?;
        self.entries.get(at)
    }

    /// Removes a prefix that is of no use, whose file it says why.
    pub(crate) fn give_up(&mut self, entry: &Entry, why: impl fmt::Display) {
        self.entries.retain(|other| other != entry);
        give_up(&entry.path, &why);
    }

    /// Writes prefixes, the most recently used one first, and removes old files until the folder
    /// keeps to its size.
    ///
    /// One that differs from another only in its last few tokens is left out: they are computed in
    /// a moment, and a copy of all that the two share is not worth its bytes.
    pub(crate) fn write<'a, S>(&self, prefixes: impl Iterator<Item = (&'a [Token], &'a Key, S)>)
    where
        S: FnOnce() -> Option<Cow<'a, [u8]>>,
    {
        // What other processes are writing counts, too.
        let unfinished = sweep_unfinished(&self.config.folder);
        let mut left = self.config.most_bytes.saturating_sub(unfinished);
        let mut written: Vec<(&[Token], u64)> = Vec::new();
        for (tokens, key, save) in prefixes {
            let is_near = |&(other, scope): &(&[Token], u64)| {
                scope == key.scope && shared(other, tokens) + NEAR >= tokens.len()
            };
            if !key.adapters.is_empty() || written.iter().any(is_near) {
                continue;
            }
            let Some(state) = save() else { continue };
            let size = (state.len() + tokens.len() * 4 + 64) as u64;
            if size > left {
                break;
            }
            left -= size;
            written.push((tokens, key.scope));
            if let Err(error) = self.write_one(tokens, key.scope, &state) {
                tracing::warn!(%error, "a prefix cannot be kept on disk");
                break;
            }
        }
        self.trim();
    }

    fn write_one(&self, tokens: &[Token], scope: u64, state: &[u8]) -> io::Result<()> {
        let mut name = Xxh3::new();
        name.update(&scope.to_le_bytes());
        tokens.iter().for_each(|t| name.update(&t.to_le_bytes()));
        let (fingerprint, name) = (self.config.fingerprint, name.digest());
        let stem = format!("{fingerprint:016x}-{name:016x}");
        // Under its name only when it is whole.
        let unfinished = Unfinished::create(&self.config.folder, &stem)?;
        write_file(unfinished.file(), fingerprint, tokens, scope, state)?;
        unfinished.finish(&self.config.folder.join(format!("{stem}.{ENDING}")))
    }

    /// Removes the files that were written longest ago until the folder keeps to its size.
    fn trim(&self) {
        let described = |path: PathBuf| {
            let about = fs::metadata(&path).ok()?;
            let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some((modified, about.len(), path))
        };
        let mut files: Vec<_> = files(&self.config.folder)
            .into_iter()
            .filter_map(described)
            .collect();
        files.sort();
        let kept: u64 = files.iter().map(|(_, size, _)| size).sum();
        let mut size = kept + sweep_unfinished(&self.config.folder);
        for (_, bytes, path) in files {
            if size <= self.config.most_bytes {
                break;
            }
            size -= bytes;
            remove(&path);
        }
    }
}

/// What is in a folder of files that outlive the process that made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptFiles {
    /// How many there are.
    pub count: usize,
    /// Bytes of all.
    pub bytes: u64,
    /// Those that nobody would believe: damaged, or of another version.
    pub damaged: Vec<PathBuf>,
}

/// What is in a folder of prefixes, by the beginnings of the files. Their checksums are checked when
/// they are used.
pub fn kept_prefixes(folder: &Path) -> KeptFiles {
    let mut kept = KeptFiles::default();
    for path in files(folder) {
        let bytes = fs::metadata(&path).map_or(0, |about| about.len());
        kept.count += 1;
        kept.bytes += bytes;
        if !has_whole_state(&path, bytes).unwrap_or(false) {
            kept.damaged.push(path);
        }
    }
    kept
}

fn has_whole_state(path: &Path, bytes: u64) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    let mut start = [0; 16];
    file.read_exact(&mut start)?;
    // The second number is the model's, which is not asked for here.
    let (_, model) = start.split_at(8);
    let fingerprint = u64::from_le_bytes(model.try_into().map_err(io::Error::other)?);
    let header = read_header(&mut start.chain(file), fingerprint)?;
    Ok(HEADER_BYTES + header.token_bytes.len() as u64 + header.state_length == bytes)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else {
        // Nothing was ever kept there.
        return Vec::new();
    };
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .collect()
}

fn give_up(path: &Path, why: &dyn fmt::Display) {
    tracing::warn!(%why, file = ?path.file_name(), "a kept prefix is of no use and removed");
    remove(path);
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, file = ?path.file_name(), "a kept prefix cannot be removed");
    }
}

fn write_file(
    file: &File,
    fingerprint: u64,
    tokens: &[Token],
    scope: u64,
    state: &[u8],
) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    let token_bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
    file.write_all(&MAGIC)?;
    file.write_all(&fingerprint.to_le_bytes())?;
    file.write_all(&scope.to_le_bytes())?;
    file.write_all(&(tokens.len() as u32).to_le_bytes())?;
    file.write_all(&(state.len() as u64).to_le_bytes())?;
    file.write_all(&checksum(&token_bytes, state).to_le_bytes())?;
    file.write_all(&token_bytes)?;
    file.write_all(state)?;
    file.into_inner()?.sync_data()
}

fn checksum(tokens: &[u8], state: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(tokens);
    hash.update(state);
    hash.digest()
}

struct Header {
    scope: u64,
    token_bytes: Vec<u8>,
    state_length: u64,
    checksum: u64,
}

fn read_header(file: &mut impl Read, fingerprint: u64) -> io::Result<Header> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    if number()? != u64::from_le_bytes(MAGIC) {
        return Err(wrong("it is of another version, or no such file"));
    }
    if number()? != fingerprint {
        return Err(wrong("it is of another model"));
    }
    let scope = number()?;
    let mut count = [0; 4];
    file.read_exact(&mut count)?;
    let count = u32::from_le_bytes(count);
    if count > MOST_TOKENS {
        return Err(wrong("it claims to have more tokens than any prompt"));
    }
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let (state_length, checksum) = (number()?, number()?);
    // Not allocated as claimed, but as it comes.
    let mut token_bytes = Vec::new();
    let wanted = u64::from(count) * 4;
    if file.take(wanted).read_to_end(&mut token_bytes)? as u64 != wanted {
        return Err(wrong("it is cut short"));
    }
    Ok(Header {
        scope,
        token_bytes,
        state_length,
        checksum,
    })
}

fn read_tokens(path: &Path, fingerprint: u64) -> io::Result<(Vec<Token>, u64)> {
    let header = read_header(&mut BufReader::new(File::open(path)?), fingerprint)?;
    let (words, _) = header.token_bytes.as_chunks::<4>();
    let tokens = words.iter().map(|word| Token::from_le_bytes(*word));
    Ok((tokens.collect(), header.scope))
}

fn read_state(path: &Path, fingerprint: u64) -> io::Result<Vec<u8>> {
    let mut file = BufReader::new(File::open(path)?);
    let header = read_header(&mut file, fingerprint)?;
    let mut state = Vec::new();
    file.take(header.state_length).read_to_end(&mut state)?;
    let is_whole = state.len() as u64 == header.state_length
        && checksum(&header.token_bytes, &state) == header.checksum;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its checksum does not fit");
    is_whole.then_some(state).ok_or_else(damaged)
}

#[cfg(test)]
mod tests;
