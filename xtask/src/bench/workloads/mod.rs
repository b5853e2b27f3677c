//! What is measured: each workload with its figures, the prompts it sends and how it warms up. A
//! workload sees a stage and returns its figures; rounds, tables and files are not its business.

mod burst;
mod code_edit;
mod conversations;
mod crowd;
mod deep;
mod embeddings;
mod engine;
mod idle;
mod long_prompt;
mod overhead;
mod resume;
mod schema;
mod single;
mod start;
mod streams;
mod swap;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::client::Answer;
use super::side::Setting;
use super::stage::Stage;
use super::stats::percentile;

/// Everything that can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    Start,
    Generate,
    Single,
    Prefill,
    Engine,
    Deep,
    Streams8,
    Streams32,
    Burst,
    LongPrompt,
    Conversations,
    Schema,
    CodeEdit,
    Embeddings,
    Resume,
    Swap,
    Idle,
    Crowd,
    Overhead,
}

/// What a workload is called and gives.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// In the order of the values that a run gives.
    pub(super) figures: &'static [Figure],
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    #[serde(skip)]
    pub(super) target: Option<Target>,
}

/// Which way a figure is an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    Lower,
    Higher,
}

impl fmt::Display for Better {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        })
    }
}

/// What is wanted of a figure. Shown, not enforced: a shared machine is no judge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// Our own figure, at most.
    AtMost(f64),
    /// The ratio ours / peer, at most.
    RatioAtMost(f64),
    /// The ratio ours / peer, at least.
    RatioAtLeast(f64),
}

/// The figure that every workload with a server has beside its own.
pub(super) const MEMORY: Figure = Figure {
    target: Some(Target::RatioAtMost(1.0)),
    ..lower("anonymous memory at the end", "MB")
};

const fn lower(name: &'static str, unit: &'static str) -> Figure {
    Figure {
        name,
        unit,
        better: Better::Lower,
        target: None,
    }
}

const fn higher(name: &'static str, unit: &'static str) -> Figure {
    Figure {
        better: Better::Higher,
        ..lower(name, unit)
    }
}

impl Workload {
    pub(super) const ALL: [Self; 19] = [
        Self::Start,
        Self::Generate,
        Self::Single,
        Self::Prefill,
        Self::Engine,
        Self::Deep,
        Self::Streams8,
        Self::Streams32,
        Self::Burst,
        Self::LongPrompt,
        Self::Conversations,
        Self::Schema,
        Self::CodeEdit,
        Self::Embeddings,
        Self::Resume,
        Self::Swap,
        Self::Idle,
        Self::Crowd,
        Self::Overhead,
    ];

    pub(super) fn spec(self) -> &'static Spec {
        match self {
            Self::Start => &start::SPEC,
            Self::Generate => &start::GENERATE,
            Self::Single => &single::SPEC,
            Self::Prefill => &single::PREFILL,
            Self::Engine => &engine::SPEC,
            Self::Deep => &deep::SPEC,
            Self::Streams8 => &streams::EIGHT,
            Self::Streams32 => &streams::THIRTY_TWO,
            Self::Burst => &burst::SPEC,
            Self::LongPrompt => &long_prompt::SPEC,
            Self::Conversations => &conversations::SPEC,
            Self::Schema => &schema::SPEC,
            Self::CodeEdit => &code_edit::SPEC,
            Self::Embeddings => &embeddings::SPEC,
            Self::Resume => &resume::SPEC,
            Self::Swap => &swap::SPEC,
            Self::Idle => &idle::SPEC,
            Self::Crowd => &crowd::SPEC,
            Self::Overhead => &overhead::SPEC,
        }
    }

    /// The option without which this cannot be measured.
    pub(super) fn option(self) -> Option<&'static str> {
        match self {
            Self::Swap => Some("--second-model"),
            Self::Engine => Some("--peer-bench"),
            _ => None,
        }
    }

    /// That option, when it was not given.
    pub(super) fn needs(self, setting: &Setting) -> Option<&'static str> {
        let is_given = match self {
            Self::Swap => setting.second_model.is_some(),
            Self::Engine => setting.peer_bench.is_some(),
            _ => true,
        };
        self.option().filter(|_| !is_given)
    }

    /// Whether memory at its end says more than that of any other workload.
    pub(super) fn is_about_memory(self) -> bool {
        matches!(self, Self::Start | Self::Conversations | Self::Streams32)
    }

    /// One run: a value for each figure.
    pub(super) async fn run(self, stage: &mut Stage<'_>) -> Result<Vec<f64>> {
        match self {
            Self::Start => start::run(stage).await,
            Self::Generate => start::generate(stage).await,
            Self::Single => single::run(stage).await,
            Self::Prefill => single::prefill(stage).await,
            Self::Engine => engine::run(stage).await,
            Self::Deep => deep::run(stage).await,
            Self::Streams8 => streams::run(stage, 8).await,
            Self::Streams32 => streams::run(stage, 32).await,
            Self::Burst => burst::run(stage).await,
            Self::LongPrompt => long_prompt::run(stage).await,
            Self::Conversations => conversations::run(stage).await,
            Self::Schema => schema::run(stage).await,
            Self::CodeEdit => code_edit::run(stage).await,
            Self::Embeddings => embeddings::run(stage).await,
            Self::Resume => resume::run(stage).await,
            Self::Swap => swap::run(stage).await,
            Self::Idle => idle::run(stage).await,
            Self::Crowd => crowd::run(stage).await,
            Self::Overhead => overhead::run(stage).await,
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.spec().name == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|one| one.spec().name).join(", ");
            format!("there is no workload {text:?}; there are {names}")
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The 50th and the 95th percentile of the times to the first token, in milliseconds.
fn times_to_first<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Result<[f64; 2]> {
    let times: Vec<f64> = answers
        .into_iter()
        .map(|answer| answer.time_to_first().map(milliseconds))
        .collect::<Result<_>>()?;
    let of = |percent| percentile(&times, percent).context("no answers");
    Ok([of(50.0)?, of(95.0)?])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        let names: HashSet<&str> = Workload::ALL.map(|one| one.spec().name).into();
        assert_eq!(names.len(), Workload::ALL.len());
        for workload in Workload::ALL {
            assert_eq!(workload.spec().name.parse(), Ok(workload));
        }
    }

    #[test]
    fn figures_of_a_workload_have_names_of_their_own() {
        for workload in Workload::ALL {
            let figures = workload.spec().figures;
            let names: HashSet<&str> = figures.iter().map(|figure| figure.name).collect();
            assert!(names.len() == figures.len() && !names.contains(MEMORY.name));
        }
    }
}
