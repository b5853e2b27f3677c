//! Reads a text in parts and pools its tokens, since llama.cpp pools what is computed in one go only.
//! It must not know how long a part is, nor what comes in between.

use std::ops::Range;

use shimmy_engine::{Pooling, Row, RunnerError, SequenceId, Token};

use crate::context::Context;

/// A context that gives a vector for each token, and what is known of a text so far.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) context: Context,
    vector: Vec<f32>,
    done: usize,
}

impl Reader {
    /// Has read nothing yet. The context computes embeddings and pools none.
    pub(crate) fn new(context: Context) -> Self {
        let vector = vec![0.0; context.model().embedding_length()];
        Self {
            context,
            vector,
            done: 0,
        }
    }

    /// Computes the next part of a text, or the first one of another, and gives the vector with the
    /// last.
    pub(crate) fn go_on(
        &mut self,
        text: &[Token],
        part: Range<usize>,
        pooling: Pooling,
    ) -> Result<Option<Vec<f32>>, RunnerError> {
        if part.start == 0 {
            self.context.remove(0, 0);
            self.vector.fill(0.0);
            self.done = 0;
        }
        if self.done != part.start || part.end > text.len() {
            return Err(RunnerError::InvalidBatch);
        }
        while self.done < part.end {
            let end = part.end.min(self.done + self.context.max_rows());
            let rows: Vec<Row> = (self.done..end)
                .map(|position| Row {
                    token: text[position],
                    position: position as u32,
                    sequence: SequenceId(0),
                    output: true,
                })
                .collect();
            self.context.decode(&rows).map_err(RunnerError::from)?;
            for (row, position) in (self.done..end).enumerate() {
                self.add(row, position, text.len(), pooling)?;
            }
            self.done = end;
        }
        Ok((self.done == text.len()).then(|| self.vector.clone()))
    }

    /// Adds a row of the last batch to the vector, as far as it counts.
    fn add(
        &mut self,
        row: usize,
        position: usize,
        length: usize,
        pooling: Pooling,
    ) -> Result<(), RunnerError> {
        let share = match pooling {
            Pooling::Mean => 1.0 / length as f32,
            Pooling::Cls if position == 0 => 1.0,
            Pooling::Last if position + 1 == length => 1.0,
            Pooling::Cls | Pooling::Last => return Ok(()),
            // Its head ranks a text as a whole.
            Pooling::Rank => return Err(RunnerError::InvalidBatch),
        };
        let nothing = || RunnerError::Failed("llama.cpp gave no embedding for a token".to_owned());
        let values = self.context.embedding(row).ok_or_else(nothing)?;
        for (sum, value) in self.vector.iter_mut().zip(values) {
            *sum += value * share;
        }
        Ok(())
    }
}
