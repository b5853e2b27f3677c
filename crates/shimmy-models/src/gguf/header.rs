//! Parses a header: counts, metadata entries, tensor table. Owns the order of the parts and the
//! limits on their number; must not know what the entries mean, but for those that the parts that
//! follow depend on.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek};

use super::cursor::Cursor;
use super::{GgufError, TensorFault, TensorInfo, TensorType, Value};
use crate::text::quoted;

/// The most metadata entries of a file; real ones have tens.
const MAX_ENTRIES: u64 = 16 << 10;
/// The most tensors of a file; real ones have hundreds, mixtures of experts tens of thousands.
const MAX_TENSORS: u64 = 64 << 10;
/// The longest key of an entry in bytes, by the format.
const MAX_KEY: u64 = 65_535;
/// The longest name of a tensor in bytes: llama.cpp refuses longer ones.
const MAX_TENSOR_NAME: u64 = 63;
/// The alignment of the data when the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The tokens that models put before the text that precedes a gap, as llama.cpp knows them.
const GAP_TOKENS: [&str; 7] = [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
];
/// The fewest bytes of an entry: a key's length, one letter, a type, one byte.
const LEAST_ENTRY: u64 = 8 + 1 + 4 + 1;
/// The fewest bytes of a tensor's entry: a name's length, no dimension, a type, an offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// A header, checked in itself and against the file's length.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) entries: BTreeMap<String, Value>,
    pub(super) tensors: Vec<TensorInfo>,
    /// Where the tensors' data starts, in bytes from the beginning of the file.
    pub(super) data_start: u64,
    /// Whether a token of the vocabulary marks the text before a gap to be filled.
    pub(super) has_gap_token: bool,
}

impl Header {
    /// Reads the header of a file from its beginning.
    pub(super) fn read(reader: impl Read + Seek) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(reader)?;
        let version = read_version(&mut cursor)?;
        let tensor_count = read_count(&mut cursor, "tensors", MAX_TENSORS, LEAST_TENSOR)?;
        let entry_count = read_count(&mut cursor, "metadata entries", MAX_ENTRIES, LEAST_ENTRY)?;
        let (entries, has_gap_token) = read_entries(&mut cursor, entry_count)?;
        let alignment = alignment(&entries)?;
        let tensors = read_tensors(&mut cursor, tensor_count)?;
        // No overflow: the position is at most the file's length, which an `i64` holds.
        let start = cursor.position().next_multiple_of(alignment);
        for tensor in &tensors {
            tensor
                .check_extent(start, alignment, cursor.length())
                .map_err(|fault| tensor_error(&tensor.name, fault))?;
        }
        Ok(Self {
            version,
            entries,
            tensors,
            data_start: start,
            has_gap_token,
        })
    }
}

fn read_version<R: Read + Seek>(cursor: &mut Cursor<R>) -> Result<u32, GgufError> {
    if cursor.remaining() == 0 {
        return Err(GgufError::Empty);
    }
    // A file that is cut within the magic is cut off; any other beginning is another format.
    let length = cursor.remaining().min(4);
    let magic = cursor.bytes(length, "the magic")?;
    if !b"GGUF".starts_with(&magic) {
        let start = quoted(&String::from_utf8_lossy(&magic));
        return Err(GgufError::NotGguf { start });
    }
    match cursor.u32("the version")? {
        version @ 2..=3 => Ok(version),
        version if version != 0 && version.trailing_zeros() >= 16 => Err(GgufError::BigEndian),
        version => Err(GgufError::Version(version)),
    }
}

/// Reads a count and refuses it if there cannot be as many: nothing is reserved for a lie.
fn read_count<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    what: &'static str,
    limit: u64,
    least: u64,
) -> Result<u64, GgufError> {
    let count = cursor.u64("the header")?;
    if count > limit {
        return Err(GgufError::TooMany { what, count, limit });
    }
    if count * least > cursor.remaining() {
        return Err(GgufError::Truncated {
            what: format!("a list of {count} {what}"),
            needed: count * least,
            available: cursor.remaining(),
        });
    }
    Ok(count)
}

