//! The long arrays of a vocabulary, which the reader of headers leaves in the file. Owns their bytes;
//! must not know what they mean.

use shimmy_models::Metadata;
use shimmy_models::gguf::{Value, ValueType};

use crate::error::Fault;

/// Many texts in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] as usize,
        };
        &self.bytes[start..self.ends[index] as usize]
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        // Headers are shorter than 4 GiB.
        self.ends.push(self.bytes.len() as u32);
    }
}

/// The array of texts of this key; none if there is no such entry.
pub(super) fn texts(metadata: &Metadata, file: &[u8], key: &str) -> Result<Option<Texts>, Fault> {
    let fault = || Fault::Key(key.to_owned());
    let mut texts = Texts::default();
    match metadata.get(key) {
        None => return Ok(None),
        Some(Value::Array(items)) => {
            for item in items {
                texts.push(item.as_str().ok_or_else(fault)?.as_bytes());
            }
        }
        Some(Value::LongArray {
            kind: ValueType::String,
            length,
            offset,
        }) => {
            let mut rest = usize::try_from(*offset)
                .ok()
                .and_then(|offset| file.get(offset..));
            // The reader has walked the array, so its length is no lie.
            texts.ends.reserve(*length as usize);
            texts.bytes.reserve(*length as usize * 8);
            for _ in 0..*length {
                let (size, after) = rest
                    .and_then(|rest| rest.split_at_checked(8))
                    .ok_or_else(fault)?;
                let size = size.try_into().map_or(u64::MAX, u64::from_le_bytes);
                let size = usize::try_from(size).map_err(|_| fault())?;
                let (text, after) = after.split_at_checked(size).ok_or_else(fault)?;
                texts.push(text);
                rest = Some(after);
            }
        }
        Some(_) => return Err(fault()),
    }
    Ok(Some(texts))
}

/// The array of numbers of this key, whole ones or floats; none if there is no such entry.
pub(super) fn numbers(
    metadata: &Metadata,
    file: &[u8],
    key: &str,
) -> Result<Option<Vec<f32>>, Fault> {
    let fault = || Fault::Key(key.to_owned());
    match metadata.get(key) {
        None => Ok(None),
        Some(Value::Array(items)) => {
            let number = |item: &Value| match item {
                Value::Signed(number) => Some(*number as f32),
                Value::Unsigned(number) => Some(*number as f32),
                Value::Float(number) => Some(*number as f32),
                _ => None,
            };
            let numbers = items.iter().map(number).collect::<Option<_>>();
            numbers.map(Some).ok_or_else(fault)
        }
        Some(Value::LongArray {
            kind,
            length,
            offset,
        }) => {
            let start = usize::try_from(*offset).map_err(|_| fault())?;
            let bytes = usize::try_from(*length)
                .ok()
                .and_then(|length| length.checked_mul(4));
            let end = bytes
                .and_then(|bytes| start.checked_add(bytes))
                .ok_or_else(fault)?;
            let data = file.get(start..end).ok_or_else(fault)?.chunks_exact(4);
            let words = data.map(|word| [word[0], word[1], word[2], word[3]]);
            match kind {
                ValueType::F32 => Ok(Some(words.map(f32::from_le_bytes).collect())),
                ValueType::I32 | ValueType::U32 => Ok(Some(
                    words.map(|word| i32::from_le_bytes(word) as f32).collect(),
                )),
                _ => Err(fault()),
            }
        }
        Some(_) => Err(fault()),
    }
}
