//! Weights from a file into memory: matrices are packed into tiles by all threads, in an arena of
//! large pages; vectors become floats. Owns the arena's layout.

use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};
use shimmy_models::Metadata;

use super::file::ModelFile;
use super::sources::{MatrixSource, Sources, VectorSource};
use super::weights::{Convert, Weights};
use crate::kernels::Matrix;
use crate::pool::Pool;
use crate::quant::{self, Kind, TILE, tile_bytes};

/// A matrix, and what is added to its products.
#[derive(Debug)]
pub(crate) struct Linear {
    /// Its number among the model's matrices.
    pub(crate) id: usize,
    pub(crate) matrix: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Where a matrix came from, for adapters.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) tensor: String,
    pub(crate) inputs: usize,
    /// Its rows of that tensor.
    pub(crate) rows: Range<usize>,
}

/// Weights as they are computed with.
pub(crate) type Loaded = Weights<Linear, Vec<f32>>;

/// Bytes of packed weights that one thread makes at a time.
const PIECE: usize = 1 << 20;

/// Pieces between two reports of progress: some 20 ms of work.
const PIECES: usize = 64;

/// Why there are no weights.
#[derive(Debug)]
pub(super) enum LoadError {
    Io(std::io::Error),
    /// The file is shorter than its header says.
    Short,
    /// They are not wanted any more.
    Stopped,
}

/// Bytes of all weights as they are held in memory.
pub(super) fn size(sources: &Sources) -> u64 {
    let bytes = |source: &MatrixSource| Matrix::bytes(source.kind, source.inputs, source.outputs);
    sources.matrices().map(|source| bytes(source) as u64).sum()
}

/// Loads all weights. Blocks until the file is read, or until `progress`, which is told how much is
/// done, says that it is not wanted any more.
pub(super) fn load(
    pool: &mut Pool,
    file: &ModelFile,
    metadata: &Metadata,
    sources: Sources,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<(Loaded, Vec<Origin>), LoadError> {
    let mut offsets = Vec::new();
    let mut size = 0;
    for source in sources.matrices() {
        offsets.push(size);
        size += Matrix::bytes(source.kind, source.inputs, source.outputs);
    }
    let mut arena = MmapMut::map_anon(size.max(1)).map_err(LoadError::Io)?;
    // Fewer page faults now and fewer misses of the address cache later; an arena without is fine.
    #[cfg(target_os = "linux")]
    if let Err(error) = arena.advise(memmap2::Advice::HugePage) {
        tracing::debug!(%error, "no huge pages for the weights");
    }
    let mut pieces = pieces(file, metadata, &sources, &mut arena).ok_or(LoadError::Short)?;
    let all = pieces.len().max(1);
    let mut done = 0;
    for some in pieces.chunks_mut(PIECES) {
        if !progress(done as f32 / all as f32) {
            return Err(LoadError::Stopped);
        }
        pool.for_each(some, |_, piece| piece.pack());
        done += some.len();
    }
    drop(pieces);
    let origins = sources.matrices().map(|source| Origin {
        tensor: source.name.clone(),
        inputs: source.inputs,
        rows: source.first..source.first + source.outputs,
    });
    let origins = origins.collect();
    let arena = Arc::new(arena.make_read_only().map_err(LoadError::Io)?);
    let mut into = Loading {
        file,
        metadata,
        arena,
        offsets: offsets.into_iter().enumerate(),
    };
    let loaded = sources.convert(&mut into)?;
    if !progress(1.0) {
        return Err(LoadError::Stopped);
    }
    Ok((loaded, origins))
}

/// Some tiles of a matrix.
struct Piece<'a> {
    kind: Kind,
    inputs: usize,
    rows: &'a [u8],
    tiles: &'a mut [u8],
}

impl Piece<'_> {
    fn pack(&mut self) {
        let rows = self.rows.chunks(TILE * self.kind.row_bytes(self.inputs));
        let tiles = self
            .tiles
            .chunks_exact_mut(tile_bytes(self.kind, self.inputs));
        for (rows, tile) in rows.zip(tiles) {
            quant::pack(self.kind, rows, self.inputs, tile);
        }
    }
}

/// All matrices in pieces; none if the file is too short.
fn pieces<'a>(
    file: &'a ModelFile,
    metadata: &Metadata,
    sources: &Sources,
    arena: &'a mut [u8],
) -> Option<Vec<Piece<'a>>> {
    let mut pieces = Vec::new();
    let mut rest = arena;
    for source in sources.matrices() {
        let (kind, inputs) = (source.kind, source.inputs);
        let row_bytes = kind.row_bytes(inputs);
        let tile_size = tile_bytes(kind, inputs);
        let data = file.tensor(metadata, source.tensor)?;
        let end = (source.first + source.outputs) * row_bytes;
        let data = data.get(source.first * row_bytes..end)?;
        let (tiles, after) = rest.split_at_mut(Matrix::bytes(kind, inputs, source.outputs));
        rest = after;
        let count = (PIECE / tile_size).max(1);
        let rows = data.chunks(count * TILE * row_bytes);
        for (rows, tiles) in rows.zip(tiles.chunks_mut(count * tile_size)) {
            pieces.push(Piece {
                kind,
                inputs,
                rows,
                tiles,
            });
        }
    }
    Some(pieces)
}

struct Loading<'a> {
    file: &'a ModelFile,
    metadata: &'a Metadata,
    arena: Arc<Mmap>,
    offsets: std::iter::Enumerate<std::vec::IntoIter<usize>>,
}

impl Convert<MatrixSource, VectorSource> for Loading<'_> {
    type Matrix = Linear;
    type Vector = Vec<f32>;
    type Error = LoadError;

    fn matrix(&mut self, source: MatrixSource) -> Result<Linear, LoadError> {
        let (id, offset) = self.offsets.next().ok_or(LoadError::Short)?;
        let (inputs, outputs) = (source.inputs, source.outputs);
        let arena = Arc::clone(&self.arena);
        let matrix =
            Matrix::new(source.kind, inputs, outputs, arena, offset).ok_or(LoadError::Short)?;
        let bias = source.bias.map(|bias| self.vector(bias)).transpose()?;
        Ok(Linear { id, matrix, bias })
    }

    fn vector(&mut self, source: VectorSource) -> Result<Vec<f32>, LoadError> {
        let data = self
            .file
            .tensor(self.metadata, source.tensor)
            .ok_or(LoadError::Short)?;
        let bytes = source.kind.row_bytes(1);
        let data = data.get(source.first * bytes..).ok_or(LoadError::Short)?;
        let data = data.get(..source.length * bytes).ok_or(LoadError::Short)?;
        let mut values = vec![0.0; source.length];
        quant::dequantize(source.kind, data, &mut values);
        Ok(values)
    }
}
