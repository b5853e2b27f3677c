//! Vectors of texts: what a model makes of a text as a whole.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

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

/// What is computed at a time.
#[derive(Debug, PartialEq)]
pub(crate) enum Turn {
    /// Whole texts.
    Texts(Vec<Vec<Token>>),
    /// A part of a long one.
    Part {
        text: Vec<Token>,
        part: Range<usize>,
    },
}

impl Turn {
    /// Tokens that are computed.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Turn::Texts(texts) => texts.iter().map(Vec::len).sum(),
            Turn::Part { part, .. } => part.len(),
        }
    }
}

/// The texts that wait, on the engine's thread. Jobs take turns, text by text: a short one does not
/// wait for the end of a long one.
#[derive(Default)]
pub(crate) struct EmbedQueue {
    jobs: VecDeque<Waiting>,
    /// How many texts of each job, from the front, the turn under way has.
    under_way: Vec<usize>,
}

struct Waiting {
    job: EmbedJob,
    vectors: Vec<Vec<f32>>,
    /// Tokens of its next text that are computed.
    done: usize,
    started: bool,
}

impl EmbedQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn push(&mut self, job: EmbedJob) {
        let vectors = Vec::with_capacity(job.texts.len());
        self.jobs.push_back(Waiting {
            job,
            vectors,
            done: 0,
            started: false,
        });
        self.answer();
    }

    /// Forgets jobs whose askers are gone, and ends those that have waited too long for their first
    /// turn or whose time is over.
    pub(crate) fn drop_unwanted(&mut self, now: Instant, queue_timeout: Duration) {
        self.jobs.retain(|waiting| !waiting.job.reply.is_closed());
        for at in (0..self.jobs.len()).rev() {
            let Waiting { job, started, .. } = &self.jobs[at];
            let waited = now.saturating_duration_since(job.submitted);
            let error = match job.deadline {
                Some(deadline) if waited >= deadline => GenerateError::OutOfTime {
                    milliseconds: deadline.as_millis() as u64,
                },
                _ if !started && waited > queue_timeout => GenerateError::QueueTimeout {
                    seconds: queue_timeout.as_secs(),
                },
                _ => continue,
            };
            if let Some(late) = self.jobs.remove(at) {
                late.end(Err(error));
            }
        }
    }

    /// What comes next, with so many `rows`: whole texts, of as many jobs as there are; or a part of
    /// one that is longer, where it can be computed in parts; or else all of it.
    pub(crate) fn next(&mut self, rows: usize, in_parts: bool) -> Option<Turn> {
        self.under_way.clear();
        let first = self.jobs.front_mut()?;
        let text = first.job.texts.get(first.vectors.len())?;
        if text.len() > rows || first.done > 0 {
            first.started = true;
            self.under_way.push(1);
            if !in_parts {
                return Some(Turn::Texts(vec![text.clone()]));
            }
            let end = text.len().min(first.done + rows.max(1));
            return Some(Turn::Part {
                part: first.done..end,
                text: text.clone(),
            });
        }
        let mut texts: Vec<Vec<Token>> = Vec::new();
        let mut left = rows;
        for waiting in &mut self.jobs {
            let before = texts.len();
            for text in &waiting.job.texts[waiting.vectors.len()..] {
                if text.len() > left {
                    break;
                }
                left -= text.len();
                texts.push(text.clone());
            }
            let count = texts.len() - before;
            if count == 0 {
                // Its turn is the next one.
                break;
            }
            waiting.started = true;
            self.under_way.push(count);
        }
        Some(Turn::Texts(texts))
    }

    /// Takes the vectors of the texts that a turn finished.
    pub(crate) fn take(&mut self, turn: &Turn, vectors: Vec<Vec<f32>>) {
        if let (Turn::Part { part, .. }, Some(first)) = (turn, self.jobs.front_mut()) {
            if vectors.is_empty() {
                first.done = part.end;
                return;
            }
            first.done = 0;
        }
        let mut vectors = vectors.into_iter();
        let counts = std::mem::take(&mut self.under_way);
        for (waiting, &count) in self.jobs.iter_mut().zip(&counts) {
            waiting.vectors.extend(vectors.by_ref().take(count));
        }
        let had_turn = counts.len().min(self.jobs.len());
        self.jobs.rotate_left(had_turn);
        self.answer();
    }

    /// Takes note that a turn failed: the jobs that had texts in it end.
    pub(crate) fn fail(&mut self, error: &RunnerError) {
        let counts = std::mem::take(&mut self.under_way);
        for failed in self.jobs.drain(..counts.len().min(self.jobs.len())) {
            failed.end(Err(GenerateError::Backend(error.to_string())));
        }
    }

    /// Answers the jobs that are complete.
    fn answer(&mut self) {
        for at in (0..self.jobs.len()).rev() {
            if self.jobs[at].vectors.len() == self.jobs[at].job.texts.len()
                && let Some(complete) = self.jobs.remove(at)
            {
                complete.end(Ok(()));
            }
        }
    }
}

