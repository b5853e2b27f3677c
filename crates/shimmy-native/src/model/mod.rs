//! A loaded model: plan and weights, shared by all runners. Owns opening; must not know sequences.

mod file;
mod load;
// Mapped files whose room can be taken beforehand are there on Linux alone.
#[cfg_attr(not(target_os = "linux"), path = "packed_nowhere.rs")]
mod packed;
mod sources;
mod verified;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shimmy_models::Metadata;
use shimmy_models::gguf::FileKind;

use crate::error::{Fault, OpenError, Unsupported};
use crate::kernels::{CELLS, CacheType, Level};
use crate::plan::{Plan, PlanError};
use crate::pool::Pool;
use crate::quant::{self, Kind};
use crate::step::Stepper;
use crate::threads::physical_cores;
use crate::tokenizer::NativeTokenizer;

pub(crate) use file::ModelFile;
use load::{Embeddings, LoadError};
pub(crate) use load::{Linear, Loaded, Origin};
use packed::Place;
pub use packed::kept_weights;
pub(crate) use weights::{Layer, RopeFactors};

/// How a model is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Threads that pack the weights; one for each physical core by default.
    pub threads: Option<usize>,
    /// Where packed weights are kept from one load to the next, so that they need not be packed again
    /// and take no memory of the process; nowhere by default. Used on Linux alone.
    pub packed: Option<PackedFolder>,
}

/// A folder of packed weights, bounded in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFolder {
    /// The folder; it is made when it is needed.
    pub path: PathBuf,
    /// Bytes of all files in it; what was used least recently is removed.
    pub most_bytes: u64,
    /// Bytes of weights that are worth a file.
    pub least_bytes: u64,
}

/// A model in memory, shared by the runners that compute with it.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    architecture: String,
    pub(crate) plan: Plan,
    pub(crate) weights: Loaded,
    /// Where each matrix came from, by its number.
    pub(crate) origins: Vec<Origin>,
    embeddings: Embeddings,
    pub(crate) level: Level,
}

/// A model that this engine can run, by its header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Support {
    /// Bytes that its weights take in memory, those of the embeddings included.
    pub weights: u64,
    /// Whether models of this architecture with these formats have been compared with llama.cpp.
    pub is_verified: bool,
}

/// Whether this engine can run a model, from its header alone. Takes a millisecond at most.
pub fn supports(metadata: &Metadata) -> Result<Support, Unsupported> {
    match examine(metadata) {
        Ok((_, sources)) => {
            let kinds = sources.matrices().map(|matrix| matrix.kind);
            Ok(Support {
                weights: load::size(metadata, &sources),
                is_verified: verified::is_verified(metadata, kinds),
            })
        }
        // What is wrong with the file, opening it says.
        Err(PlanError::Fault(_)) => Ok(Support::default()),
        Err(PlanError::Unsupported(unsupported)) => Err(unsupported),
    }
}

/// Loads a model and its tokenizer. Blocks until the weights are read and packed; an
/// [`Unsupported`] one is refused before.
pub fn open(path: &Path, options: &Options) -> Result<(Arc<Model>, NativeTokenizer), OpenError> {
    open_with_progress(path, options, &mut |_| true)
}

/// The same. `progress` is told how much is done, 0 to 1, and says whether to go on.
pub fn open_with_progress(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<(Arc<Model>, NativeTokenizer), OpenError> {
    let io = |error| OpenError::Io {
        path: path.to_owned(),
        error,
    };
    let invalid = |reason| OpenError::Invalid {
        path: path.to_owned(),
        reason,
    };
    let metadata = Metadata::open(path).map_err(|error| OpenError::Gguf {
        path: path.to_owned(),
        error,
    })?;
    let (plan, sources) = examine(&metadata).map_err(|error| match error {
        PlanError::Unsupported(unsupported) => OpenError::Unsupported(unsupported),
        PlanError::Fault(fault) => invalid(fault),
    })?;
    let file = ModelFile::open(path).map_err(io)?;
    let (loaded, tokenizer) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| NativeTokenizer::new(&metadata, file.bytes()));
        let mut pool = Pool::new(options.threads.unwrap_or_else(physical_cores));
        let folder = options.packed.as_ref();
        let length = load::size(&metadata, &sources) as usize;
        let place = folder.and_then(|folder| Place::of(folder, path, length));
        let loaded = load::load(
            &mut pool,
            &file,
            &metadata,
            sources,
            place.as_ref(),
            progress,
        );
        (loaded, tokenizer.join())
    });
    let loaded = loaded.map_err(|error| match error {
        LoadError::Io(error) => io(error),
        LoadError::Short => invalid(Fault::Shape("the file".to_owned())),
        LoadError::Stopped => OpenError::Cancelled {
            path: path.to_owned(),
        },
    })?;
    let tokenizer = match tokenizer {
        Ok(tokenizer) => tokenizer.map_err(|error| match error {
            PlanError::Unsupported(unsupported) => OpenError::Unsupported(unsupported),
            PlanError::Fault(fault) => invalid(fault),
        })?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let model = Model {
        path: path.to_owned(),
        architecture: metadata.architecture().to_owned(),
        plan,
        weights: loaded.weights,
        origins: loaded.origins,
        embeddings: loaded.embeddings,
        level: Level::detect(),
    };
    Ok((Arc::new(model), tokenizer))
}

fn examine(metadata: &Metadata) -> Result<(Plan, sources::Sources), PlanError> {
    if metadata.file_kind() != FileKind::Model {
        return Err(Unsupported::File("a file that is no model").into());
    }
    if metadata.split().is_some() {
        return Err(Unsupported::File("a model in several files").into());
    }
    let plan = Plan::read(metadata)?;
    let sources = sources::find(&plan, metadata)?;
    NativeTokenizer::supports(metadata)?;
    Ok((plan, sources))
}

impl Model {
    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture, such as `llama`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Tokens of the context that the model was made for.
    pub fn context_length(&self) -> usize {
        self.plan.context
    }

    /// Bytes that one token takes in a cache of this type.
    pub fn bytes_per_cell(&self, kind: CacheType) -> u64 {
        (Stepper::shape(self, kind).block() / CELLS) as u64
    }

    /// Length of a row of logits.
    pub fn vocabulary(&self) -> usize {
        self.plan.vocabulary
    }

    /// Writes the embedding of a token, which is in the vocabulary.
    pub(crate) fn embed(&self, token: usize, out: &mut [f32]) {
        let kind: Kind = self.weights.embedding_kind;
        let bytes = kind.row_bytes(self.plan.width);
        quant::dequantize(kind, self.embeddings.row(token, bytes), out);
        if self.plan.scales.embedding != 1.0 {
            out.iter_mut()
                .for_each(|value| *value *= self.plan.scales.embedding);
        }
    }
}
