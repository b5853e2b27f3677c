//! The contexts that make vectors of texts, beside the one that answers. It must not know when a text
//! has its turn.

use std::sync::Arc;

use shimmy_engine::{Batch, Row, RunnerError, SequenceId, Token};

use super::{EMBEDDED_TEXTS, LlamaRunner};
use crate::context::{CacheType, Context, ContextOptions, Pool};
use crate::reader::Reader;

/// Rows that an embedder begins with; it doubles for longer texts.
const FIRST_EMBEDDED: usize = 512;

impl LlamaRunner {
    /// Appends the vectors of a few texts.
    pub(super) fn embed_together(
        &mut self,
        texts: &[Vec<Token>],
        vectors: &mut Vec<Vec<f32>>,
    ) -> Result<(), RunnerError> {
        let rows = texts.iter().map(Vec::len).sum();
        let embedder = self.embedder(rows)?;
        let mut batch = Batch::default();
        for (sequence, text) in (0..).map(SequenceId).zip(texts) {
            for (position, &token) in (0..).zip(text) {
                batch.push(Row {
                    token,
                    position,
                    sequence,
                    output: true,
                });
            }
        }
        let computed = embedder.decode(batch.rows());
        // Nothing is continued: the next texts start from nothing.
        let take = |embedder: &mut Context| {
            (0..texts.len() as u32)
                .map(|sequence| Some(embedder.sequence_embedding(sequence)?.to_vec()))
                .collect::<Option<Vec<_>>>()
        };
        let taken = computed.map(|()| take(embedder));
        for sequence in 0..texts.len() as u32 {
            embedder.remove(sequence, 0);
        }
        let taken = taken.map_err(RunnerError::from)?;
        vectors.extend(taken.ok_or_else(|| {
            RunnerError::Failed("llama.cpp gave no embedding for a text".to_owned())
        })?);
        Ok(())
    }

    /// What reads texts of so many tokens in parts.
    pub(super) fn new_reader(&self, cells: usize) -> Result<Reader, RunnerError> {
        let cells = cells.next_power_of_two().max(FIRST_EMBEDDED) as u32;
        let options = ContextOptions {
            cells: Some(cells),
            sequences: 1,
            // A pool would see one part only.
            embeddings: Some(Pool::None),
            // Texts are short, and so is the life of what is kept of them.
            cache_keys: CacheType::F16,
            cache_values: CacheType::F16,
            ..self.options.clone()
        };
        let context = Context::new(Arc::clone(&self.model), &options, self.abort.clone())
            .map_err(|error| RunnerError::Failed(error.to_string()))?;
        Ok(Reader::new(context))
    }

    /// The context that embeds, with room for so many rows.
    fn embedder(&mut self, rows: usize) -> Result<&mut Context, RunnerError> {
        if self.embedder.as_ref().is_none_or(|e| e.max_rows() < rows) {
            // First the old one is freed: there may not be memory for two.
            self.embedder = None;
            let rows = rows.next_power_of_two().max(FIRST_EMBEDDED) as u32;
            let options = ContextOptions {
                cells: Some(rows),
                sequences: EMBEDDED_TEXTS as u32,
                batch: rows,
                micro_batch: rows,
                // A model that does not say how gets the mean, which is what most people expect.
                embeddings: Some(self.model.pooling().map_or(Pool::Mean, |_| Pool::Model)),
                cache_keys: CacheType::F16,
                cache_values: CacheType::F16,
                ..self.options.clone()
            };
            let context = Context::new(Arc::clone(&self.model), &options, self.abort.clone())
                .map_err(|error| RunnerError::Failed(error.to_string()))?;
            self.embedder = Some(context);
        }
        let none = || RunnerError::Failed("there is no embedder".to_owned());
        self.embedder.as_mut().ok_or_else(none)
    }
}
