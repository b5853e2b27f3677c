//! Takes the files of the page at `/docs` out of the vendored Swagger UI, compressed as they are.
//!
//! An entry of a zip archive and a gzip file hold the same deflated bytes between headers of their
//! own, so nothing is inflated or compressed here. The formats: PKWARE's APPNOTE.TXT, sections 4.3
//! and 4.4, and RFC 1952. The archive is pinned by `Cargo.lock`; one that is laid out otherwise ends
//! the build.

use std::path::Path;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

/// What the page needs of Swagger UI, and whether the archive has it compressed.
const FILES: [(&str, Method); 3] = [
    ("favicon-32x32.png", Method::Stored),
    ("swagger-ui-bundle.js", Method::Deflated),
    ("swagger-ui.css", Method::Deflated),
];

/// How an entry's bytes are kept: the numbers of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored = 0,
    Deflated = 8,
}

/// A file in the archive.
struct Entry {
    name: &'static str,
    method: usize,
    checksum: &'static [u8],
    length: &'static [u8],
    bytes: &'static [u8],
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("Cargo names a folder for what is made");
    let entries = entries();
    for (name, method) in FILES {
        let in_archive = format!("/dist/{name}");
        let entry = entries
            .iter()
            .find(|entry| entry.name.ends_with(&in_archive))
            .unwrap_or_else(|| panic!("the archive has no {name}"));
        assert!(entry.method == method as usize, "{name} is kept otherwise");
        let bytes = match method {
            Method::Stored => entry.bytes.to_vec(),
            Method::Deflated => gzip(entry),
        };
        fs::write(Path::new(&out).join(name), bytes).expect("the folder can be written to");
    }
}

/// The entry as a gzip file without a name or a time.
fn gzip(entry: &Entry) -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    [&HEADER, entry.bytes, entry.checksum, entry.length].concat()
}

/// All entries, by the directory at the archive's end.
fn entries() -> Vec<Entry> {
    let end = ARCHIVE
        .windows(4)
        .rposition(|window| window == b"PK\x05\x06")
        .expect("the archive has a directory");
    let mut at = number(&ARCHIVE[end + 16..], 4);
    let entries = 0..number(&ARCHIVE[end + 10..], 2);
    let entries = entries.map(|_| {
        let header = &ARCHIVE[at..];
        let [name, extra, comment] = [28, 30, 32].map(|field| number(&header[field..], 2));
        at += 46 + name + extra + comment;
        entry(header, name)
    });
    entries.collect()
}

/// The entry of a header in the directory, whose name has so many bytes.
fn entry(header: &'static [u8], name: usize) -> Entry {
    let local = &ARCHIVE[number(&header[42..], 4)..];
    let content = 30 + number(&local[26..], 2) + number(&local[28..], 2);
    Entry {
        name: std::str::from_utf8(&header[46..46 + name]).expect("names are text"),
        method: number(&header[10..], 2),
        checksum: &header[16..20],
        length: &header[24..28],
        bytes: &local[content..content + number(&header[20..], 4)],
    }
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], length: usize) -> usize {
    let bytes = bytes[..length].iter().rev();
    bytes.fold(0, |number, &byte| number << 8 | usize::from(byte))
}
