//! Writes GGUF v3 files. Owns the layout (counts, typed values, tensor table, alignment); must not
//! know what a model is. The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::path::Path;
use std::{fs, io};

pub use crate::tensor::{Tensor, TensorType};

/// The alignment of tensor data when `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// One metadata value; the arrays are the ones that tokenizers need.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An 8-bit unsigned number.
    U8(u8),
    /// An 8-bit signed number.
    I8(i8),
    /// A 16-bit unsigned number.
    U16(u16),
    /// A 16-bit signed number.
    I16(i16),
    /// A 32-bit unsigned number.
    U32(u32),
    /// A 32-bit signed number.
    I32(i32),
    /// A 32-bit float.
    F32(f32),
    /// A truth value, one byte.
    Bool(bool),
    /// UTF-8 text with a 64-bit length.
    String(String),
    /// An array of strings.
    Strings(Vec<String>),
    /// An array of strings that need not be UTF-8, as tokens need not.
    Texts(Vec<Vec<u8>>),
    /// An array of 32-bit signed numbers.
    I32s(Vec<i32>),
    /// An array of 32-bit unsigned numbers.
    U32s(Vec<u32>),
    /// An array of 32-bit floats.
    F32s(Vec<f32>),
    /// A 64-bit unsigned number.
    U64(u64),
    /// A 64-bit signed number.
    I64(i64),
    /// A 64-bit float.
    F64(f64),
}

/// The format's number for "array of".
const ARRAY: u32 = 9;

impl Value {
    /// The format's number for this type; for an array, that of its elements.
    fn type_number(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) | Self::U32s(_) => 4,
            Self::I32(_) | Self::I32s(_) => 5,
            Self::F32(_) | Self::F32s(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) | Self::Strings(_) | Self::Texts(_) => 8,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    fn put(&self, out: &mut Bytes) {
        match self {
            Self::Strings(items) => self.put_array(out, items.iter().map(spelled)),
            Self::Texts(items) => self.put_array(out, items.iter().map(spelled)),
            Self::I32s(items) => self.put_array(out, items.iter().map(|item| item.to_le_bytes())),
            Self::U32s(items) => self.put_array(out, items.iter().map(|item| item.to_le_bytes())),
            Self::F32s(items) => self.put_array(out, items.iter().map(|item| item.to_le_bytes())),
            scalar => {
                out.u32(scalar.type_number());
                scalar.put_scalar(out);
            }
        }
    }

    fn put_array(&self, out: &mut Bytes, items: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) {
        out.u32(ARRAY);
        out.u32(self.type_number());
        out.u64(items.len() as u64);
        for item in items {
            out.raw(item);
        }
    }

    fn put_scalar(&self, out: &mut Bytes) {
        match self {
            Self::U8(number) => out.raw(number.to_le_bytes()),
            Self::I8(number) => out.raw(number.to_le_bytes()),
            Self::U16(number) => out.raw(number.to_le_bytes()),
            Self::I16(number) => out.raw(number.to_le_bytes()),
            Self::U32(number) => out.raw(number.to_le_bytes()),
            Self::I32(number) => out.raw(number.to_le_bytes()),
            Self::F32(number) => out.raw(number.to_le_bytes()),
            Self::U64(number) => out.raw(number.to_le_bytes()),
            Self::I64(number) => out.raw(number.to_le_bytes()),
            Self::F64(number) => out.raw(number.to_le_bytes()),
            Self::Bool(truth) => out.raw([u8::from(*truth)]),
            Self::String(text) => out.string(text),
            Self::Strings(_) | Self::Texts(_) | Self::I32s(_) | Self::U32s(_) | Self::F32s(_) => {}
        }
    }
}

