//! Metadata values. Owns their types and how they are read; must not know any key's meaning.

use std::fmt;
use std::io::{Read, Seek};

use super::GgufError;
use super::cursor::Cursor;
use crate::text::quoted;

/// Arrays with more elements are skipped: they are vocabularies, not settings.
const ARRAY_LIMIT: u64 = 1024;
/// Longer strings are skipped: they are tokenizer files, not settings or templates.
const STRING_LIMIT: u64 = 1 << 20;
/// The longest strings of a skipped array that are shown: no token that anyone looks for is longer.
const SHOWN_LIMIT: usize = 19;

/// The type of a value as the file declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// An 8-bit unsigned number.
    U8,
    /// An 8-bit signed number.
    I8,
    /// A 16-bit unsigned number.
    U16,
    /// A 16-bit signed number.
    I16,
    /// A 32-bit unsigned number.
    U32,
    /// A 32-bit signed number.
    I32,
    /// A 32-bit float.
    F32,
    /// A truth value.
    Bool,
    /// A text.
    String,
    /// An array of one of the other types.
    Array,
    /// A 64-bit unsigned number.
    U64,
    /// A 64-bit signed number.
    I64,
    /// A 64-bit float.
    F64,
}

impl ValueType {
    fn from_number(number: u32) -> Option<Self> {
        use ValueType::{Array, Bool, F32, F64, I8, I16, I32, I64, String, U8, U16, U32, U64};
        const TYPES: [ValueType; 13] = [
            U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64,
        ];
        TYPES.get(usize::try_from(number).ok()?).copied()
    }

    /// The size of a value in bytes, where every value of the type has the same.
    fn size(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => "an unsigned number",
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => "a signed number",
            Self::F32 | Self::F64 => "a float",
            Self::Bool => "a truth value",
            Self::String => "a text",
            Self::Array => "an array",
        })
    }
}

/// A metadata value, or, of a large one, only its size.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An unsigned number of any width.
    Unsigned(u64),
    /// A signed number of any width.
    Signed(i64),
    /// A float of any width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text; what was not UTF-8 is replaced by `U+FFFD`.
    String(String),
    /// An array of at most 1024 elements.
    Array(Vec<Value>),
    /// A longer array, whose elements were not kept.
    LongArray {
        /// The type of the elements.
        kind: ValueType,
        /// How many there are.
        length: u64,
        /// Where the first element starts, in bytes from the beginning of the file.
        offset: u64,
    },
    /// A text above 1 MiB, which was not kept.
    LongString {
        /// Its length in bytes.
        length: u64,
    },
}

impl Value {
    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is a whole one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The number, if this is a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The number of elements, if this is an array, kept or not.
    pub fn array_length(&self) -> Option<u64> {
        match self {
            Self::Array(items) => Some(items.len() as u64),
            Self::LongArray { length, .. } => Some(*length),
            _ => None,
        }
    }

    /// The type, in the widest form of its kind.
    pub fn kind(&self) -> ValueType {
        match self {
            Self::Unsigned(_) => ValueType::U64,
            Self::Signed(_) => ValueType::I64,
            Self::Float(_) => ValueType::F64,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) | Self::LongString { .. } => ValueType::String,
            Self::Array(_) | Self::LongArray { .. } => ValueType::Array,
        }
    }

    /// Reads a value and its type. `on_string` is shown the strings of an array that are at most 19
    /// bytes long, as the tokens are that anyone looks for, with their index; longer ones may be
    /// skipped unseen.
    pub(super) fn read<R: Read + Seek>(
        cursor: &mut Cursor<R>,
        key: &str,
        on_string: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Self, GgufError> {
        let what = format!("the value of {}", quoted(key));
        match read_type(cursor, key, &what)? {
            ValueType::Array => read_array(cursor, key, &what, on_string),
            kind => read_single(cursor, kind, &what),
        }
    }
}

fn read_type<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    key: &str,
    what: &str,
) -> Result<ValueType, GgufError> {
    let number = cursor.u32(what)?;
    ValueType::from_number(number).ok_or_else(|| GgufError::UnknownValueType {
        key: quoted(key),
        number,
    })
}

