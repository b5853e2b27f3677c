//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::failures::Answering;
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::openai::error::ErrorBody;
use crate::prompts::prompts;
use crate::state::AppState;
use crate::vectors::{self, Vectors, finished};

/// What a local model can do without.
const IGNORED: [&str; 1] = ["user"];

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiEmbeddingRequest)]
struct EmbeddingFields {
    model: Option<String>,
    #[schema(schema_with = crate::prompts::schema)]
    input: Option<Value>,
    encoding_format: Option<Encoding>,
    dimensions: Option<u32>,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = OpenAiEmbeddingEncoding)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    /// The bytes of the numbers as 32-bit floats, lowest byte first.
    Base64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddingList)]
struct EmbeddingList {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: EmbeddingUsage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbedding)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddingNumbers)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f32>),
    Text(String),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddingUsage)]
pub(super) struct EmbeddingUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

impl EmbeddingUsage {
    /// Nothing is generated, so the prompt is all there is.
    pub(super) fn of(tokens: u32) -> Self {
        Self {
            prompt_tokens: tokens,
            total_tokens: tokens,
        }
    }
}

/// Make vectors of texts
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "OpenAI", operation_id = "openaiEmbeddings",
    request_body(content = EmbeddingFields, examples(
        ("An example" = (value = json!({ "model": "default", "input": ["first", "second"] }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = EmbeddingList),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn embeddings(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields: EmbeddingFields = body.read()?;
    if fields.dimensions == Some(0) {
        return Err(ApiError::field("dimensions", "must be at least 1, got 0"));
    }
    let input = prompts("input", fields.input, state.config.max_texts)?;
    let Vectors {
        model,
        vectors,
        tokens,
    } = vectors::embed(&state, fields.model.as_deref(), "input", input).await?;
    let encoding = fields.encoding_format.unwrap_or_default();
    let data = vectors.into_iter().enumerate().map(|(index, vector)| {
        Ok(Embedding {
            object: "embedding",
            index,
            embedding: encoding.write(finished(vector, fields.dimensions)?),
        })
    });
    let list = EmbeddingList {
        object: "list",
        data: data.collect::<Result<_, ApiError>>()?,
        model: model.name.clone(),
        usage: EmbeddingUsage::of(tokens),
    };
    let mut response = Json(list).into_response();
    Ignored::fields(&body, &IGNORED)?.tell(&mut response);
    Ok(response)
}

impl Encoding {
    fn write(self, vector: Vec<f32>) -> Numbers {
        match self {
            Encoding::Float => Numbers::Floats(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Numbers::Text(STANDARD.encode(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_holds_little_endian_floats() {
        // 1.0 is 0x3F800000, -2.0 is 0xC0000000.
        let text = Encoding::Base64.write(vec![1.0, -2.0]);
        assert_eq!(text, Numbers::Text("AACAPwAAAMA=".to_owned()));
    }

    #[test]
    fn a_list_has_the_vendors_keys() {
        let list = EmbeddingList {
            object: "list",
            data: vec![Embedding {
                object: "embedding",
                index: 0,
                embedding: Encoding::Float.write(vec![0.5, 1.0]),
            }],
            model: "m".to_owned(),
            usage: EmbeddingUsage::of(3),
        };
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,1.0]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#
        );
    }
}
