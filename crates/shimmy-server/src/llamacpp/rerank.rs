//! `POST /rerank`: the same ranking as `/v1/rerank`, with this dialect's errors.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::error::ErrorBody;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::openai::rerank::{self, Ranking, RerankFields};
use crate::state::AppState;

/// Order documents by how well they answer
#[utoipa::path(
    post, path = "/rerank", tag = "llama-server", operation_id = "llamacppRerank",
    request_body(content = RerankFields, examples(
        ("Two documents" = (value = json!({
            "model": "default", "query": "q", "documents": ["a", "b"],
        }))),
    )),
    responses(
        (status = 200, description = "The documents, best first.", body = Ranking),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn rerank(
    state: State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Ranking>, ApiError> {
    rerank::rerank(state, body).await
}
