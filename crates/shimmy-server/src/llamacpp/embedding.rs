//! `POST /embedding` and `POST /embeddings`, in llama-server's own shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::llamacpp::error::ErrorBody;
use crate::prompts::prompts;
use crate::state::AppState;
use crate::vectors::{self, Vectors, normalise, scale};

/// The largest number that a vector scaled by its largest number holds: llama-server's choice, so
/// that it fits 16 bits.
const LARGEST: f64 = 32_760.0;

/// The highest power that a norm can sensibly have.
const MOST_POWER: i64 = 100;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerEmbeddingRequest)]
struct EmbeddingFields {
    model: Option<String>,
    #[schema(schema_with = crate::prompts::schema)]
    content: Option<Value>,
    /// OpenAI's name for it.
    #[schema(schema_with = crate::prompts::schema)]
    input: Option<Value>,
    embd_normalize: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerEmbedding)]
pub(crate) struct Embedded {
    index: usize,
    /// One for the text as a whole.
    embedding: [Vec<f32>; 1],
}

/// Make vectors of texts
#[utoipa::path(
    post, path = "/embedding", tag = "llama-server", operation_id = "llamacppEmbedding",
    request_body(content = EmbeddingFields, examples(
        ("An example" = (value = json!({ "content": "Hello" }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Vec<Embedded>),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn embedding(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Vec<Embedded>>, ApiError> {
    let fields: EmbeddingFields = body.read()?;
    let norm = Norm::read(fields.embd_normalize)?;
    let (field, texts) = match fields.content {
        Some(content) => ("content", Some(content)),
        None if fields.input.is_some() => ("input", fields.input),
        None => ("content", None),
    };
    let texts = prompts(field, texts, state.config.max_texts)?;
    let model = fields.model.as_deref();
    let Vectors { vectors, .. } = vectors::embed(&state, model, field, texts).await?;
    let embedded = vectors.into_iter().enumerate();
    Ok(Json(
        embedded
            .map(|(index, mut vector)| {
                norm.apply(&mut vector);
                Embedded {
                    index,
                    embedding: [vector],
                }
            })
            .collect(),
    ))
}

/// How a vector is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Norm {
    /// As the model gives it.
    None,
    /// The largest number becomes [`LARGEST`].
    Maximum,
    /// The length becomes 1.
    Euclidean,
    /// The sum of these powers becomes 1.
    Power(i32),
}

impl Norm {
    fn read(number: Option<i64>) -> Result<Self, ApiError> {
        match number {
            None | Some(2) => Ok(Norm::Euclidean),
            Some(-1) => Ok(Norm::None),
            Some(0) => Ok(Norm::Maximum),
            Some(power @ 1..=MOST_POWER) => Ok(Norm::Power(power as i32)),
            Some(power) => {
                let reason = format!("must be between -1 and {MOST_POWER}, got {power}");
                Err(ApiError::field("embd_normalize", reason))
            }
        }
    }

    fn apply(self, vector: &mut [f32]) {
        let sizes = vector.iter().map(|&x| f64::from(x).abs());
        match self {
            Norm::None => {}
            Norm::Euclidean => normalise(vector),
            Norm::Maximum => {
                let most = sizes.fold(0.0, f64::max);
                scale(vector, most / LARGEST);
            }
            Norm::Power(power) => {
                let sum: f64 = sizes.map(|x| x.powi(power)).sum();
                scale(vector, sum.powf(1.0 / f64::from(power)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_norm_scales_as_its_number_says() {
        let scaled = |number: Option<i64>| {
            let mut vector = [3.0_f32, -4.0];
            Norm::read(number).unwrap().apply(&mut vector);
            vector
        };
        assert_eq!(scaled(Some(-1)), [3.0, -4.0]);
        assert_eq!(scaled(Some(0)), [24_570.0, -32_760.0]);
        assert_eq!(scaled(Some(1)), [3.0 / 7.0, -4.0 / 7.0]);
        assert_eq!(scaled(Some(2)), [0.6, -0.8]);
        assert_eq!(scaled(None), [0.6, -0.8]);
        let cubes = (27.0_f32 + 64.0).cbrt();
        assert!((scaled(Some(3))[0] - 3.0 / cubes).abs() < 1e-6);
        for wrong in [-2, 101, i64::MAX] {
            let error = Norm::read(Some(wrong)).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("embd_normalize"));
        }
    }
}
