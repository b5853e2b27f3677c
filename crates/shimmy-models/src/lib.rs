//! Model files: reading GGUF metadata, finding models and adapters in folders, naming them. Owns
//! what is known about a file before an engine loads it, and (in [`hub`]) how one is downloaded; must
//! not know llama.cpp, how models are served, or environment variables (the caller passes their
//! values in).
//!
//! Everything in a model file is untrusted: no length in it is believed before it is checked
//! against the file's size and a fixed limit.

mod adapter;
mod aliases;
mod capability;
mod discovery;
mod error;
mod facts;
mod files;
pub mod gguf;
mod header_cache;
pub mod hub;
mod hub_path;
mod locate;
mod model;
pub mod names;
mod ollama;
mod packages;
mod projector;
mod remove;
mod roots;
mod serial;
mod sha256;
mod shards;
mod text;
mod walk;

pub use adapter::{AdapterFile, BaseMismatch};
pub use aliases::{AliasError, Aliases};
pub use capability::Capability;
pub use discovery::{Discovery, discover};
pub use error::ModelError;
pub use gguf::{GgufError, Metadata};
pub use locate::OutsideFolders;
pub use model::{ModelFile, Summary};
pub use names::{NameError, is_called, resolve, resolve_among};
pub use ollama::{Companions, ManifestError};
pub use packages::{NewBlob, PackageError, Packages, Part, PartKind};
pub use projector::ProjectorFile;
pub use remove::{Removal, RemoveError};
pub use roots::{Elsewhere, RootSettings, Roots, Source};
pub use walk::{Problem, ProblemReason};
