//! Everything that is done before the engine hears of a request: template, parameters, tokens.

use std::time::Duration;

use shimmy_chat::{AnswerFormat, ChatPlan, HeldSchema, Unheard};
use shimmy_engine::{
    AdapterId, AdapterScale, Constraint, GenerateRequest, Prepared, SamplingPatch, SubmitError,
};

use super::ask::Input;
use crate::adapters::AdapterUse;
use crate::error::ApiError;
use crate::fields::{LoraField, Params};
use crate::model::LoadedModel;

/// A prompt that is ready for the engine, and how its answer is read.
pub(super) struct Ready {
    pub(super) prepared: Prepared,
    pub(super) format: AnswerFormat,
    pub(super) unheard: Vec<Unheard>,
    /// The stop texts that only end what is said to the user.
    pub(super) stops_of_text: Vec<String>,
    pub(super) time_limit: Option<Duration>,
}

/// Pure computation: template, parameters, tokens; `defaults` holds what the server decides.
pub(super) fn prepare(
    model: &LoadedModel,
    input: Input,
    params: Params,
    defaults: GenerateRequest,
) -> Result<(Vec<Ready>, AdapterUse), ApiError> {
    let (adapters, held) = match &params.lora {
        Some(lora) => chosen_adapters(model, lora)?,
        // The model's handle holds these.
        None => (model.default_adapters.clone(), AdapterUse::default()),
    };
    let time_limit = params.time_limit;
    let has_stops = !params.stop.is_empty();
    let has_grammar = matches!(params.constraint, Some(Constraint::Grammar(_)));
    if let (Input::Chat(chat), Some(Constraint::Grammar(_) | Constraint::Regex(_))) =
        (&input, &params.constraint)
        && chat.tool_choice.is_a_must()
    {
        let reason = "cannot be combined with a `tool_choice` that requires a call";
        return Err(ApiError::field("grammar", reason));
    }
    let own_names = params.sampling.own_names();
    let plans = input.plan(model, params.constraint)?;
    let common = GenerateRequest {
        sampling: params.sampling.over(model)?,
        max_tokens: model
            .preset
            .max_tokens_under(params.max_tokens)
            .or(defaults.max_tokens),
        stop: model.preset.stop_under(params.stop),
        ignore_eos: params.ignore_eos,
        adapters,
        logprobs: params.logprobs,
        context: params.context,
        // Nobody gets more time than the server gives.
        deadline: params.deadline.into_iter().chain(defaults.deadline).min(),
        ..defaults
    };
    let ready = |plan: ChatPlan| {
        let request = GenerateRequest {
            prompt: plan.prompt,
            constraint: plan.constraint,
            shown: plan.shown,
            stop: common.stop.iter().cloned().chain(plan.stop).collect(),
            ..common.clone()
        };
        let prepared = model.session.prepare(request);
        let prepared = prepared.map_err(|error| match culprit(model, &error, plan.schemas) {
            Some(error) => error,
            None => ApiError::from(error).renamed(own_names),
        });
        let mut prepared = match plan.holds_calls && !has_grammar {
            // A grammar that the request has not brought is there for the sake of its tools.
            true => prepared.map_err(|error| error.renamed(&[("grammar", "tools")]))?,
            false => prepared?,
        };
        // A request's own stop texts end what is said. A model's own, which a file gives it, are
        // marks of the end of its turn.
        let stops_of_text = match plan.may_call && has_stops {
            true => std::mem::take(&mut prepared.request.stop),
            false => Vec::new(),
        };
        Ok(Ready {
            prepared,
            stops_of_text,
            format: plan.format,
            unheard: plan.unheard,
            time_limit,
        })
    };
    let ready = plans
        .into_iter()
        .map(ready)
        .collect::<Result<_, ApiError>>()?;
    Ok((ready, held))
}

/// What is wrong with one of the schemas that a grammar is put together from, if that is why it was
/// refused: nobody who sent a schema has seen the grammar.
fn culprit(model: &LoadedModel, error: &SubmitError, schemas: Vec<HeldSchema>) -> Option<ApiError> {
    if !matches!(error, SubmitError::Invalid(invalid) if invalid.field == "grammar") {
        return None;
    }
    schemas.into_iter().find_map(|HeldSchema { tool, schema }| {
        let schema = Constraint::JsonSchema(schema);
        let wrong = model.session.check_constraint(&schema).err()?;
        Some(match tool {
            Some(tool) => {
                let reason = format!("holds {tool:?}, whose schema {}", wrong.reason);
                ApiError::field("tools", reason)
            }
            None => wrong.into(),
        })
    })
}

/// The adapters that a request chooses, and their use.
fn chosen_adapters(
    model: &LoadedModel,
    lora: &[LoraField],
) -> Result<(Vec<AdapterScale>, AdapterUse), ApiError> {
    let chosen = lora.iter().map(|lora| lora.resolve(model));
    let chosen: Vec<AdapterScale> = chosen.collect::<Result<_, _>>()?;
    let held = model.adapters.hold(&chosen).map_err(|AdapterId(id)| {
        let known: Vec<_> = model
            .adapters
            .all()
            .iter()
            .map(|a| a.id.0.to_string())
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        ApiError::field("lora", format!("names adapter {id}; loaded are: {known}"))
    })?;
    Ok((chosen, held))
}

/// A sampling change for a running answer, checked as the request's own values were.
pub(crate) fn checked_patch(
    model: &LoadedModel,
    patch: SamplingPatch,
) -> Result<SamplingPatch, ApiError> {
    let mut params = model.default_sampling.clone();
    patch.apply(&mut params);
    params.validate(model.session.tokenizer().vocabulary())?;
    Ok(patch)
}