fn read_single<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    kind: ValueType,
    what: &str,
) -> Result<Value, GgufError> {
    Ok(match kind {
        ValueType::U8 => Value::Unsigned(u8::from_le_bytes(cursor.array(what)?).into()),
        ValueType::I8 => Value::Signed(i8::from_le_bytes(cursor.array(what)?).into()),
        ValueType::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array(what)?).into()),
        ValueType::I16 => Value::Signed(i16::from_le_bytes(cursor.array(what)?).into()),
        ValueType::U32 => Value::Unsigned(u32::from_le_bytes(cursor.array(what)?).into()),
        ValueType::I32 => Value::Signed(i32::from_le_bytes(cursor.array(what)?).into()),
        ValueType::F32 => Value::Float(f32::from_le_bytes(cursor.array(what)?).into()),
        ValueType::Bool => Value::Bool(cursor.array::<1>(what)? != [0]),
        ValueType::U64 => Value::Unsigned(u64::from_le_bytes(cursor.array(what)?)),
        ValueType::I64 => Value::Signed(i64::from_le_bytes(cursor.array(what)?)),
        ValueType::F64 => Value::Float(f64::from_le_bytes(cursor.array(what)?)),
        ValueType::String => read_string(cursor, what)?,
        // Arrays are read by `read_array`, which refuses arrays of arrays.
        ValueType::Array => Value::Array(Vec::new()),
    })
}

fn read_string<R: Read + Seek>(cursor: &mut Cursor<R>, what: &str) -> Result<Value, GgufError> {
    let length = cursor.u64(what)?;
    if length > STRING_LIMIT {
        cursor.skip(length, what)?;
        return Ok(Value::LongString { length });
    }
    let bytes = cursor.bytes(length, what)?;
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Value::String(text))
}

fn read_array<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    key: &str,
    what: &str,
    on_string: &mut dyn FnMut(u64, &[u8]),
) -> Result<Value, GgufError> {
    let kind = read_type(cursor, key, what)?;
    let length = cursor.u64(what)?;
    if kind == ValueType::Array {
        return Err(GgufError::NestedArray { key: quoted(key) });
    }
    // An element takes at least its fixed size, or a string's length field: a count that cannot
    // fit is refused before the loop, and the product below cannot overflow.
    let least = kind.size().unwrap_or(8);
    if length > cursor.remaining() / least {
        return Err(GgufError::Truncated {
            what: what.to_owned(),
            needed: length.saturating_mul(least),
            available: cursor.remaining(),
        });
    }
    let offset = cursor.position();
    match kind.size() {
        Some(size) if length > ARRAY_LIMIT => cursor.skip(length * size, what)?,
        None if length > ARRAY_LIMIT => skip_strings(cursor, length, what, on_string)?,
        _ => return read_items(cursor, kind, length, what, on_string),
    }
    Ok(Value::LongArray {
        kind,
        length,
        offset,
    })
}

fn read_items<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    kind: ValueType,
    length: u64,
    what: &str,
    on_string: &mut dyn FnMut(u64, &[u8]),
) -> Result<Value, GgufError> {
    cursor.keep(length * size_of::<Value>() as u64)?;
    let mut items = Vec::with_capacity(length as usize);
    for index in 0..length {
        let item = read_single(cursor, kind, what)?;
        if let Value::String(text) = &item {
            on_string(index, text.as_bytes());
        }
        items.push(item);
    }
    Ok(Value::Array(items))
}

fn skip_strings<R: Read + Seek>(
    cursor: &mut Cursor<R>,
    count: u64,
    what: &str,
    on_string: &mut dyn FnMut(u64, &[u8]),
) -> Result<(), GgufError> {
    let mut shown = [0; SHOWN_LIMIT];
    for index in 0..count {
        let length = cursor.u64(what)?;
        let text = usize::try_from(length)
            .ok()
            .and_then(|length| shown.get_mut(..length));
        match text {
            Some(text) => {
                cursor.fill(text, what)?;
                on_string(index, text);
            }
            None => cursor.skip(length, what)?,
        }
    }
    Ok(())
}
