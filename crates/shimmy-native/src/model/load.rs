//! Weights from a file into memory: matrices are packed into tiles by all threads, or found packed by
//! an earlier load; embeddings are copied as they are; vectors become floats. Owns the arena that the
//! tiles and, behind them, the embeddings are in, and its layout. Afterwards nothing is read from the
//! model's file any more, so whatever becomes of it, the model goes on.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};
use shimmy_models::Metadata;

use super::file::{ModelFile, range};
use super::packed::{FIRST_PAGE, Place, digest};
use super::sources::{MatrixSource, VectorSource};
use super::weights::Convert;
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
    /// Whether these are the matrices of several experts.
    pub(crate) is_of_experts: bool,
}

/// The embeddings of all tokens, as the file has them.
#[derive(Debug)]
pub(crate) struct Embeddings {
    arena: Arc<Mmap>,
    first: usize,
    kind: Kind,
}

impl Embeddings {
    /// Writes the embedding of a token, which is in the vocabulary.
    pub(crate) fn write(&self, token: usize, out: &mut [f32]) {
        let bytes = self.kind.row_bytes(out.len());
        let start = self.first + token * bytes;
        quant::dequantize(self.kind, &self.arena[start..start + bytes], out);
    }
}

/// Bytes of packed weights that one thread makes at a time.
const PIECE: usize = 1 << 20;

/// Pieces between two reports of progress: some 20 ms of work.
const PIECES: usize = 64;

/// Tiles of an earlier load that are compared with the model's. Enough to find out that the weights are
/// another model's, packed by other rules, or not all there; a few pages of the model's file.
const SAMPLES: usize = 16;

/// Why there are no weights.
#[derive(Debug)]
pub(super) enum LoadError {
    Io(std::io::Error),
    /// The file is shorter than its header says.
    Short,
    /// They are not wanted any more.
    Stopped,
}

/// What is loaded.
#[derive(Debug)]
pub(super) struct Wanted {
    /// In the order in which they are packed.
    pub(super) matrices: Vec<MatrixSource>,
    /// The tensor with the embeddings of all tokens.
    pub(super) embedding: usize,
    pub(super) embedding_kind: Kind,
}

impl Wanted {
    /// Bytes of all of it as it is held in memory, in one piece.
    pub(super) fn size(&self, metadata: &Metadata) -> u64 {
        let embeddings = range(metadata, self.embedding).map_or(0, |range| range.len());
        self.tiles() as u64 + embeddings as u64
    }

    /// Bytes of everything else in the file, which is held as floats: norms, biases, positions.
    pub(super) fn vector_bytes(&self, metadata: &Metadata) -> u64 {
        let is_packed = |index: &usize| {
            let mut matrices = self.matrices.iter();
            *index == self.embedding || matrices.any(|matrix| matrix.tensor == *index)
        };
        let tensors = metadata.tensors().iter().enumerate();
        let vectors = tensors.filter(|(index, _)| !is_packed(index));
        let bytes = vectors.map(|(_, tensor)| tensor.elements() * size_of::<f32>() as u64);
        bytes.sum()
    }

    /// Where each matrix came from, by its number.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let origin = |source: &MatrixSource| Origin {
            tensor: source.name.clone(),
            inputs: source.inputs,
            rows: source.first..source.first + source.outputs,
            is_of_experts: source.is_of_experts,
        };
        self.matrices.iter().map(origin).collect()
    }

    /// Bytes of all matrices.
    fn tiles(&self) -> usize {
        let bytes =
            |source: &MatrixSource| Matrix::bytes(source.kind, source.inputs, source.outputs);
        self.matrices.iter().map(bytes).sum()
    }
}

/// Loads matrices and embeddings, from their place if an earlier load has left them there, and gives
/// what makes weights of their sources. Blocks until they are packed, or until `progress`, which is
/// told how much is done, says that they are not wanted any more.
pub(super) fn load<'a>(
    pool: &mut Pool,
    file: &'a ModelFile,
    metadata: &'a Metadata,
    wanted: &Wanted,
    place: Option<&Place<'_>>,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<Loading<'a>, LoadError> {
    let model = Packing {
        file,
        metadata,
        wanted,
    };
    let (arena, first) = match place.and_then(|place| model.find(pool, place, progress)) {
        Some(arena) => (arena, FIRST_PAGE),
        None => model.pack(pool, place, progress)?,
    };
    if !progress(1.0) {
        return Err(LoadError::Stopped);
    }
    let offsets = model.offsets(first);
    Ok(Loading {
        file,
        metadata,
        arena: Arc::new(arena),
        offsets: offsets.into_iter().enumerate(),
        embeddings: first + wanted.tiles(),
        embedding_kind: wanted.embedding_kind,
    })
}

/// A model whose matrices are to be packed.
struct Packing<'a> {
    file: &'a ModelFile,
    metadata: &'a Metadata,
    wanted: &'a Wanted,
}

