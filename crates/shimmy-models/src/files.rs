//! Small files. Owns reading them within bounds and replacing them in one step; must not know what
//! is in them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells apart the temporary files of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The content of a regular file of at most `limit` bytes. Anything else is an error: a pipe would
/// wait for a writer, and a device would never end.
pub(crate) fn read_short(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let what = format!("it is longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// Puts a file with this content in the place of another one, or of none, in one step. A name that
/// nobody else uses holds it until it is whole.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{number}.new", process::id()));
    let temporary = folder.join(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What counts is the first error; a file that could not be made is not there to remove.
        let _ = fs::remove_file(&temporary);
    }
    written
}