fn read_entries<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    count: u64,
) -> Result<(BTreeMap<String, Value>, bool), GgufError> {
    let mut entries = BTreeMap::new();
    let mut bad_byte_token = None;
    let mut has_gap_token = false;
    for _ in 0..count {
        let key = read_name(cursor, "a metadata key", MAX_KEY)?;
        let holds_tokens = key == "tokenizer.ggml.tokens";
        let mut on_string = |index, text: &[u8]| {
            if !holds_tokens {
                return;
            }
            if bad_byte_token.is_none() && is_bad_byte_token(text) {
                bad_byte_token = Some((index, quoted(&String::from_utf8_lossy(text))));
            }
            has_gap_token = has_gap_token || GAP_TOKENS.iter().any(|gap| gap.as_bytes() == text);
        };
        let value = Value::read(cursor, &key, &mut on_string)?;
        if entries.contains_key(&key) {
            return Err(GgufError::DuplicateKey { key: quoted(&key) });
        }
        cursor.keep(size_of::<(String, Value)>() as u64)?;
        entries.insert(key, value);
    }
    // In a GPT-2 vocabulary bytes have another form, and `<0x%s>` is a text like any other.
    let is_gpt2 = entries.get("tokenizer.ggml.model").and_then(Value::as_str) == Some("gpt2");
    match bad_byte_token {
        Some((index, token)) if !is_gpt2 => Err(GgufError::ByteToken { token, index }),
        _ => Ok((entries, has_gap_token)),
    }
}

/// Whether a token looks like `<0xFF>` without naming a byte. llama.cpp takes what is between for
/// the index of a table.
fn is_bad_byte_token(token: &[u8]) -> bool {
    match token {
        [b'<', b'0', b'x', high, low, b'>'] => {
            !(high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
        }
        _ => false,
    }
}

fn alignment(entries: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let key = "general.alignment";
    let Some(value) = entries.get(key) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let alignment = value.as_u64().ok_or_else(|| GgufError::WrongType {
        key: quoted(key),
        expected: "a number",
        found: value.kind(),
    })?;
    // The format stores it in 32 bits; the bound also keeps sums with it from overflowing.
    if !alignment.is_power_of_two() || u32::try_from(alignment).is_err() {
        return Err(GgufError::Alignment(alignment));
    }
    Ok(alignment)
}

fn read_tensors<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    count: u64,
) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::with_capacity(count as usize);
    for _ in 0..count {
        tensors.push(read_tensor(cursor)?);
    }
    let mut seen = HashSet::with_capacity(tensors.len());
    match tensors.iter().find(|tensor| !seen.insert(&tensor.name)) {
        Some(twice) => Err(tensor_error(&twice.name, TensorFault::Duplicate)),
        None => Ok(tensors),
    }
}

fn read_tensor<R: Read + Seek>(cursor: &mut Cursor<R>) -> Result<TensorInfo, GgufError> {
    let what = "the tensor table";
    let name = read_name(cursor, "a tensor's name", MAX_TENSOR_NAME)?;
    let count = cursor.u32(what)?;
    let mut dims = [1; 4];
    let used = dims
        .get_mut(..count as usize)
        .ok_or_else(|| tensor_error(&name, TensorFault::Dimensions(count)))?;
    for dim in used {
        *dim = cursor.u64(what)?;
    }
    let tensor = TensorInfo {
        name,
        dims,
        kind: TensorType::new(cursor.u32(what)?),
        offset: cursor.u64(what)?,
    };
    tensor
        .check_shape()
        .map_err(|fault| tensor_error(&tensor.name, fault))?;
    Ok(tensor)
}

fn read_name<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    what: &'static str,
    limit: u64,
) -> Result<String, GgufError> {
    let length = cursor.u64(what)?;
    if length > limit {
        return Err(GgufError::TooLong {
            what,
            length,
            limit,
        });
    }
    let bytes = cursor.bytes(length, what)?;
    String::from_utf8(bytes).map_err(|_| GgufError::NotUtf8 { what })
}

fn tensor_error(name: &str, fault: TensorFault) -> GgufError {
    GgufError::Tensor {
        name: quoted(name),
        fault,
    }
}