impl Packing<'_> {
    /// Where each matrix begins in an arena.
    fn offsets(&self, first: usize) -> Vec<usize> {
        let mut offset = first;
        let mut next = |source: &MatrixSource| {
            let bytes = Matrix::bytes(source.kind, source.inputs, source.outputs);
            offset += bytes;
            offset - bytes
        };
        self.wanted.matrices.iter().map(&mut next).collect()
    }

    /// What an earlier load has packed, if it is this model.
    fn find(
        &self,
        pool: &mut Pool,
        place: &Place<'_>,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Option<Mmap> {
        let arena = place.find(pool, progress)?;
        if self.agrees(&arena) {
            return Some(arena);
        }
        place.distrust("they differ from the model's weights");
        None
    }

    /// Whether some tiles, other ones each time, are what the model's weights become.
    fn agrees(&self, arena: &[u8]) -> bool {
        let offsets = self.offsets(FIRST_PAGE);
        let sources: Vec<_> = self.wanted.matrices.iter().zip(offsets).collect();
        let chosen = |count: usize| (RandomState::new().build_hasher().finish() as usize) % count;
        let is_same = |(source, offset): (&MatrixSource, usize)| {
            let size = tile_bytes(source.kind, source.inputs);
            let number = chosen(source.outputs.div_ceil(TILE));
            let row_bytes = source.kind.row_bytes(source.inputs);
            let rows = self.rows(source)?;
            let rows = rows.chunks(TILE * row_bytes).nth(number)?;
            let mut tile = vec![0; size];
            quant::pack(source.kind, rows, source.inputs, &mut tile);
            let start = offset + number * size;
            Some(arena.get(start..start + size)? == tile)
        };
        (0..SAMPLES).all(|_| is_same(sources[chosen(sources.len())]) == Some(true))
    }

    /// Packs everything, in its place where there is room, and says where it begins.
    fn pack(
        &self,
        pool: &mut Pool,
        place: Option<&Place<'_>>,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<(Mmap, usize), LoadError> {
        if let Some((mut arena, unfinished)) = place.and_then(Place::make) {
            self.pack_into(pool, &mut arena[FIRST_PAGE..], progress)?;
            let digest = digest(pool, &arena[FIRST_PAGE..], &mut |_| progress(1.0));
            let digest = digest.ok_or(LoadError::Stopped)?;
            if let Err(error) = unfinished.finish(&mut arena, digest) {
                tracing::warn!(%error, "packed weights are not kept");
            }
            return Ok((arena.make_read_only().map_err(LoadError::Io)?, FIRST_PAGE));
        }
        let size = self.wanted.size(self.metadata) as usize;
        let mut arena = MmapMut::map_anon(size.max(1)).map_err(LoadError::Io)?;
        // Fewer page faults now and fewer misses of the address cache later; an arena without is fine.
        #[cfg(target_os = "linux")]
        if let Err(error) = arena.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "no huge pages for the weights");
        }
        self.pack_into(pool, &mut arena, progress)?;
        Ok((arena.make_read_only().map_err(LoadError::Io)?, 0))
    }

    fn pack_into(
        &self,
        pool: &mut Pool,
        arena: &mut [u8],
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<(), LoadError> {
        let embeddings = self.file.tensor(self.metadata, self.wanted.embedding);
        let embeddings = embeddings.ok_or(LoadError::Short)?;
        let (arena, copies) = arena.split_at_mut(self.wanted.tiles());
        let mut pieces = self.pieces(arena).ok_or(LoadError::Short)?;
        let all = pieces.len().max(1);
        let mut done = 0;
        for some in pieces.chunks_mut(PIECES) {
            if !progress(done as f32 / all as f32) {
                return Err(LoadError::Stopped);
            }
            pool.for_each(some, |_, piece| piece.pack());
            done += some.len();
        }
        copies.copy_from_slice(embeddings);
        Ok(())
    }

    /// The rows of a matrix in the file; none if it is too short.
    fn rows(&self, source: &MatrixSource) -> Option<&[u8]> {
        let row_bytes = source.kind.row_bytes(source.inputs);
        let data = self.file.tensor(self.metadata, source.tensor)?;
        data.get(source.first * row_bytes..(source.first + source.outputs) * row_bytes)
    }

    /// All matrices in pieces; none if the file is too short.
    fn pieces<'b>(&'b self, arena: &'b mut [u8]) -> Option<Vec<Piece<'b>>> {
        let mut pieces = Vec::new();
        let mut rest = arena;
        for source in &self.wanted.matrices {
            let (kind, inputs) = (source.kind, source.inputs);
            let tile_size = tile_bytes(kind, inputs);
            let data = self.rows(source)?;
            let (tiles, after) = rest.split_at_mut(Matrix::bytes(kind, inputs, source.outputs));
            rest = after;
            let count = (PIECE / tile_size).max(1);
            let rows = data.chunks(count * TILE * kind.row_bytes(inputs));
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

/// Makes weights of their sources, in the order in which they were packed.
#[derive(Debug)]
pub(super) struct Loading<'a> {
    file: &'a ModelFile,
    metadata: &'a Metadata,
    arena: Arc<Mmap>,
    offsets: std::iter::Enumerate<std::vec::IntoIter<usize>>,
    /// Where the embeddings begin.
    embeddings: usize,
    embedding_kind: Kind,
}

impl Loading<'_> {
    pub(super) fn embeddings(&self) -> Embeddings {
        Embeddings {
            arena: Arc::clone(&self.arena),
            first: self.embeddings,
            kind: self.embedding_kind,
        }
    }
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
