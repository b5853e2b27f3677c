//! GGUF files that are broken on purpose, each in one way. Owns the list of ways; must not know
//! what a reader says about them.

use crate::gguf::{Bytes, Tensor, TensorType, Value, Writer};

/// A broken file.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What is wrong, as an identifier for messages and file names.
    pub name: &'static str,
    /// The file's content.
    pub bytes: Vec<u8>,
}

type Make = fn() -> Vec<u8>;

/// Every broken file there is; each must be refused quickly, without a panic and without allocating
/// what the file claims to need.
pub fn all() -> Vec<Broken> {
    let files: [(&'static str, Make); 29] = [
        ("empty", Vec::new),
        ("not-gguf", not_gguf),
        ("bad-magic", bad_magic),
        ("version-1", || with_version(1)),
        ("version-from-the-future", || with_version(99)),
        ("big-endian", big_endian),
        ("cut-header", || cut(&smallest(), 20)),
        ("cut-data", || cut(&smallest(), smallest().len() - 33)),
        ("absurd-tensor-count", absurd_tensor_count),
        ("absurd-key-count", absurd_key_count),
        ("absurd-string-length", absurd_string_length),
        ("absurd-key-length", absurd_key_length),
        ("absurd-array-length", absurd_array_length),
        ("nested-array", nested_array),
        ("unknown-value-type", unknown_value_type),
        ("duplicate-key", duplicate_key),
        ("no-architecture", no_architecture),
        ("architecture-of-wrong-type", architecture_of_wrong_type),
        ("alignment-zero", || with_alignment(Value::U32(0))),
        ("alignment-not-a-power-of-two", || {
            with_alignment(Value::U32(48))
        }),
        ("alignment-of-wrong-type", || {
            with_alignment(Value::from("32"))
        }),
        ("too-many-layers", too_many_layers),
        ("byte-token-not-hexadecimal", byte_token_not_hexadecimal),
        ("five-dimensions", || with_tensor(&[1, 1, 1, 1, 1], 0, 0)),
        ("dimensions-wrap", || with_tensor(&[1 << 32, 1 << 32], 0, 0)),
        ("tensor-beyond-the-end", || with_tensor(&[1 << 20], 0, 0)),
        ("tensor-offset-beyond-the-end", || {
            with_tensor(&[4], 0, 1 << 62)
        }),
        ("misaligned-tensor", || with_tensor(&[4], 0, 4)),
        ("duplicate-tensor", duplicate_tensor),
    ];
    let broken = |(name, make): (&'static str, Make)| Broken {
        name,
        bytes: make(),
    };
    files.into_iter().map(broken).collect()
}

/// The first `length` bytes of a file.
pub fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes[..length.min(bytes.len())].to_vec()
}

/// A zip file's beginning under a GGUF's name.
pub fn not_gguf() -> Vec<u8> {
    b"PK\x03\x04\x14\0\0\0\x08\0 and the rest of an archive".to_vec()
}

/// The predecessor's magic in front of an otherwise valid file.
pub fn bad_magic() -> Vec<u8> {
    let mut bytes = smallest();
    bytes[..4].copy_from_slice(b"GGML");
    bytes
}

/// A valid file but for its version.
pub fn with_version(version: u32) -> Vec<u8> {
    let mut bytes = smallest();
    bytes[4..8].copy_from_slice(&version.to_le_bytes());
    bytes
}

/// A file whose version is stored in the other byte order, as on big-endian machines.
pub fn big_endian() -> Vec<u8> {
    with_version(3_u32.swap_bytes())
}

/// 2^63 tensors.
pub fn absurd_tensor_count() -> Vec<u8> {
    let mut bytes = smallest();
    bytes[8..16].copy_from_slice(&(1_u64 << 63).to_le_bytes());
    bytes
}

/// 2^61 metadata entries.
pub fn absurd_key_count() -> Vec<u8> {
    let mut bytes = smallest();
    bytes[16..24].copy_from_slice(&(1_u64 << 61).to_le_bytes());
    bytes
}

