//! What the server and the command line call: a model ready to answer.

use std::sync::Arc;
use std::time::Duration;

use crate::constraint;
use crate::embed::{EmbedError, Embeddings, Pooling};
use crate::error::{InvalidParameter, SubmitError};
use crate::handle::{EngineHandle, Generation};
use crate::overlong::{self, Overlong};
use crate::params::{
    Constraint, GenerateRequest, MAX_LOGPROBS, PreparedRequest, Prompt, PromptPart,
};
use crate::runner::{AdapterScale, Specials, Token, Tokenizer};

/// Most stop texts of a request, and most bytes of one.
const STOP_TEXTS: usize = 64;
const STOP_BYTES: usize = 4096;

/// A tokenizer and an engine that belong together. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    tokenizer: Arc<dyn Tokenizer>,
    engine: EngineHandle,
    constraints: Arc<constraint::Compiler>,
}

/// A request that is ready for the engine, with its compiled constraint.
#[derive(Clone)]
pub struct Prepared {
    /// The request; its prompt and its constraint may not be changed any more.
    pub request: PreparedRequest,
    follower: Option<constraint::Follower>,
}

/// Texts that are ready for the engine to make vectors of.
#[derive(Debug, Clone, Default)]
pub struct PreparedTexts(Vec<Vec<Token>>);

