//! A loaded model: plan and weights, shared by all runners. Owns opening; must not know sequences.

mod encoder;
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

use shimmy_engine::Pooling;
use shimmy_models::Metadata;
use shimmy_models::gguf::FileKind;

use crate::error::{Fault, OpenError, Unsupported};
use crate::kernels::{CELLS, CacheType, Level};
use crate::plan::{Described, EncoderPlan, Plan, PlanError};
use crate::pool::Pool;
use crate::step::Stepper;
use crate::threads::physical_cores;
use crate::tokenizer::NativeTokenizer;

pub(crate) use encoder::{EncoderLayer, EncoderWeights, Norm};
pub(crate) use file::ModelFile;
use load::{Embeddings, LoadError, Loading, Wanted};
pub(crate) use load::{Linear, Origin};
use packed::Place;
pub use packed::kept_weights;
use sources::{EncoderSources, Sources};
pub(crate) use weights::{Layer, RopeFactors, Weights};

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
    pub(crate) network: Network,
    /// Where each matrix came from, by its number.
    pub(crate) origins: Vec<Origin>,
    pub(crate) level: Level,
}

/// What a model computes, and with what.
#[derive(Debug, Clone)]
pub(crate) enum Network {
    /// It continues texts, and makes vectors of them on the side.
    Decoder(Arc<Decoder>),
    /// It makes vectors of texts.
    Encoder(Arc<Encoder>),
}

/// A decoder's plan and weights.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) plan: Plan,
    pub(crate) weights: Weights<Linear, Vec<f32>>,
    embeddings: Embeddings,
}

/// An encoder's plan and weights.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) plan: EncoderPlan,
    pub(crate) weights: EncoderWeights<Linear, Vec<f32>>,
    pub(crate) embeddings: Embeddings,
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
        Ok(found) => {
            let wanted = found.wanted();
            let kinds = wanted.matrices.iter().map(|matrix| matrix.kind);
            Ok(Support {
                weights: wanted.size(metadata) + wanted.vector_bytes(metadata),
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
    let found = examine(&metadata).map_err(|error| match error {
        PlanError::Unsupported(unsupported) => OpenError::Unsupported(unsupported),
        PlanError::Fault(fault) => invalid(fault),
    })?;
    let file = ModelFile::open(path).map_err(io)?;
    let wanted = found.wanted();
    let (loaded, tokenizer) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| NativeTokenizer::new(&metadata, file.bytes()));
        let mut pool = Pool::new(options.threads.unwrap_or_else(physical_cores));
        let folder = options.packed.as_ref();
        let length = wanted.size(&metadata) as usize;
        let place = folder.and_then(|folder| Place::of(folder, path, length));
        let loaded = load::load(
            &mut pool,
            &file,
            &metadata,
            &wanted,
            place.as_ref(),
            progress,
        );
        (loaded, tokenizer.join())
    });
    let load_error = |error| match error {
        LoadError::Io(error) => io(error),
        LoadError::Short => invalid(Fault::Shape("the file".to_owned())),
        LoadError::Stopped => OpenError::Cancelled {
            path: path.to_owned(),
        },
    };
    let mut loading = loaded.map_err(load_error)?;
    let network = found.load(&mut loading).map_err(load_error)?;
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
        network,
        origins: wanted.origins(),
        level: Level::detect(),
    };
    Ok((Arc::new(model), tokenizer))
}

/// A model in a file: its plan and where its weights are.
enum Found {
    Decoder(Plan, Sources),
    Encoder(EncoderPlan, EncoderSources),
}

fn examine(metadata: &Metadata) -> Result<Found, PlanError> {
    if metadata.file_kind() != FileKind::Model {
        return Err(Unsupported::File("a file that is no model").into());
    }
    if metadata.split().is_some() {
        return Err(Unsupported::File("a model in several files").into());
    }
    let found = match Described::read(metadata)? {
        Described::Decoder(plan) => {
            let sources = sources::find(&plan, metadata)?;
            Found::Decoder(plan, sources)
        }
        Described::Encoder(plan) => {
            let sources = sources::find_encoder(&plan, metadata)?;
            Found::Encoder(plan, sources)
        }
    };
    NativeTokenizer::supports(metadata)?;
    Ok(found)
}

impl Found {
    fn wanted(&self) -> Wanted {
        match self {
            Self::Decoder(_, sources) => Wanted {
                matrices: sources.matrices().cloned().collect(),
                embedding: sources.embedding,
                embedding_kind: sources.embedding_kind,
            },
            Self::Encoder(_, sources) => Wanted {
                matrices: sources.matrices().cloned().collect(),
                embedding: sources.embedding,
                embedding_kind: sources.embedding_kind,
            },
        }
    }

    fn load(self, loading: &mut Loading<'_>) -> Result<Network, LoadError> {
        let embeddings = loading.embeddings();
        Ok(match self {
            Self::Decoder(plan, sources) => Network::Decoder(Arc::new(Decoder {
                plan,
                weights: sources.convert(loading)?,
                embeddings,
            })),
            Self::Encoder(plan, sources) => Network::Encoder(Arc::new(Encoder {
                plan,
                weights: sources.convert(loading)?,
                embeddings,
            })),
        })
    }
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
        match &self.network {
            Network::Decoder(decoder) => decoder.plan.context,
            Network::Encoder(encoder) => encoder.plan.context,
        }
    }

    /// Bytes that one token takes in a cache of this type; none of an encoder, which keeps nothing of a
    /// text.
    pub fn bytes_per_cell(&self, kind: CacheType) -> u64 {
        match &self.network {
            Network::Decoder(decoder) => {
                (Stepper::shape(&decoder.plan, kind).block() / CELLS) as u64
            }
            Network::Encoder(_) => 0,
        }
    }

    /// Length of a row of logits.
    pub fn vocabulary(&self) -> usize {
        match &self.network {
            Network::Decoder(decoder) => decoder.plan.vocabulary,
            Network::Encoder(encoder) => encoder.plan.vocabulary,
        }
    }

    /// How a text becomes a vector.
    pub(crate) fn pooling(&self) -> Pooling {
        match &self.network {
            Network::Decoder(decoder) => decoder.plan.pooling,
            Network::Encoder(encoder) => encoder.plan.pooling,
        }
    }
}

impl Decoder {
    /// Writes the embedding of a token, which is in the vocabulary.
    pub(crate) fn embed(&self, token: usize, out: &mut [f32]) {
        self.embeddings.write(token, out);
        if self.plan.scales.embedding != 1.0 {
            out.iter_mut()
                .for_each(|value| *value *= self.plan.scales.embedding);
        }
    }
}