/// A string of 2^60 bytes.
pub fn absurd_string_length() -> Vec<u8> {
    let mut out = Bytes::header(0, 1);
    out.string("general.architecture");
    out.u32(8);
    out.u64(1 << 60);
    out.raw(b"llama");
    out.0
}

/// A key of nearly 2^64 bytes: its end wraps around.
pub fn absurd_key_length() -> Vec<u8> {
    let mut out = Bytes::header(0, 1);
    out.u64(u64::MAX - 8);
    out.raw(b"general.architecture");
    out.0
}

/// An array of 2^62 numbers of 4 bytes: its size wraps to 0.
pub fn absurd_array_length() -> Vec<u8> {
    let mut out = Bytes::header(0, 1);
    out.string("tokenizer.ggml.token_type");
    out.u32(9);
    out.u32(5);
    out.u64(1 << 62);
    out.0
}

/// An array of arrays, which the format's readers need recursion for.
pub fn nested_array() -> Vec<u8> {
    let mut out = Bytes::header(0, 1);
    out.string("nested");
    out.u32(9);
    out.u32(9);
    out.u64(1);
    out.0
}

/// A value of a type that does not exist.
pub fn unknown_value_type() -> Vec<u8> {
    let mut out = Bytes::header(0, 1);
    out.string("odd");
    out.u32(77);
    out.u64(0);
    out.0
}

/// Two entries with one key.
pub fn duplicate_key() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    writer.metadata("general.architecture", "llama").to_bytes()
}

/// No `general.architecture`.
pub fn no_architecture() -> Vec<u8> {
    Writer::new().metadata("general.name", "nobody").to_bytes()
}

/// `general.architecture` as a number.
pub fn architecture_of_wrong_type() -> Vec<u8> {
    Writer::new()
        .metadata("general.architecture", 7_u32)
        .to_bytes()
}

/// Any `general.alignment`.
pub fn with_alignment(alignment: Value) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    writer.metadata("general.alignment", alignment).to_bytes()
}

/// More layers than llama.cpp has room for; it would abort the process.
pub fn too_many_layers() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    writer.metadata("llama.block_count", 513_u32).to_bytes()
}

/// A byte token `<0x-1>`: as a number, an index outside of any table of 256 bytes.
pub fn byte_token_not_hexadecimal() -> Vec<u8> {
    let tokens = ["<unk>", "<0x00>", "<0x-1>"].map(str::to_owned).to_vec();
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "plamo2");
    writer.metadata("tokenizer.ggml.model", "plamo2");
    writer.metadata("tokenizer.ggml.tokens", Value::Strings(tokens));
    writer.to_bytes()
}

/// One tensor as described, and 64 bytes of data.
pub fn with_tensor(dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = Bytes::header(1, 1);
    out.string("general.architecture");
    out.u32(8);
    out.string("llama");
    out.tensor_info("token_embd.weight", dims, kind, offset);
    let start = out.0.len().next_multiple_of(32);
    out.0.resize(start + 64, 0);
    out.0
}

/// Two tensors with one name.
pub fn duplicate_tensor() -> Vec<u8> {
    let tensor = Tensor::new("token_embd.weight", &[8], TensorType::F32, &[0.0; 8]);
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    writer.tensor(tensor.clone()).tensor(tensor).to_bytes()
}

/// A valid file to spoil: one key, one tensor of 32 bytes.
fn smallest() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    let values = [0.0; 16];
    writer.tensor(Tensor::new(
        "token_embd.weight",
        &[16],
        TensorType::F32,
        &values,
    ));
    writer.to_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{all, smallest};

    #[test]
    fn every_file_has_its_own_name_and_content() {
        let files = all();
        assert_eq!(
            files.iter().map(|f| f.name).collect::<HashSet<_>>().len(),
            files.len()
        );
        assert_eq!(
            files.iter().map(|f| &f.bytes).collect::<HashSet<_>>().len(),
            files.len()
        );
        assert!(files.iter().all(|file| file.bytes != smallest()));
    }
}
