//! What can be wrong with a GGUF file. Owns the public text of each fault; must not know paths
//! (the caller adds the file's name).

use std::io;

use super::ValueType;

/// Why a file was refused. Texts from the file are shortened and escaped before they get here.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file does not begin with the magic.
    #[error("not a GGUF file: it starts with {start}, not with \"GGUF\"")]
    NotGguf {
        /// The file's first bytes, quoted.
        start: String,
    },
    /// The file has no content at all.
    #[error("not a GGUF file: it is empty")]
    Empty,
    /// A version of the format before or after those that are understood.
    #[error("GGUF version {0} is not supported; versions 2 and 3 are")]
    Version(u32),
    /// A file for machines of the other byte order.
    #[error("the file is big-endian; only little-endian GGUF files are supported")]
    BigEndian,
    /// The file ends before something that it announces.
    #[error("the file is cut off: {what} needs {needed} more bytes, {available} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// How many bytes it takes.
        needed: u64,
        /// How many bytes the file still has.
        available: u64,
    },
    /// A count above its limit.
    #[error("the file announces {count} {what}; at most {limit} are accepted")]
    TooMany {
        /// What is counted, in the plural.
        what: &'static str,
        /// How many there are said to be.
        count: u64,
        /// How many are accepted.
        limit: u64,
    },
    /// A text above its limit.
    #[error("{what} is {length} bytes long; at most {limit} are accepted")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it is said to be.
        length: u64,
        /// How long it may be.
        limit: u64,
    },
    /// A value of no known type.
    #[error("the value of {key} has the unknown type {number}")]
    UnknownValueType {
        /// The entry's key, quoted.
        key: String,
        /// The type's number.
        number: u32,
    },
    /// An array of arrays.
    #[error("the value of {key} is an array of arrays, which no GGUF file needs")]
    NestedArray {
        /// The entry's key, quoted.
        key: String,
    },
    /// A text that is not UTF-8 where only UTF-8 makes sense.
    #[error("{what} is not UTF-8 text")]
    NotUtf8 {
        /// What should have been text.
        what: &'static str,
    },
    /// Two metadata entries of one key.
    #[error("the key {key} occurs twice")]
    DuplicateKey {
        /// The key, quoted.
        key: String,
    },
    /// An entry that every file must have is absent.
    #[error("the key \"{0}\" is missing")]
    MissingKey(&'static str),
    /// A well-known entry has a type that its readers cannot use.
    #[error("the key {key} should be {expected} and is {found}")]
    WrongType {
        /// The key, quoted.
        key: String,
        /// What the key holds in a proper file.
        expected: &'static str,
        /// What it holds in this one.
        found: ValueType,
    },
    /// The data's alignment is no power of two.
    #[error("the alignment of the tensor data is {0}, not a power of two")]
    Alignment(u64),
    /// More layers than the engines have room for.
    #[error("the model has {layers} layers; at most {limit} are supported")]
    TooManyLayers {
        /// How many there are said to be.
        layers: u64,
        /// How many are accepted.
        limit: u64,
    },
    /// A token that should stand for one byte and does not.
    #[error("the token {token} at {index} is not a byte between <0x00> and <0xFF>")]
    ByteToken {
        /// The token, quoted.
        token: String,
        /// Its place in the vocabulary.
        index: u64,
    },
    /// An entry of the tensor table makes no sense.
    #[error("tensor {name}: {fault}")]
    Tensor {
        /// The tensor's name, quoted.
        name: String,
        /// What is wrong with it.
        fault: TensorFault,
    },
    /// The operating system could not read the file.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What is wrong with an entry of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorFault {
    /// More dimensions than the format has.
    #[error("it has {0} dimensions; at most 4 are possible")]
    Dimensions(u32),
    /// The number of elements, or of bytes, does not fit 63 bits.
    #[error("its dimensions multiply to more than any file can hold")]
    Overflow,
    /// A row is not a whole number of quantised blocks.
    #[error("its rows of {row} elements are not whole blocks of {block}")]
    PartialBlock {
        /// The length of a row.
        row: u64,
        /// The length of a block.
        block: u64,
    },
    /// The data starts between two multiples of the alignment.
    #[error("its data starts at {offset}, not at a multiple of {alignment}")]
    Misaligned {
        /// Where the data starts, from the beginning of all data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// The data ends after the file does.
    #[error("the file is cut off: the data ends at byte {end} and the file at {length}")]
    BeyondEnd {
        /// Where the data ends, or starts if its size is unknown.
        end: u64,
        /// The length of the file.
        length: u64,
    },
    /// The name was used before.
    #[error("the name occurs twice")]
    Duplicate,
}
