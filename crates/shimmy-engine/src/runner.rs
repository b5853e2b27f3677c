//! The seam between the engine and a backend.
//!
//! A backend is a [`Runner`], which computes logits and lives on the engine's thread, and a
//! [`Tokenizer`], which is shared with the threads that prepare requests. Nothing above this file
//! may know which backend it talks to.

use std::any::Any;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::embed::Pooling;
use crate::error::{RunnerError, TokenizeError};

/// An index into the vocabulary.
pub type Token = u32;

/// One sequence of the KV cache, `0 .. RunnerLimits::sequences`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SequenceId(pub u32);

/// A loaded LoRA adapter, in the order of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AdapterId(pub u32);

/// An adapter and how strongly it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdapterScale {
    /// Which adapter.
    pub id: AdapterId,
    /// 1.0 applies it as trained, 0.0 not at all.
    pub scale: f32,
}

/// One token to compute, at its place in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: Token,
    /// Its position, counted from 0; a sequence's positions are consecutive.
    pub position: u32,
    /// The sequence it continues.
    pub sequence: SequenceId,
    /// Whether the logits after this token are wanted.
    pub output: bool,
}

/// The rows of one step, any mix of sequences, each with its adapters.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    rows: Vec<Row>,
    /// The adapter set of each row, by its number.
    chosen: Vec<usize>,
    /// The adapter sets from number 1 on, each once; number 0 is that of no adapters.
    sets: Vec<Vec<AdapterScale>>,
    next: usize,
}

impl Batch {
    /// Forgets the rows and their adapters.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.chosen.clear();
        self.sets.clear();
        self.next = 0;
    }

    /// Chooses the adapters of the rows that are pushed from now on; before it is called there are
    /// none.
    ///
    /// The rows of one sequence have the same, in this batch and in all others: what the cache
    /// holds of it was computed with them.
    pub fn choose_adapters(&mut self, adapters: &[AdapterScale]) {
        if adapters.is_empty() {
            self.next = 0;
            return;
        }
        let known = self.sets.iter().position(|set| set == adapters);
        let index = known.unwrap_or_else(|| {
            self.sets.push(adapters.to_vec());
            self.sets.len() - 1
        });
        self.next = index + 1;
    }

    /// Appends a row and returns its index, by which its logits are asked for.
    pub fn push(&mut self, row: Row) -> usize {
        self.rows.push(row);
        self.chosen.push(self.next);
        self.rows.len() - 1
    }

    /// The number of the adapter set of a row, by which [`adapters`](Self::adapters) has it; 0 for
    /// one without.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn adapter_set(&self, row: usize) -> usize {
        self.chosen[row]
    }

    /// The adapters of a set; none for a number that [`adapter_set`](Self::adapter_set) did not
    /// give.
    pub fn adapters(&self, set: usize) -> &[AdapterScale] {
        let index = set.checked_sub(1);
        let set = index.and_then(|index| self.sets.get(index));
        set.map_or(&[], Vec::as_slice)
    }

    /// The adapters that all rows have; none where rows have different ones.
    pub fn common_adapters(&self) -> Option<&[AdapterScale]> {
        let set = self.chosen.first().copied().unwrap_or(0);
        let is_common = self.chosen.iter().all(|&chosen| chosen == set);
        is_common.then(|| self.adapters(set))
    }

    /// The rows, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What a runner can hold and compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerLimits {
    /// Cells of the KV cache, shared by all sequences; one token of one sequence takes one.
    pub cells: usize,
    /// Sequences that can exist at a time.
    pub sequences: usize,
    /// Rows of the largest batch.
    pub batch: usize,
    /// Rows of a batch that may ask for output; at least one for each sequence that runs.
    pub outputs: usize,
    /// Length of a logits slice.
    pub vocabulary: usize,
    /// Whether the end of a sequence can be cut off (recurrent models cannot).
    pub can_truncate: bool,
    /// Whether the rows of a batch may have different adapters; where they may not, a batch that
    /// mixes them is an [`RunnerError::InvalidBatch`].
    pub mixes_adapters: bool,
    /// Whether it continues texts at all: a model that is an encoder only makes vectors of them.
    pub generates: bool,
}

/// An adapter that has been read and that no batch can name yet: a value of the backend's own.
pub struct LoadedAdapter(Box<dyn Any + Send>);

impl LoadedAdapter {
    /// Wraps what a backend has read.
    pub fn new(adapter: impl Any + Send) -> Self {
        Self(Box::new(adapter))
    }

    /// What the backend wrapped; none if it was another's.
    pub fn into_inner<T: Any>(self) -> Option<T> {
        self.0.downcast().ok().map(|adapter| *adapter)
    }
}

impl std::fmt::Debug for LoadedAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoadedAdapter")
    }
}

/// Reads an adapter's file. Blocks until it is read. The reason of a failure is fit for users.
pub type AdapterLoader = Arc<dyn Fn(&Path) -> Result<LoadedAdapter, String> + Send + Sync>;

/// Computes logits. Owned by one engine thread, so it need not be `Send`.
pub trait Runner {
    /// What this runner can hold; constant for its life.
    fn limits(&self) -> RunnerLimits;

    /// Something to call from another thread that ends a running [`decode`](Self::decode), and
    /// every later one, with [`RunnerError::Aborted`]; none where a step cannot be interrupted.
    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>>;

    /// Announces that so many cells of the cache will be in use, so that a cache that grows by
    /// need does so once and before the batch.
    ///
    /// Only an error after which nothing can be computed before [`reset`](Self::reset) is one.
    fn reserve(&mut self, cells: usize) -> Result<(), RunnerError>;

