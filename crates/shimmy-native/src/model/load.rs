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

/// Loads all weights. Blocks until the file is read; none if it is shorter than its header says.
pub(super) fn load(
    pool: &mut Pool,
    file: &ModelFile,
    metadata: &Metadata,
    sources: Sources,
) -> std::io::Result<Option<(Loaded, Vec<Origin>)>> {
    let mut offsets = Vec::new();
    let mut size = 0;
    for source in sources.matrices() {
        offsets.push(size);
        size += Matrix::bytes(source.kind, source.inputs, source.outputs);
    }
    let mut arena = MmapMut::map_anon(size.max(1))?;
    // Fewer page faults now and fewer misses of the address cache later; an arena without is fine.
    #[cfg(target_os = "linux")]
    if let Err(error) = arena.advise(memmap2::Advice::HugePage) {
        tracing::debug!(%error, "no huge pages for the weights");
    }
    let Some(mut pieces) = pieces(file, metadata, &sources, &mut arena) else {
        return Ok(None);
    };
    pool.for_each(&mut pieces, |_, piece| piece.pack());
    drop(pieces);
    let origins = sources.matrices().map(|source| Origin {
        tensor: source.name.clone(),
        inputs: source.inputs,
        rows: source.first..source.first + source.outputs,
    });
    let origins = origins.collect();
    let arena = Arc::new(arena.make_read_only()?);
    let mut into = Loading {
        file,
        metadata,
        arena,
        offsets: offsets.into_iter().enumerate(),
    };
    let loaded = sources.convert(&mut into).ok();
    Ok(loaded.map(|loaded| (loaded, origins)))
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

/// The file is shorter than its header says.
struct Short;

struct Loading<'a> {
    file: &'a ModelFile,
    metadata: &'a Metadata,
    arena: Arc<Mmap>,
    offsets: std::iter::Enumerate<std::vec::IntoIter<usize>>,
}

impl Convert<MatrixSource, VectorSource> for Loading<'_> {
    type Matrix = Linear;
    type Vector = Vec<f32>;
    type Error = Short;

    fn matrix(&mut self, source: MatrixSource) -> Result<Linear, Short> {
        let (id, offset) = self.offsets.next().ok_or(Short)?;
        let (inputs, outputs) = (source.inputs, source.outputs);
        let arena = Arc::clone(&self.arena);
        let matrix = Matrix::new(source.kind, inputs, outputs, arena, offset).ok_or(Short)?;
        let bias = source.bias.map(|bias| self.vector(bias)).transpose()?;
        Ok(Linear { id, matrix, bias })
    }

    fn vector(&mut self, source: VectorSource) -> Result<Vec<f32>, Short> {
        let data = self
            .file
            .tensor(self.metadata, source.tensor)
            .ok_or(Short)?;
        let bytes = source.kind.row_bytes(1);
        let data = data.get(source.first * bytes..).ok_or(Short)?;
        let data = data.get(..source.length * bytes).ok_or(Short)?;
        let mut values = vec![0.0; source.length];
        quant::dequantize(source.kind, data, &mut values);
        Ok(values)
    }
}
