//! GGUF files: what their header says. Owns the bounded reading of untrusted bytes; must not know
//! file names, folders or engines.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod cursor;
mod error;
mod file_type;
mod header;
mod metadata;
mod tensor;
mod value;

pub use error::{GgufError, TensorFault};
pub use metadata::{FileKind, Metadata, Split};
pub use tensor::{TensorInfo, TensorType};
pub use value::{Value, ValueType};