    /// Computes one batch of at most `limits().batch` rows, each with its adapters.
    ///
    /// Blocks until done. On an error other than [`RunnerError::Failed`] and
    /// [`RunnerError::Aborted`] the cache is as before the call.
    fn decode(&mut self, batch: &Batch) -> Result<(), RunnerError>;

    /// The logits after row `row` of the last batch, `limits().vocabulary` values.
    ///
    /// `None` when that row did not ask for output.
    fn logits(&mut self, row: usize) -> Option<&mut [f32]>;

    /// Makes `to`, which is empty, hold the first `length` tokens of `from` without computing them
    /// again. False when the backend cannot fork there; then `to` is still empty.
    ///
    /// Where [`RunnerLimits::can_truncate`] is false, only the whole of `from` is asked for.
    fn copy(&mut self, from: SequenceId, to: SequenceId, length: u32) -> bool;

    /// Keeps the first `length` tokens of a sequence and frees the cells of the others.
    ///
    /// False when the backend cannot cut there; then only `length == 0` is possible.
    fn truncate(&mut self, sequence: SequenceId, length: u32) -> bool;

    /// Starts over with an empty cache, after a failure.
    fn reset(&mut self) -> Result<(), RunnerError>;

    /// What reads an adapter's file on any thread: steps need not wait for it.
    fn adapter_loader(&self) -> AdapterLoader;

    /// Takes in an adapter that its own loader has read; numbers are never used twice. The reason of
    /// a failure is fit for users.
    fn add_adapter(&mut self, adapter: LoadedAdapter) -> Result<AdapterId, String>;

    /// Loads one more adapter, on this thread.
    fn load_adapter(&mut self, path: &Path) -> Result<AdapterId, String> {
        let load = self.adapter_loader();
        self.add_adapter(load(path)?)
    }

    /// Forgets an adapter that no batch will name any more; false if there is none of that number.
    fn unload_adapter(&mut self, id: AdapterId) -> bool;

    /// What a sequence holds, as bytes that [`restore`](Self::restore) takes; none where a
    /// backend cannot say.
    fn save(&mut self, sequence: SequenceId) -> Option<Vec<u8>>;

    /// Makes a sequence, which is empty, hold what [`save`](Self::save) gave, possibly in another
    /// process with the same model and settings. False when the bytes do not fit; then the
    /// sequence is still empty.
    fn restore(&mut self, sequence: SequenceId, state: &[u8]) -> bool;

    /// How this model makes a vector of a text, and how many tokens one call may have, or none if
    /// it makes none.
    fn embedding(&self) -> Option<(Pooling, usize)>;

    /// A vector for each text, each computed on its own; all together have no more tokens than
    /// [`embedding`](Self::embedding) says. The KV cache is left as it is.
    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, RunnerError>;

    /// Whether a text can be embedded [in parts](Self::embed_part), so that others have their turns
    /// in between: not where a token sees those behind it.
    fn embeds_in_parts(&self) -> bool;

    /// Computes one part of a text, and with the last one its vector, which is none before that.
    ///
    /// The parts of a text come in order and without [`embed`](Self::embed) in between. The one that
    /// begins at 0 begins a new text, whether the one before was finished or not. Only asked for
    /// where [`embeds_in_parts`](Self::embeds_in_parts) says that it can be done.
    fn embed_part(
        &mut self,
        text: &[Token],
        part: Range<usize>,
    ) -> Result<Option<Vec<f32>>, RunnerError>;
}

/// What becomes of text that spells a special token, such as `<|im_start|>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// It becomes that token: text that a template wrote.
    Parse,
    /// It stays text: content that a user wrote must not forge a role.
    Literal,
}

/// Text to tokens and back. Shared between threads.
pub trait Tokenizer: Send + Sync {
    /// How many tokens there are.
    fn vocabulary(&self) -> usize;

    /// The tokens of a text, without the beginning-of-sequence token.
    fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError>;

    /// Appends the bytes of a token, which need not be whole characters.
    ///
    /// With [`Specials::Literal`] control tokens have no bytes, as in an answer; with
    /// [`Specials::Parse`] they have the text that is parsed as them.
    fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>);

    /// Whether a model says with this token that its answer is complete.
    fn is_end_of_generation(&self, token: Token) -> bool;

    /// Whether this is a control token, which never appears in an answer's text.
    fn is_control(&self, token: Token) -> bool;

    /// The token to put before every prompt, if the model was trained with one there.
    fn beginning_of_sequence(&self) -> Option<Token>;

    /// The model's main end token.
    fn end_of_sequence(&self) -> Option<Token>;

    /// The texts that [`Specials::Parse`] would turn into special tokens.
    fn special_texts(&self) -> &[String];

    /// What the model was trained to find after the texts that it makes vectors of.
    fn text_marks(&self) -> TextMarks;

    /// The tokens around a gap that the model was trained to fill; none if it was not.
    fn fill_in_the_middle(&self) -> Option<FillInTheMiddle>;
}

/// The tokens that mark where a text ends, for a model that makes vectors of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextMarks {
    /// Between the two texts of a pair that is ranked.
    pub between: Vec<Token>,
    /// After a text, and after a pair.
    pub end: Option<Token>,
}

/// The tokens that mark the parts of a text with a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillInTheMiddle {
    /// Before the text in front of the gap.
    pub prefix: Token,
    /// Before the text behind the gap.
    pub suffix: Token,
    /// Where the model begins to fill the gap.
    pub middle: Token,
}
