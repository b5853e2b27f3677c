//! The whole route table, and what happens around every route.
//!
//! What is not in the table does not exist, and the guard stands before the table: a path that
//! matches nothing tells a stranger as little as one that does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::auth::{Guard, guard};
use crate::error::{ApiError, Asked, ErrorKind, render};
use crate::state::AppState;
use crate::table::table;
use crate::{anthropic, docs, llamacpp, native, ollama, openai, openapi, responses};

// The paths may have wildcards (`{*rest}`) where the documented ones have plain parameters: names of
// models hold slashes, which OpenAPI cannot say.
table! {
    // Open to everyone: see `auth`.
    get  "/health"                => native::health::health;
    get  "/health/live"           => native::health::live;
    get  "/health/ready"          => native::health::ready;
    get  "/docs"                  => docs::page;
    get  "/docs/{file}"           => docs::asset;

    // Native, and Ollama's where the paths are the same.
    post "/api/generate"          => native::generate::generate;
    get  "/ws/generate"           => native::ws::generate;
    get  "/api/models"            => native::models::list;
    post "/api/models/discover"   => native::models::discover;
    get  "/api/models/{*path}"    => native::models::status;
    post "/api/models/{*path}"    => native::models::change as (native::models::load, native::models::unload);
    get  "/diag"                  => native::diag::diag;
    get  "/metrics"               => native::metrics::metrics;
    get  "/openapi.json"          => openapi::openapi;

    // OpenAI.
    post "/v1/chat/completions"   => openai::chat::completions;
    post "/v1/completions"        => openai::completions::completions;
    post "/v1/embeddings"         => openai::embeddings::embeddings;
    post "/v1/rerank"             => openai::rerank::rerank;
    post "/v1/reranking"          => openai::rerank::rerank like "/v1/rerank";
    post "/chat/completions"      => openai::chat::completions like "/v1/chat/completions";
    get  "/models"                => openai::models::list like "/v1/models";
    get  "/v1/models"             => openai::models::list;
    get  "/v1/models/{*id}"       => openai::models::one;
    get  "/v1/responses"          => responses::socket::connect;
    post "/v1/responses"          => responses::create::create;
    post "/v1/load_lora_adapter"  => openai::adapters::load;
    post "/v1/unload_lora_adapter" => openai::adapters::unload;
    post "/v1/responses/input_tokens" => responses::create::input_tokens;
    get  "/v1/responses/{id}"     => responses::kept::retrieve;
    delete "/v1/responses/{id}"   => responses::kept::delete;

    // Anthropic, and what its clients ask to see whether anybody is there.
    post "/v1/messages"           => anthropic::messages::create;
    post "/v1/messages/count_tokens" => anthropic::messages::count_tokens;
    get  "/api/hello"             => anthropic::hello;

    // Ollama.
    get  "/"                      => ollama::root::root;
    get  "/api/version"           => ollama::root::version;
    get  "/api/tags"              => ollama::models::tags;
    get  "/api/ps"                => ollama::models::running;
    post "/api/show"              => ollama::show::show;
    post "/api/chat"              => ollama::chat::chat;
    post "/api/embed"             => ollama::embed::embed;
    post "/api/embeddings"        => ollama::embed::embeddings;
    post "/api/pull"              => ollama::store::pull;
    post "/api/copy"              => ollama::store::copy;
    post "/api/create"            => ollama::store::create;
    delete "/api/delete"          => ollama::store::delete;
    head "/api/blobs/{*digest}"   => ollama::blobs::exists;
    post "/api/blobs/{*digest}"   => ollama::blobs::put;

    // llama-server.
    post "/apply-template"        => llamacpp::template::apply;
    post "/completion"            => llamacpp::completion::completion;
    post "/completions"           => llamacpp::completion::completion like "/completion";
    post "/detokenize"            => llamacpp::tokens::detokenize;
    post "/embedding"             => llamacpp::embedding::embedding;
    post "/embeddings"            => llamacpp::embedding::embedding like "/embedding";
    post "/infill"                => llamacpp::completion::infill;
    get  "/lora-adapters"         => llamacpp::adapters::list;
    post "/lora-adapters"         => llamacpp::adapters::scale;
    get  "/props"                 => llamacpp::props::props;
    post "/rerank"               => llamacpp::rerank::rerank;
    post "/reranking"            => llamacpp::rerank::rerank like "/rerank";
    get  "/slots"                 => llamacpp::props::slots;
    post "/tokenize"              => llamacpp::tokens::tokenize;
    get  "/v1/health"            => native::health::v1;
}

/// The table at an address where every client speaks Ollama's dialect.
pub(crate) fn ollama_router(entrance: Guard) -> Router {
    router(entrance).layer(from_fn(ollama::own_address))
}

/// The table with what happens around every route.
pub(crate) fn router(entrance: Guard) -> Router {
    let state = Arc::clone(&entrance.state);
    routes()
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(entrance, guard))
        .layer(from_fn_with_state(Arc::clone(&state), edge))
        .with_state(state)
}

async fn not_found(request: Request) -> ApiError {
    let message = format!(
        "no such route: {} {}",
        request.method(),
        request.uri().path()
    );
    ApiError::new(ErrorKind::NotFound, message)
}

/// `Allow` is added by the router. A plain `OPTIONS` asks for nothing else.
async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let message = format!("{method} is not allowed here");
    ApiError::new(ErrorKind::MethodNotAllowed, message).into_response()
}

/// The outermost layer: errors get their bodies, panics become errors, and all are counted.
async fn edge(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let received = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let asked = Asked::of(&request);
    let method = request.method().clone();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        // The panic hook has written what and where; the client only learns whose fault it was.
        ApiError::new(ErrorKind::Internal, "the server failed on this request").into_response()
    });
    let mut response = render(&asked, response);
    if state.is_draining() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    tracing::debug!(%method, path = ?asked.path(), status = response.status().as_u16(), "answered");
    state.metrics.answered(route.as_ref(), received, response)
}