impl PreparedTexts {
    /// Appends others of the same session.
    pub fn append(&mut self, mut others: PreparedTexts) {
        self.0.append(&mut others.0);
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Joins an engine with the tokenizer of its model; its runner came with so many `adapters`.
    pub fn new(tokenizer: Arc<dyn Tokenizer>, engine: EngineHandle, adapters: usize) -> Self {
        engine.announce_adapters(adapters);
        let constraints = Arc::new(constraint::Compiler::new(Arc::clone(&tokenizer)));
        Self {
            tokenizer,
            engine,
            constraints,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &dyn Tokenizer {
        self.tokenizer.as_ref()
    }

    /// Checks, clamps and tokenises a request, on the caller's thread.
    ///
    /// Takes some milliseconds per 100 kB of prompt, and for a constraint: an async caller with
    /// either wants to be on a blocking thread.
    pub fn prepare(&self, request: GenerateRequest) -> Result<Prepared, SubmitError> {
        if !self.engine.limits().generates {
            return Err(SubmitError::CannotGenerate);
        }
        request.sampling.validate(self.tokenizer.vocabulary())?;
        let stop = checked_stop(request.stop)?;
        let adapters = self.checked_adapters(request.adapters)?;
        if request.logprobs > Some(MAX_LOGPROBS) {
            let reason = format!("may be at most {MAX_LOGPROBS}");
            return Err(InvalidParameter::new("logprobs", reason).into());
        }
        if request.max_tokens == Some(0) {
            return Err(InvalidParameter::new("max_tokens", "must be at least 1, got 0").into());
        }

        let limit = request.context.map_or(usize::MAX, |limit| limit as usize);
        let limit = limit.min(self.engine.context());
        self.refuse_overlong(&request.prompt, limit)?;
        let prompt = self.tokenize(&request.prompt)?;
        if prompt.is_empty() {
            return Err(SubmitError::PromptEmpty);
        }
        if prompt.len() >= limit {
            return Err(SubmitError::PromptTooLong {
                got: prompt.len(),
                limit,
            });
        }
        let room = u32::try_from(limit - prompt.len()).unwrap_or(u32::MAX);
        let constraint = request.constraint.as_ref();
        let follower = constraint
            .map(|c| self.constraints.compile(c))
            .transpose()?;
        let request = PreparedRequest {
            max_tokens: request.max_tokens.unwrap_or(room).min(room),
            prompt,
            sampling: request.sampling,
            stop,
            ignore_eos: request.ignore_eos,
            adapters,
            constraint: request.constraint,
            shown: request.shown,
            logprobs: request.logprobs,
            deadline: request.deadline,
            cache_scope: request.cache_scope,
        };
        Ok(Prepared { request, follower })
    }

    /// Whether a constraint can be used, as [`prepare`](Self::prepare) would say.
    pub fn check_constraint(&self, constraint: &Constraint) -> Result<(), InvalidParameter> {
        self.constraints.compile(constraint).map(drop)
    }

    /// [`prepare`](Self::prepare)s and submits.
    pub fn generate(&self, request: GenerateRequest) -> Result<Generation, SubmitError> {
        self.submit(self.prepare(request)?)
    }

    /// Hands a prepared request to the engine. Never blocks.
    pub fn submit(&self, prepared: Prepared) -> Result<Generation, SubmitError> {
        self.engine.submit(prepared.request, prepared.follower)
    }

    /// How this model makes a vector of a text; none if it cannot.
    pub fn pooling(&self) -> Option<Pooling> {
        self.engine.embedding().map(|(pooling, _)| pooling)
    }

    /// Refuses texts of which one is far too long to [`embed`](Self::embed), before any has become
    /// tokens. Looks at the beginnings of long ones: a caller with such wants to be on a blocking
    /// thread.
    pub fn check_texts(&self, texts: &[Prompt]) -> Result<(), EmbedError> {
        let limit = self.longest_text()?;
        for text in texts {
            if let Some(Overlong { at_least, .. }) = overlong::check(self.tokenizer(), text, limit)?
            {
                return Err(SubmitError::TextFarTooLong { at_least, limit }.into());
            }
        }
        Ok(())
    }

    /// Tokenises texts for [`embed`](Self::embed) that have been
    /// [checked](Self::check_texts), on the caller's thread, which wants to be a blocking one where
    /// they are long. A pair, for a model that ranks, is a prompt of two parts, the query and the
    /// document; what stands between them is the model's own business.
    pub fn prepare_texts(&self, texts: &[Prompt]) -> Result<PreparedTexts, EmbedError> {
        let limit = self.longest_text()?;
        let mut tokenised = Vec::with_capacity(texts.len());
        for text in texts {
            let tokens = self.tokenize_whole(text)?;
            match tokens.len() {
                0 => return Err(SubmitError::PromptEmpty.into()),
                got if got > limit => return Err(SubmitError::TextTooLong { got, limit }.into()),
                _ => tokenised.push(tokens),
            }
        }
        Ok(PreparedTexts(tokenised))
    }

    /// Tokens of the longest text that vectors are made of.
    fn longest_text(&self) -> Result<usize, EmbedError> {
        let embedding = self.engine.embedding();
        let (_, limit) = embedding.ok_or(EmbedError::Unsupported("embeddings"))?;
        Ok(limit)
    }

    /// A vector for each text, or a score for each pair where the model ranks. Texts of one call,
    /// and of calls that come together, share steps; those of running answers come in between.
    /// Dropping the future ends the work with the next turn. With a `deadline`, all of it has so much
    /// time.
    pub async fn embed(
        &self,
        PreparedTexts(texts): PreparedTexts,
        deadline: Option<Duration>,
    ) -> Result<Embeddings, EmbedError> {
        let tokens = texts.iter().map(|text| text.len() as u32).collect();
        let vectors = self.engine.embed(texts, deadline).await?;
        Ok(Embeddings { vectors, tokens })
    }

    /// The tokens of a text that is read as a whole, or of a pair, with the marks that the model was
    /// trained with: without its end mark, a model that pools by the last token pools a wrong one.
    fn tokenize_whole(&self, text: &Prompt) -> Result<Vec<Token>, SubmitError> {
        let marks = self.tokenizer.text_marks();
        let mut parts = text.parts.iter();
        let mut marked = Prompt::default();
        marked.parts.extend(parts.next().cloned());
        for part in parts {
            marked.parts.push(PromptPart::Tokens(marks.between.clone()));
            marked.parts.push(part.clone());
        }
        let mut tokens = self.tokenize(&marked)?;
        // Tokens that a caller brings may have it already.
        if let Some(end) = marks.end
            && !tokens.is_empty()
            && tokens.last() != Some(&end)
        {
            tokens.push(end);
        }
        Ok(tokens)
    }

    /// Refuses a prompt that is far beyond this many tokens, before all of it has become tokens. One
    /// that is only somewhat longer is not: its tokens tell how much.
    pub fn refuse_overlong(&self, prompt: &Prompt, limit: usize) -> Result<(), SubmitError> {
        match overlong::check(self.tokenizer(), prompt, limit)? {
            Some(Overlong { at_least, .. }) => {
                Err(SubmitError::PromptFarTooLong { at_least, limit })
            }
            None => Ok(()),
        }
    }

    /// The first tokens of a prompt, so many at most; no more of it is looked at than they need.
    pub fn tokenize_start(&self, prompt: &Prompt, most: usize) -> Result<Vec<Token>, SubmitError> {
        let overlong = overlong::check(self.tokenizer(), prompt, most)?;
        let beginning = overlong.map(|overlong| overlong.beginning(prompt));
        // It has about twice as many tokens as are wanted, so that where it ends does not show.
        let mut tokens = self.tokenize(beginning.as_ref().unwrap_or(prompt))?;
        tokens.truncate(most);
        Ok(tokens)
    }

    /// The tokens of a prompt, with the beginning-of-sequence token where the model wants it.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<Token>, SubmitError> {
        let mut tokens = Vec::new();
        for part in &prompt.parts {
            match part {
                PromptPart::Marked(text) => {
                    tokens.extend(self.tokenizer.tokenize(text, Specials::Parse)?);
                }
                PromptPart::Literal(text) => {
                    tokens.extend(self.tokenizer.tokenize(text, Specials::Literal)?);
                }
                PromptPart::Tokens(part) => {
                    let vocabulary = self.tokenizer.vocabulary();
                    if let Some(token) = part.iter().find(|&&token| token as usize >= vocabulary) {
                        let reason =
                            format!("holds token {token}, but the vocabulary has {vocabulary}");
                        return Err(InvalidParameter::new("prompt", reason).into());
                    }
                    tokens.extend_from_slice(part);
                }
            }
        }
        // Templates write the token themselves more often than not; twice confuses the model.
        if let Some(bos) = self.tokenizer.beginning_of_sequence()
            && tokens.first() != Some(&bos)
            && !prompt.parts.is_empty()
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    fn checked_adapters(
        &self,
        mut adapters: Vec<AdapterScale>,
    ) -> Result<Vec<AdapterScale>, InvalidParameter> {
        let loaded = self.engine.adapters();
        for adapter in &adapters {
            if !loaded.contains(&adapter.id) {
                let ids: Vec<String> = loaded.iter().map(|id| id.0.to_string()).collect();
                let ids = if ids.is_empty() {
                    "none".to_owned()
                } else {
                    ids.join(", ")
                };
                let reason = format!("names adapter {}; loaded are: {ids}", adapter.id.0);
                return Err(InvalidParameter::new("lora", reason));
            }
            if !adapter.scale.is_finite() || adapter.scale.abs() > 100.0 {
                let reason = format!("has a scale that is no sensible number: {}", adapter.scale);
                return Err(InvalidParameter::new("lora", reason));
            }
        }
        adapters.sort_by_key(|adapter| adapter.id);
        if adapters.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return Err(InvalidParameter::new("lora", "names an adapter twice"));
        }
        adapters.retain(|adapter| adapter.scale != 0.0);
        Ok(adapters)
    }
}

fn checked_stop(mut stop: Vec<String>) -> Result<Vec<String>, InvalidParameter> {
    if stop.len() > STOP_TEXTS {
        let reason = format!("may hold {STOP_TEXTS} texts, got {}", stop.len());
        return Err(InvalidParameter::new("stop", reason));
    }
    if stop.iter().any(|text| text.len() > STOP_BYTES) {
        let reason = format!("holds a text of more than {STOP_BYTES} bytes");
        return Err(InvalidParameter::new("stop", reason));
    }
    // Clients send "" for "none"; met literally it would end every answer before it starts.
    stop.retain(|text| !text.is_empty());
    Ok(stop)
}
