//! `POST /tokenize` and `POST /detokenize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shimmy_engine::{Prompt, PromptPart, Specials, Token, TokenizeError, Tokenizer};
use utoipa::ToSchema;

use crate::answer::find_model;
use crate::blocking;
use crate::count;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::llamacpp::error::ErrorBody;
use crate::loader::KeepAlive;
use crate::model::LoadedModel;
use crate::prompts::prompts;
use crate::state::AppState;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerTokenizeRequest)]
struct TokenizeFields {
    model: Option<String>,
    #[schema(schema_with = crate::prompts::schema)]
    content: Option<Value>,
    /// Whether the beginning-of-sequence token comes first, where the model wants one.
    add_special: Option<bool>,
    /// Whether the names of special tokens become those tokens; if so by default.
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerTokens)]
pub(crate) struct Tokens {
    tokens: Vec<TokenBody>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LlamaServerToken)]
#[serde(untagged)]
enum TokenBody {
    Id(#[schema(inline)] Token),
    WithPiece {
        #[schema(value_type = u32)]
        id: Token,
        piece: Piece,
    },
}

/// A token's text, or its bytes where they are no whole characters.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LlamaServerPiece)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerDetokenizeRequest)]
struct DetokenizeFields {
    model: Option<String>,
    #[schema(value_type = Vec<u32>)]
    tokens: Vec<Token>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerText)]
pub(crate) struct Content {
    content: String,
}

/// Turn a text into tokens
///
/// A text that would fill far more than eight contexts is refused before all of it is read.
#[utoipa::path(
    post, path = "/tokenize", tag = "llama-server", operation_id = "llamacppTokenize",
    request_body(content = TokenizeFields, examples(
        ("An example" = (value = json!({ "content": "Hello" }))),
        ("With pieces" = (value = json!({ "content": "Hello", "with_pieces": true }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Tokens),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn tokenize(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Tokens>, ApiError> {
    let fields: TokenizeFields = body.read()?;
    let parts = match fields.content {
        // No text has no tokens, which is an answer.
        Some(Value::Array(list)) if list.is_empty() => Vec::new(),
        content => {
            let prompt = prompts("content", content, 1)?;
            prompt.into_iter().flat_map(|prompt| prompt.parts).collect()
        }
    };
    let specials = match fields.parse_special {
        Some(false) => Specials::Literal,
        _ => Specials::Parse,
    };
    let with_pieces = fields.with_pieces == Some(true);
    let add_special = fields.add_special == Some(true);
    let model = find_model(&state, fields.model.as_deref(), KeepAlive::Default).await?;
    blocking::run(blocking::is_long(body.len()), move || {
        let tokenizer = model.session.tokenizer();
        let prompt = Prompt { parts };
        count::check(&model, &prompt)?;
        let mut tokens = Vec::new();
        if add_special {
            tokens.extend(tokenizer.beginning_of_sequence());
        }
        for part in prompt.parts {
            tokens.extend(tokens_of(&model, part, specials)?);
        }
        let body = |id| match with_pieces {
            false => TokenBody::Id(id),
            true => TokenBody::WithPiece {
                id,
                piece: piece(tokenizer, id),
            },
        };
        Ok(Json(Tokens {
            tokens: tokens.into_iter().map(body).collect(),
        }))
    })
    .await
}

/// Turn tokens into a text
#[utoipa::path(
    post, path = "/detokenize", tag = "llama-server", operation_id = "llamacppDetokenize",
    request_body(content = DetokenizeFields, examples(
        ("An example" = (value = json!({ "tokens": [72, 105] }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Content),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn detokenize(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Content>, ApiError> {
    let fields: DetokenizeFields = body.read()?;
    let model = find_model(&state, fields.model.as_deref(), KeepAlive::Default).await?;
    blocking::run(blocking::is_long(body.len()), move || {
        let tokens = known(&model, "tokens", fields.tokens)?;
        let mut bytes = Vec::new();
        for token in tokens {
            let tokenizer = model.session.tokenizer();
            tokenizer.append_piece(token, Specials::Parse, &mut bytes);
        }
        Ok(Json(Content {
            content: String::from_utf8_lossy(&bytes).into_owned(),
        }))
    })
    .await
}

fn tokens_of(
    model: &LoadedModel,
    part: PromptPart,
    specials: Specials,
) -> Result<Vec<Token>, ApiError> {
    match part {
        PromptPart::Marked(text) | PromptPart::Literal(text) => model
            .session
            .tokenizer()
            .tokenize(&text, specials)
            .map_err(|TokenizeError(reason)| ApiError::field("content", reason)),
        PromptPart::Tokens(tokens) => known(model, "content", tokens),
    }
}

/// These tokens, if the model has them all.
fn known(model: &LoadedModel, field: &str, tokens: Vec<Token>) -> Result<Vec<Token>, ApiError> {
    let vocabulary = model.session.tokenizer().vocabulary();
    match tokens.iter().find(|&&token| token as usize >= vocabulary) {
        Some(token) => {
            let reason = format!("holds token {token}, but the vocabulary has {vocabulary}");
            Err(ApiError::field(field, reason))
        }
        None => Ok(tokens),
    }
}

fn piece(tokenizer: &dyn Tokenizer, token: Token) -> Piece {
    let mut bytes = Vec::new();
    tokenizer.append_piece(token, Specials::Parse, &mut bytes);
    match String::from_utf8(bytes) {
        Ok(text) => Piece::Text(text),
        Err(error) => Piece::Bytes(error.into_bytes()),
    }
}
