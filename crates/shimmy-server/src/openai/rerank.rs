//! `POST /v1/rerank` and its aliases: documents by how well they answer a query.
//!
//! The shape is Jina's and Cohere's. Only a model that was trained to rank does it: how close two
//! embeddings are is another question, with other answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::embeddings::EmbeddingUsage;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::openai::error::ErrorBody;
use crate::state::AppState;
use crate::vectors::{self, Vectors};

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RerankRequest)]
pub(crate) struct RerankFields {
    model: Option<String>,
    query: String,
    documents: Vec<Value>,
    top_n: Option<u32>,
    return_documents: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranking)]
pub(crate) struct Ranking {
    model: String,
    object: &'static str,
    results: Vec<Ranked>,
    usage: EmbeddingUsage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranked)]
struct Ranked {
    /// Its place in the request.
    index: usize,
    /// As the model gives it: greater is better, and the scale is the model's own.
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RankedDocument)]
struct Document {
    text: String,
}

/// Order documents by how well they answer
#[utoipa::path(
    post, path = "/v1/rerank", tag = "OpenAI", operation_id = "rerank",
    request_body(content = RerankFields, examples(
        ("An example" = (value = json!({ "model": "default", "query": "q", "documents": ["a", "b"] }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Ranking),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn rerank(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Ranking>, ApiError> {
    let fields: RerankFields = body.read()?;
    if fields.top_n == Some(0) {
        return Err(ApiError::field("top_n", "must be at least 1, got 0"));
    }
    let documents = texts(fields.documents, state.config.max_texts)?;
    let Vectors {
        model,
        vectors,
        tokens,
    } = vectors::rank(&state, fields.model.as_deref(), &fields.query, &documents).await?;
    // A score comes as a vector of one number.
    let scores: Vec<f32> = vectors.into_iter().map(|score| score[0]).collect();
    Ok(Json(Ranking {
        model: model.name.clone(),
        object: "list",
        results: ranked(
            &scores,
            documents,
            fields.top_n,
            fields.return_documents.unwrap_or(false),
        ),
        usage: EmbeddingUsage::of(tokens),
    }))
}

/// The documents: texts, or objects with one.
fn texts(documents: Vec<Value>, most: usize) -> Result<Vec<String>, ApiError> {
    if documents.is_empty() {
        return Err(ApiError::field("documents", "is empty"));
    }
    if documents.len() > most {
        let reason = format!("may hold {most} entries, got {}", documents.len());
        return Err(ApiError::field("documents", reason));
    }
    let entries = documents.into_iter().enumerate();
    entries
        .map(|(index, document)| {
            let text = match document {
                Value::Object(mut fields) => fields.remove("text").unwrap_or_default(),
                document => document,
            };
            match text {
                Value::String(text) => Ok(text),
                _ => {
                    let reason = "must be a text, or an object with one in `text`";
                    Err(ApiError::field(format!("documents[{index}]"), reason))
                }
            }
        })
        .collect()
}

/// Best first; equal ones in the order of the request.
fn ranked(
    scores: &[f32],
    mut documents: Vec<String>,
    top: Option<u32>,
    with_documents: bool,
) -> Vec<Ranked> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(top.map_or(usize::MAX, |top| top as usize));
    order
        .into_iter()
        .map(|index| Ranked {
            index,
            relevance_score: scores[index],
            document: with_documents.then(|| Document {
                text: std::mem::take(&mut documents[index]),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_keep_their_places() {
        let documents = ["a", "b", "c"].map(str::to_owned).to_vec();
        let results = ranked(&[-1.5, 4.0, 0.25], documents.clone(), Some(2), true);
        assert_eq!(
            serde_json::to_string(&results).unwrap(),
            r#"[{"index":1,"relevance_score":4.0,"document":{"text":"b"}},{"index":2,"relevance_score":0.25,"document":{"text":"c"}}]"#
        );
        let all = ranked(&[1.0, 1.0, 2.0], documents, None, false);
        let order: Vec<usize> = all.iter().map(|ranked| ranked.index).collect();
        assert_eq!(order, [2, 0, 1]);
        assert!(all[0].document.is_none());
    }

    #[test]
    fn documents_are_texts_or_objects_with_one() {
        let read = |value: Value| texts(value.as_array().unwrap().clone(), 2);
        let two = serde_json::json!(["a", { "text": "b" }]);
        assert_eq!(read(two).unwrap(), ["a", "b"]);
        for (value, place) in [
            (serde_json::json!([]), "documents"),
            (serde_json::json!(["a", "b", "c"]), "documents"),
            (serde_json::json!(["a", 1]), "documents[1]"),
            (serde_json::json!([{ "title": "a" }]), "documents[0]"),
        ] {
            assert_eq!(read(value).unwrap_err().param.as_deref(), Some(place));
        }
    }
}
