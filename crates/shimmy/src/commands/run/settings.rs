//! How a conversation is held: the settings that `/set` changes.
//!
//! Owns their names, their texts and which values they take; must not know when they are used.

use shimmy_engine::SamplingParams;
use shimmy_server::LoadedModel;

use super::directive::switch;
use crate::cli::{CONTEXT, NO_LIMIT, RunArgs, SamplingArgs, tokens};
use crate::commands::answer::{Wishes, thinking};
use crate::config;
use crate::failure::{Failure, USAGE};

/// The settings of a conversation.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) system: Option<String>,
    pub(super) sampling: SamplingArgs,
    pub(super) max_tokens: Option<u32>,
    pub(super) stop: Vec<String>,
    /// Tokens of context; none is as the engine has it.
    pub(super) context: Option<u32>,
    /// Whether to think: `on`, `off` or an effort.
    pub(super) think: Option<String>,
    /// Whether thoughts are shown.
    pub(super) thoughts: bool,
    /// Whether counts and speeds follow an answer.
    pub(super) verbose: bool,
}

impl Settings {
    /// As the command line has them.
    pub(super) fn new(args: &RunArgs) -> Self {
        Self {
            system: args.system.clone(),
            sampling: args.sampling.clone(),
            max_tokens: args.max_tokens,
            stop: args.stop.clone(),
            context: args.engine.ctx,
            think: args.thinking.think.clone(),
            thoughts: true,
            verbose: false,
        }
    }

    /// What they mean for an answer of this model.
    pub(super) fn wishes(&self, model: &LoadedModel) -> Result<Wishes, Failure> {
        Ok(Wishes {
            sampling: self.sampling_of(model)?,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            thinking: thinking(self.think.as_deref()),
            ..Wishes::default()
        })
    }

    fn sampling_of(&self, model: &LoadedModel) -> Result<SamplingParams, Failure> {
        let params = config::sampling(&self.sampling, &model.default_sampling);
        let vocabulary = model.session.tokenizer().vocabulary();
        let checked = params.validate(vocabulary);
        checked.map_err(|error| Failure::from(error).with_code(USAGE))?;
        Ok(params)
    }

    /// Changes one by its name, as `first` has it where there is no value.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        first: &Settings,
    ) -> Result<(), Failure> {
        let name = name.replace('-', "_");
        let text = || value.map(str::to_owned);
        let (to, was) = (&mut self.sampling, &first.sampling);
        match name.as_str() {
            "system" => self.system = text().or_else(|| first.system.clone()),
            "temperature" => to.temperature = number(&name, value)?.or(was.temperature),
            "top_k" => to.top_k = number(&name, value)?.or(was.top_k),
            "top_p" => to.top_p = number(&name, value)?.or(was.top_p),
            "min_p" => to.min_p = number(&name, value)?.or(was.min_p),
            "repeat_penalty" => to.repeat_penalty = number(&name, value)?.or(was.repeat_penalty),
            "seed" => to.seed = number(&name, value)?.or(was.seed),
            "max_tokens" => self.max_tokens = most_tokens(&name, value)?.or(first.max_tokens),
            "stop" => self.stop = text().map_or_else(|| first.stop.clone(), |stop| vec![stop]),
            "ctx" => self.context = context(&name, value)?.or(first.context),
            "think" => self.think = text().or_else(|| first.think.clone()),
            "thoughts" => self.thoughts = value.map_or(Ok(true), |value| switch(&name, value))?,
            "verbose" => self.verbose = value.map_or(Ok(false), |value| switch(&name, value))?,
            _ => {
                return Err(
                    Failure::usage(format!("there is no setting {name:?}")).hint("/? lists them")
                );
            }
        }
        Ok(())
    }

    /// All of them with their values, for this model.
    pub(super) fn rows(&self, model: &LoadedModel) -> Result<Vec<(&'static str, String)>, Failure> {
        let params = self.sampling_of(model)?;
        let or = |value: Option<String>, other: &str| value.unwrap_or_else(|| other.to_owned());
        let is_on = |value: bool| if value { "on" } else { "off" }.to_owned();
        let seed = params.seed.map(|seed| seed.to_string());
        let preset = &model.preset;
        let system = preset.system_under(self.system.as_deref());
        let most = preset.max_tokens_under(self.max_tokens);
        let most = most.filter(|&most| most != NO_LIMIT);
        let most = most.map(|most| most.to_string());
        let stop = preset.stop_under(self.stop.clone());
        let stop: Vec<String> = stop.iter().map(|text| format!("{text:?}")).collect();
        let stop = (!stop.is_empty()).then(|| stop.join(", "));
        Ok(vec![
            ("system", or(system.map(str::to_owned), "none")),
            ("temperature", params.temperature.to_string()),
            ("top_k", params.top_k.to_string()),
            ("top_p", params.top_p.to_string()),
            ("min_p", params.min_p.to_string()),
            ("repeat_penalty", params.repeat_penalty.to_string()),
            ("seed", or(seed, "another each time")),
            ("max_tokens", or(most, "what the context leaves")),
            ("stop", or(stop, "none")),
            ("ctx", model.session.engine().context().to_string()),
            ("think", or(self.think.clone(), "the model's habit")),
            ("thoughts", is_on(self.thoughts)),
            ("verbose", is_on(self.verbose)),
        ])
    }
}

fn number<T: std::str::FromStr>(name: &str, value: Option<&str>) -> Result<Option<T>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let number = value.parse().map_err(|_| {
        Failure::usage(format!("{name} takes a number, not {value:?}"))
            .hint("/set shows the values that hold")
    })?;
    Ok(Some(number))
}

/// Within the limits that the flags have, too.
fn most_tokens(name: &str, value: Option<&str>) -> Result<Option<u32>, Failure> {
    let tokens = value.map(tokens).transpose();
    tokens.map_err(|reason| Failure::usage(format!("{name} cannot be that: {reason}")))
}

fn context(name: &str, value: Option<&str>) -> Result<Option<u32>, Failure> {
    let wanted: Option<u32> = number(name, value)?;
    if wanted.is_some_and(|wanted| !CONTEXT.contains(&i64::from(wanted))) {
        let (least, most) = (CONTEXT.start(), CONTEXT.end());
        let reason = format!("{name} takes a number from {least} to {most}");
        return Err(Failure::usage(reason));
    }
    Ok(wanted)
}
