//! Vectors of texts, for every dialect that has a route for them.
//!
//! The one way from the dialects to [`Session::embed`](shimmy_engine::Session::embed). It owns
//! which models are asked for what, and how vectors are scaled; it must not know any wire format.

use std::sync::Arc;

use shimmy_engine::{Embeddings, Pooling, PreparedTexts, Prompt, PromptPart, Session};

use crate::answer::{MODEL_FIELD, find_model};
use crate::blocking;
use crate::error::{ApiError, ErrorKind};
use crate::loader::KeepAlive;
use crate::model::LoadedModel;
use crate::state::AppState;

/// What a model made of some texts.
#[derive(Debug)]
pub(crate) struct Vectors {
    pub(crate) model: Arc<LoadedModel>,
    /// One for each text, in order, as the model gives them: at least one number, all finite.
    pub(crate) vectors: Vec<Vec<f32>>,
    /// Tokens of all texts together.
    pub(crate) tokens: u32,
}

/// The vectors of texts; complaints about a text name `field`.
pub(crate) async fn embed(
    state: &AppState,
    model: Option<&str>,
    field: &str,
    texts: Vec<Prompt>,
) -> Result<Vectors, ApiError> {
    let model = find_model(state, model, KeepAlive::Default).await?;
    embed_by(state, model, field, texts).await
}

/// The same by a model that is there.
pub(crate) async fn embed_by(
    state: &AppState,
    model: Arc<LoadedModel>,
    field: &str,
    texts: Vec<Prompt>,
) -> Result<Vectors, ApiError> {
    match model.session.pooling() {
        Some(Pooling::Rank) => {
            let message = format!("{} ranks texts; it makes no embeddings", model.name);
            Err(ApiError::new(ErrorKind::BadRequest, message))
        }
        // Why a model has none, the engine says best.
        _ => run(state, model, field, texts).await,
    }
}

/// How well each document answers a query: one score each, greater is better.
pub(crate) async fn rank(
    state: &AppState,
    model: Option<&str>,
    query: &str,
    documents: &[String],
) -> Result<Vectors, ApiError> {
    let model = find_model(state, model, KeepAlive::Default).await?;
    if model.session.pooling() != Some(Pooling::Rank) {
        let message = format!(
            "{} does not rank: a reranking model is needed (one whose file says that it pools by rank)",
            model.name
        );
        return Err(ApiError::new(ErrorKind::BadRequest, message));
    }
    // Texts of users, so that no document can write the separator between the two.
    let part = |text: &str| PromptPart::Literal(text.to_owned());
    let pairs = documents.iter().map(|document| Prompt {
        parts: vec![part(query), part(document)],
    });
    run(state, model, "documents", pairs.collect()).await
}

/// Bytes of texts that are made tokens of at a time: some tens of milliseconds.
const PREPARED_BYTES: usize = 256 << 10;

/// What is said where an adapter is named for vectors.
const NO_ADAPTERS: &str = "is an adapter, and vectors are made without adapters: name its model";

async fn run(
    state: &AppState,
    model: Arc<LoadedModel>,
    field: &str,
    texts: Vec<Prompt>,
) -> Result<Vectors, ApiError> {
    if model.is_named_by_adapter() {
        return Err(ApiError::field(MODEL_FIELD, NO_ADAPTERS));
    }
    let count = texts.len();
    let made = async {
        let texts = prepare(&model.session, texts).await?;
        Ok::<_, ApiError>(model.session.embed(texts, state.config.deadline).await?)
    };
    let made = tokio::select! {
        biased;
        () = state.aborting.cancelled() => return Err(ApiError::shutting_down()),
        made = made => made,
    };
    let Embeddings { vectors, tokens } =
        made.map_err(|error| error.renamed(&[("prompt", field)]))?;
    // JSON has no word for what is not a number, and nobody could use it.
    let whole = |vector: &Vec<f32>| !vector.is_empty() && vector.iter().all(|x| x.is_finite());
    if vectors.len() != count || !vectors.iter().all(whole) {
        tracing::error!(model = ?model.name, "numbers of a text are missing or are none");
        let message = "the model did not make numbers of every text";
        return Err(ApiError::new(ErrorKind::GenerationFailed, message));
    }
    Ok(Vectors {
        model,
        vectors,
        tokens: tokens.iter().sum(),
    })
}

/// Makes tokens of texts. Nothing of them is begun once nobody waits for it any more, since who
/// indexes a library sends a book at a time.
async fn prepare(session: &Session, texts: Vec<Prompt>) -> Result<PreparedTexts, ApiError> {
    let is_long = blocking::is_long(texts.iter().map(Prompt::bytes).sum());
    let texts = Arc::new(texts);
    let check = {
        let (session, texts) = (session.clone(), Arc::clone(&texts));
        move || Ok(session.check_texts(&texts)?)
    };
    blocking::run(is_long, check).await?;
    let mut prepared = PreparedTexts::default();
    let mut first = 0;
    while first < texts.len() {
        let mut bytes = 0;
        let rest = texts[first..].iter();
        let fits = |text: &&Prompt| {
            bytes += text.bytes();
            bytes <= PREPARED_BYTES
        };
        let end = first + rest.take_while(fits).count().max(1);
        let prepare = {
            let (session, texts) = (session.clone(), Arc::clone(&texts));
            move || Ok(session.prepare_texts(&texts[first..end])?)
        };
        prepared.append(blocking::run(is_long, prepare).await?);
        first = end;
    }
    Ok(prepared)
}

/// A vector of length 1, of its first numbers only where the request says how many.
pub(crate) fn finished(
    mut vector: Vec<f32>,
    dimensions: Option<u32>,
) -> Result<Vec<f32>, ApiError> {
    if let Some(dimensions) = dimensions {
        let all = vector.len();
        if dimensions as usize > all {
            let reason = format!("may be at most {all} for this model, got {dimensions}");
            return Err(ApiError::field("dimensions", reason));
        }
        vector.truncate(dimensions as usize);
    }
    normalise(&mut vector);
    Ok(vector)
}

/// Scales a vector to the length 1; one without a direction stays as it is.
pub(crate) fn normalise(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&x| f64::from(x).powi(2)).sum();
    scale(vector, squares.sqrt());
}

/// Divides by a norm, if there is anything to divide by.
pub(crate) fn scale(vector: &mut [f32], norm: f64) {
    if norm > 0.0 && norm.is_finite() {
        vector
            .iter_mut()
            .for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_dimensions_are_the_first_ones_normalised_again() {
        assert_eq!(finished(vec![3.0, 4.0, 12.0], Some(2)).unwrap(), [0.6, 0.8]);
        assert_eq!(finished(vec![0.0, 2.0], None).unwrap(), [0.0, 1.0]);
        let error = finished(vec![1.0, 2.0], Some(3)).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("dimensions"));
        assert!(error.message.contains("at most 2"), "{}", error.message);
    }

    #[test]
    fn a_normalised_vector_has_length_one() {
        let mut vector = [3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        // A sum of squares that no f32 can hold.
        let mut large = [f32::MAX, f32::MAX];
        normalise(&mut large);
        assert!((large[0] - 0.5_f32.sqrt()).abs() < 1e-6, "{large:?}");
        let mut zero = [0.0, 0.0];
        normalise(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
