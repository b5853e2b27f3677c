//! Test material for Shimmy: tiny GGUF models and adapters that the real llama.cpp loads, and files
//! broken on purpose. Owns how those bytes are laid out; must not know any other crate of Shimmy, so
//! that a mistake in the reader cannot hide behind the same mistake in the writer.
//!
//! ```no_run
//! use shimmy_testkit::tiny;
//!
//! # fn main() -> std::io::Result<()> {
//! tiny::Model::new().context_length(512).write("tiny.gguf".as_ref())?;
//! tiny::Adapter::new().seed(7).write("pirate.gguf".as_ref())?;
//! # Ok(())
//! # }
//! ```

mod blocks;
pub mod broken;
pub mod gguf;
pub mod hub;
mod line;
mod random;
pub mod sha256;
mod tensor;
pub mod tiny;