/// A string's length and bytes.
fn spelled(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Bytes(Vec::new());
    bytes.string(text);
    bytes.0
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::U32(number)
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Self {
        Self::F32(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

/// Builds one GGUF v3 file, entry by entry, in the order of the calls.
#[derive(Debug, Clone)]
pub struct Writer {
    alignment: u32,
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty file.
    pub fn new() -> Self {
        Self {
            alignment: DEFAULT_ALIGNMENT,
            metadata: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Appends a metadata entry.
    pub fn metadata(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Appends a tensor; its data follows the previous tensor's, padded to the alignment.
    pub fn tensor(&mut self, tensor: Tensor) -> &mut Self {
        self.tensors.push(tensor);
        self
    }

    /// Leaves out a tensor that was appended.
    pub fn without_tensor(&mut self, name: &str) -> &mut Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// Pads tensor data to `alignment` bytes, a power of two, and says so in `general.alignment`.
    pub fn alignment(&mut self, alignment: u32) -> &mut Self {
        self.alignment = alignment;
        self.metadata("general.alignment", alignment)
    }

    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        for tensor in &self.tensors {
            out.pad(self.alignment);
            out.raw(&tensor.data);
        }
        // The last tensor is padded too: llama.cpp counts the padding as part of the data.
        out.pad(self.alignment);
        out.0
    }

    /// How many bytes come before the padding of the first tensor: counts, metadata, tensor table.
    pub fn header_len(&self) -> usize {
        self.header().0.len()
    }

    /// Writes the file, replacing what was there.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.to_bytes())
    }

    fn header(&self) -> Bytes {
        let mut out = Bytes::header(self.tensors.len() as u64, self.metadata.len() as u64);
        for (key, value) in &self.metadata {
            out.string(key);
            value.put(&mut out);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            out.tensor_info(&tensor.name, &tensor.dims, tensor.kind.number(), offset);
            offset = (offset + tensor.data.len() as u64).next_multiple_of(self.alignment.into());
        }
        out
    }
}

/// The primitives of the format, little-endian; also what the deliberately broken files are made of.
#[derive(Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn header(tensors: u64, entries: u64) -> Self {
        let mut out = Self(b"GGUF".to_vec());
        out.u32(3);
        out.u64(tensors);
        out.u64(entries);
        out
    }

    pub(crate) fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.extend_from_slice(bytes.as_ref());
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.raw(number.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.raw(number.to_le_bytes());
    }

    pub(crate) fn string(&mut self, text: impl AsRef<[u8]>) {
        self.u64(text.as_ref().len() as u64);
        self.raw(text);
    }

    pub(crate) fn tensor_info(&mut self, name: &str, dims: &[u64], kind: u32, offset: u64) {
        self.string(name);
        self.u32(dims.len() as u32);
        for dim in dims {
            self.u64(*dim);
        }
        self.u32(kind);
        self.u64(offset);
    }

    fn pad(&mut self, alignment: u32) {
        let padded = self.0.len().next_multiple_of(alignment as usize);
        self.0.resize(padded, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Tensor, TensorType, Value, Writer};

    #[test]
    fn the_layout_is_the_documented_one_byte_for_byte() {
        let mut writer = Writer::new();
        writer.metadata("a", 7_u32).metadata("b", "hi");
        writer.tensor(Tensor::new("t", &[2], TensorType::F32, &[1.0, -1.0]));
        let mut expected = b"GGUF\x03\0\0\0".to_vec();
        expected.extend(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0a\x04\0\0\0\x07\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0b\x08\0\0\0\x02\0\0\0\0\0\0\0hi");
        expected.extend(b"\x01\0\0\0\0\0\0\0t\x01\0\0\0\x02\0\0\0\0\0\0\0");
        expected.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(writer.header_len(), expected.len());
        expected.resize(expected.len().next_multiple_of(32), 0);
        expected.extend(b"\0\0\x80\x3f\0\0\x80\xbf");
        expected.resize(expected.len().next_multiple_of(32), 0);
        assert_eq!(writer.to_bytes(), expected);
    }

    #[test]
    fn an_array_carries_its_element_type_and_length() {
        let mut writer = Writer::new();
        writer.metadata("k", Value::I32s(vec![-1, 2]));
        let bytes = writer.to_bytes();
        let value = &bytes[24 + 8 + 1..][..24];
        assert_eq!(&value[..16], b"\x09\0\0\0\x05\0\0\0\x02\0\0\0\0\0\0\0");
        assert_eq!(&value[16..], b"\xff\xff\xff\xff\x02\0\0\0");
    }

    #[test]
    fn tensors_start_at_multiples_of_the_alignment() {
        let mut writer = Writer::new();
        writer.alignment(64);
        for name in ["x", "y"] {
            writer.tensor(Tensor::new(name, &[1], TensorType::F32, &[0.5]));
        }
        let bytes = writer.to_bytes();
        let start = writer.header_len().next_multiple_of(64);
        assert_eq!(bytes.len(), start + 128);
        assert_eq!(bytes[start + 64..][..4], 0.5_f32.to_le_bytes());
    }
}