impl Waiting {
    /// Says the last word, after the place is free: who reads it may ask again at once.
    fn end(self, outcome: Result<(), GenerateError>) {
        let EmbedJob { reply, place, .. } = self.job;
        drop(place);
        // Whoever asked may be gone.
        let _ = reply.send(outcome.map(|()| self.vectors));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::shared::{Place, Shared};

    type Reply = oneshot::Receiver<Result<Vec<Vec<f32>>, GenerateError>>;

    fn job(lengths: &[usize]) -> (EmbedJob, Reply) {
        let (reply, answer) = oneshot::channel();
        let place = Place::take(&Arc::new(Shared::new(1, 1)));
        let job = EmbedJob {
            texts: lengths.iter().map(|&length| vec![0; length]).collect(),
            reply,
            submitted: Instant::now(),
            deadline: None,
            place: place.expect("a place"),
        };
        (job, answer)
    }

    fn queue(jobs: &[&[usize]]) -> (EmbedQueue, Vec<Reply>) {
        let mut queue = EmbedQueue::default();
        let replies = jobs.iter().map(|lengths| {
            let (job, answer) = job(lengths);
            queue.push(job);
            answer
        });
        let replies = replies.collect();
        (queue, replies)
    }

    /// Computes the next turn; tells the lengths of its texts, or which part of one it was.
    fn turn(queue: &mut EmbedQueue, rows: usize) -> (Vec<usize>, Range<usize>) {
        let turn = queue.next(rows, true).expect("a turn");
        let (lengths, part, finished) = match &turn {
            Turn::Texts(texts) => (texts.iter().map(Vec::len).collect(), 0..0, texts.len()),
            Turn::Part { text, part } => {
                let is_last = part.end == text.len();
                (vec![text.len()], part.clone(), usize::from(is_last))
            }
        };
        queue.take(&turn, vec![vec![1.0]; finished]);
        (lengths, part)
    }

    #[test]
    fn jobs_take_turns_and_long_texts_are_computed_in_parts() {
        let (mut queue, mut replies) = queue(&[&[4, 4, 4, 4], &[25], &[3]]);
        assert_eq!(turn(&mut queue, 10), (vec![4, 4], 0..0));
        for part in [0..10, 10..20, 20..25] {
            assert_eq!(turn(&mut queue, 10), (vec![25], part));
        }
        assert!(matches!(replies[1].try_recv(), Ok(Ok(_))));
        // What is left of the turn is the next job's.
        assert_eq!(turn(&mut queue, 10), (vec![3, 4], 0..0));
        assert!(matches!(replies[2].try_recv(), Ok(Ok(_))));
        assert_eq!(turn(&mut queue, 10), (vec![4], 0..0));
        let vectors = replies[0].try_recv().expect("complete").expect("vectors");
        assert_eq!(vectors.len(), 4);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_text_that_cannot_be_parted_has_a_turn_of_its_own() {
        let (mut queue, _replies) = queue(&[&[25], &[3]]);
        let turn = queue.next(10, false).expect("a turn");
        assert_eq!(turn, Turn::Texts(vec![vec![0; 25]]));
    }

    #[test]
    fn a_failed_turn_ends_those_that_were_in_it_and_no_others() {
        let (mut queue, mut replies) = queue(&[&[4], &[4], &[9], &[1]]);
        let turn = queue.next(10, true).expect("a turn");
        assert_eq!(turn.rows(), 8);
        queue.fail(&RunnerError::InvalidBatch);
        for reply in &mut replies[..2] {
            let outcome = reply.try_recv().expect("an answer");
            assert!(matches!(outcome, Err(GenerateError::Backend(_))));
        }
        assert!(replies[2].try_recv().is_err(), "it still waits");
        assert_eq!(self::turn(&mut queue, 10), (vec![9, 1], 0..0));
        assert!(matches!(replies[3].try_recv(), Ok(Ok(_))));
    }

    #[test]
    fn a_text_whose_asker_goes_is_not_gone_on_with() {
        let (mut queue, mut replies) = queue(&[&[25], &[3]]);
        assert_eq!(turn(&mut queue, 10).1, 0..10);
        drop(replies.remove(0));
        queue.drop_unwanted(Instant::now(), Duration::MAX);
        assert_eq!(turn(&mut queue, 10), (vec![3], 0..0));
    }
}
