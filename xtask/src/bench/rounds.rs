//! The sides in turn: every workload against every side, round after round.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};
use serde_json::json;
use tokio::time::timeout;

use super::client::{Ask, Client, Refused};
use super::prompts::{Ruler, Words};
use super::results::{Load, Outcome, Results, Run};
use super::server::Server;
use super::side::{NotSupported, Role, Setting, Side};
use super::stage::{Place, Stage};
use super::workloads::Workload;
use super::{machine, proc};

/// For one run: a slow machine with a large model needs minutes, and a hang ends.
const RUN_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Asks our server how many tokens words are with this model.
pub(super) async fn measure_words(setting: &Setting, side: &Side) -> Result<Ruler> {
    // Its lengths do not matter before it is known.
    let unknown = Ruler::fit((0, 0), (1, 1))?;
    let place = Place {
        round: 0,
        workload: Workload::Start,
        ruler: unknown,
    };
    let mut stage = Stage::new(setting, side, place);
    let mut server = stage.start(Role::Chat)?;
    server.wait_until_healthy().await?;
    let ruler = match by_chats(&mut stage, &server).await {
        Err(error) if is_no_talker(&error) => by_texts(&server.client).await?,
        ruler => ruler?,
    };
    stage.finish(server).await?;
    Ok(ruler)
}

async fn by_chats(stage: &mut Stage<'_>, server: &Server) -> Result<Ruler> {
    let mut counts = Vec::new();
    for words in [40, 240] {
        let ask = Ask::user(Words::new(&[words as u64]).text(words), 1);
        let answer = stage.chat(server, &ask).await?;
        counts.push((words, answer.usage()?.prompt_tokens));
    }
    Ruler::fit(counts[0], counts[1])
}

/// The same of a model that only makes vectors, by short texts: an encoder reads a few hundred tokens.
async fn by_texts(client: &Client) -> Result<Ruler> {
    let mut counts = Vec::new();
    for words in [10, 50] {
        let body = json!({ "input": Words::new(&[words as u64]).text(words) });
        let answer = client.post("/v1/embeddings", &body).await?;
        let tokens = answer["usage"]["prompt_tokens"].as_u64();
        counts.push((words, tokens.context("an answer without usage")?));
    }
    Ruler::fit(counts[0], counts[1])
}

/// Whether a chat was refused because of what the model is.
fn is_no_talker(error: &Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == 400)
}

/// One run of a workload against each side, one after the other.
pub(super) async fn turn(
    place: Place,
    setting: &Setting,
    sides: &[Side],
    results: &mut Results,
) -> Result<()> {
    let name = place.workload.spec().name;
    for side in sides {
        if !results.is_unsupported(place.workload, side.name) {
            let run = run(Stage::new(setting, side, place)).await?;
            eprintln!("  {name:<14} {:<10} {}", side.name, told(&run));
            results.runs.push(run);
        }
    }
    Ok(())
}

/// One run. What goes wrong in it is its outcome; an error is that nothing can be measured here.
async fn run(mut stage: Stage<'_>) -> Result<Run> {
    let (client_before, machine_before) = (proc::of_this_thread()?, proc::of_machine()?);
    let began = Instant::now();
    let Place {
        round, workload, ..
    } = stage.place;
    let done = timeout(RUN_LIMIT, workload.run(&mut stage)).await;
    let done = done.with_context(|| format!("it takes more than {RUN_LIMIT:?}"));
    let wall = began.elapsed();
    let client = proc::of_this_thread()?.saturating_sub(client_before);
    let machine = proc::of_machine()?.saturating_sub(machine_before);
    let outcome = match done.and_then(|done| done) {
        Ok(values) => Outcome::Measured { values },
        Err(error) => outcome_of(&error, &stage),
    };
    let server = stage.record.server_cpu;
    let others = server.map(|server| machine.saturating_sub(server + client));
    Ok(Run {
        round,
        workload,
        side: stage.side.name,
        outcome,
        load: Load {
            wall_s: wall.as_secs_f64(),
            client_cpu_s: client.as_secs_f64(),
            server_cpu_s: server.map(|time| time.as_secs_f64()),
            others_cpu_s: others.map(|time| time.as_secs_f64()),
            load_average: machine::load_average(),
        },
        record: stage.record,
    })
}

/// A server that lacks or declines something is told from one that fails.
fn outcome_of(error: &Error, stage: &Stage<'_>) -> Outcome {
    let mut causes = error.chain();
    let reason = causes.find_map(|cause| {
        if let Some(NotSupported(reason)) = cause.downcast_ref() {
            return Some(reason.clone());
        }
        let refused: &Refused = cause.downcast_ref()?;
        refused.is_lasting().then(|| refused.to_string())
    });
    match reason {
        Some(reason) => Outcome::NotSupported { reason },
        None => Outcome::Failed {
            reason: format!("{error:#} (its log: {})", stage.log().display()),
        },
    }
}

fn told(run: &Run) -> String {
    match &run.outcome {
        Outcome::Measured { values } => {
            let figures = run.workload.spec().figures.iter().zip(values);
            let values = figures.map(|(figure, value)| {
                let number = super::table::number(*value);
                format!("{number} {}", figure.unit)
            });
            values.collect::<Vec<_>>().join(", ")
        }
        Outcome::NotSupported { reason } => format!("not supported: {reason}"),
        Outcome::Failed { reason } => format!("failed: {reason}"),
    }
}
