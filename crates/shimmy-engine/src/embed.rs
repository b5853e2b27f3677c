//! Vectors of texts: what a model makes of a text as a whole.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::command::EmbedJob;
use crate::error::{GenerateError, RunnerError, SubmitError};
use crate::runner::Token;

/// How the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// A score instead of a vector: how well two texts go together.
    Rank,
}

/// A vector for each text, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// As the model gives them, not normalised; one number each where the model ranks.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of each text.
    pub tokens: Vec<u32>,
}

/// Why there are no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The request was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The engine failed on it.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// This model, or this backend, makes none.
    #[error("this model makes no {0}")]
    Unsupported(&'static str),
}

/// The texts that wait, on the engine's thread.
#[derive(Default)]
pub(crate) struct EmbedQueue {
    jobs: VecDeque<Waiting>,
    /// How many texts of each job, from the front, the batch under way has.
    under_way: Vec<usize>,
}

struct Waiting {
    job: EmbedJob,
    vectors: Vec<Vec<f32>>,
}

impl EmbedQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn push(&mut self, job: EmbedJob) {
        let vectors = Vec::with_capacity(job.texts.len());
        self.jobs.push_back(Waiting { job, vectors });
        self.answer();
    }

    /// The texts that come next, of as many jobs as there are, with `most` tokens in all.
    pub(crate) fn next_batch(&mut self, most: usize) -> Vec<Vec<Token>> {
        // Those whose askers are gone are not worth a step.
        self.jobs.retain(|waiting| !waiting.job.reply.is_closed());
        self.under_way.clear();
        let mut batch: Vec<Vec<Token>> = Vec::new();
        let mut left = most;
        for waiting in &self.jobs {
            let before = batch.len();
            let texts = waiting.job.texts[waiting.vectors.len()..].iter();
            batch.extend(
                texts
                    .take_while(|text| {
                        let fits = text.len() <= left;
                        left = left.saturating_sub(text.len()) * usize::from(fits);
                        fits
                    })
                    .cloned(),
            );
            self.under_way.push(batch.len() - before);
            if left == 0 {
                break;
            }
        }
        batch
    }

    /// Takes what became of the batch.
    pub(crate) fn take(&mut self, vectors: Result<Vec<Vec<f32>>, RunnerError>) {
        match vectors {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                for (waiting, &count) in self.jobs.iter_mut().zip(&self.under_way) {
                    waiting.vectors.extend(vectors.by_ref().take(count));
                }
                self.answer();
            }
            Err(error) => {
                for waiting in self.jobs.drain(..self.under_way.len()) {
                    let failed = Err(GenerateError::Backend(error.to_string()));
                    // Whoever asked may be gone.
                    let _ = waiting.job.reply.send(failed);
                }
            }
        }
    }

    /// Answers the jobs that are complete.
    fn answer(&mut self) {
        while let Some(waiting) = self.jobs.pop_front() {
            if waiting.vectors.len() < waiting.job.texts.len() {
                return self.jobs.push_front(waiting);
            }
            let EmbedJob { reply, place, .. } = waiting.job;
            drop(place);
            // As above.
            let _ = reply.send(Ok(waiting.vectors));
        }
    }
}
