//! `GET /props` and `GET /slots`: what the model is set to, and how busy it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use shimmy_engine::{Specials, Token};
use utoipa::ToSchema;

use super::settings::Settings;
use crate::answer::find_model;
use crate::error::{ApiError, ErrorKind};
use crate::failures::Answering;
use crate::llamacpp::error::ErrorBody;
use crate::loader::KeepAlive;
use crate::model::LoadedModel;
use crate::query::QueryFields;
use crate::state::AppState;

#[derive(Debug, Deserialize)]
pub(crate) struct PropsQuery {
    model: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerProps)]
pub(crate) struct Props {
    default_generation_settings: Defaults,
    /// Requests that can be computed at a time.
    total_slots: usize,
    model_alias: String,
    /// The name too: folders are nobody's business.
    model_path: String,
    modalities: Modalities,
    chat_template: String,
    bos_token: String,
    eos_token: String,
    build_info: &'static str,
    is_sleeping: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerDefaults)]
struct Defaults {
    params: Settings,
    /// Tokens that one request may hold.
    n_ctx: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerModalities)]
struct Modalities {
    vision: bool,
    audio: bool,
    video: bool,
}

/// What the default model can do
#[utoipa::path(
    get, path = "/props", tag = "llama-server", operation_id = "llamacppProps",
    responses(
        (status = 200, description = "The answer.", body = Props),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn props(
    State(state): State<Arc<AppState>>,
    QueryFields(query): QueryFields<PropsQuery>,
) -> Result<Json<Props>, ApiError> {
    let model = find_model(&state, query.model.as_deref(), KeepAlive::Default).await?;
    let tokenizer = model.session.tokenizer();
    let engine = model.session.engine();
    Ok(Json(Props {
        default_generation_settings: Defaults {
            params: Settings::defaults(&model),
            n_ctx: engine.context(),
        },
        total_slots: engine.parallel(),
        model_alias: model.name.clone(),
        model_path: model.name.clone(),
        modalities: Modalities {
            vision: false,
            audio: false,
            video: false,
        },
        chat_template: model.template.source().to_owned(),
        bos_token: spelt(&model, tokenizer.beginning_of_sequence()),
        eos_token: spelt(&model, tokenizer.end_of_sequence()),
        build_info: concat!("shimmy-", env!("CARGO_PKG_VERSION")),
        is_sleeping: false,
    }))
}

/// A special token's text; empty where there is none.
fn spelt(model: &LoadedModel, token: Option<Token>) -> String {
    let mut bytes = Vec::new();
    if let Some(token) = token {
        let tokenizer = model.session.tokenizer();
        tokenizer.append_piece(token, Specials::Parse, &mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Debug, Deserialize)]
pub(crate) struct SlotsQuery {
    model: Option<String>,
    fail_on_no_slot: Option<String>,
}

/// A place for a request. Requests are not bound to places, so which are busy says no more than
/// how many.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerSlot)]
pub(crate) struct Slot {
    id: usize,
    model: String,
    n_ctx: usize,
    is_processing: bool,
}

/// What is being computed
#[utoipa::path(
    get, path = "/slots", tag = "llama-server", operation_id = "llamacppSlots",
    responses(
        (status = 200, description = "The answer.", body = Vec<Slot>),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn slots(
    State(state): State<Arc<AppState>>,
    QueryFields(query): QueryFields<SlotsQuery>,
) -> Result<Json<Vec<Slot>>, ApiError> {
    let mut slots = Vec::new();
    for resident in state.loader.residents() {
        let model = resident.model;
        if query.model.as_ref().is_some_and(|name| *name != model.name) {
            continue;
        }
        let engine = model.session.engine();
        let running = engine.status().running;
        for place in 0..engine.parallel() {
            slots.push(Slot {
                id: slots.len(),
                model: model.name.clone(),
                n_ctx: engine.context(),
                is_processing: place < running,
            });
        }
    }
    let is_full = slots.iter().all(|slot| slot.is_processing);
    if is_full && query.fail_on_no_slot.is_some_and(|value| value != "0") {
        let message = "every place for a request is taken";
        return Err(ApiError::new(ErrorKind::Busy, message));
    }
    Ok(Json(slots))
}
