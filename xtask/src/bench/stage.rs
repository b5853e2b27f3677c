//! What a workload is given for one run against one side: servers, prompts, and a place where all
//! that happens is written down.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde::Serialize;

use super::client::{Answer, Ask};
use super::prompts::{Ruler, Words};
use super::server::{self, Server};
use super::side::{Role, Setting, Side};
use super::workloads::Workload;
use crate::process;

#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) setting: &'a Setting,
    pub(super) side: &'a Side,
    pub(super) place: Place,
    pub(super) record: Record,
}

/// Where in the whole measurement a run stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) round: u32,
    pub(super) workload: Workload,
    pub(super) ruler: Ruler,
}

/// What happened in a run, for the JSON file.
#[derive(Debug, Default, Serialize)]
pub(super) struct Record {
    commands: Vec<String>,
    requests: Vec<Request>,
    /// Of the server at the end of the workload.
    pub(super) anonymous_bytes: Option<u64>,
    /// Of all servers of the run.
    #[serde(skip)]
    pub(super) server_cpu: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct Request {
    /// Milliseconds from sending to each piece of text.
    pieces_ms: Vec<f64>,
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    finish_reason: Option<String>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(setting: &'a Setting, side: &'a Side, place: Place) -> Self {
        Self {
            setting,
            side,
            place,
            record: Record::default(),
        }
    }

    /// The length of prompts.
    pub(super) fn ruler(&self) -> Ruler {
        self.place.ruler
    }

    /// Where the servers of this run write.
    pub(super) fn log(&self) -> PathBuf {
        let name = format!("{}-{}.log", self.place.workload.spec().name, self.side.name);
        self.setting.folder.join(name)
    }

    /// Words that no other run, and no other part of this one, has.
    pub(super) fn words(&self, part: u64) -> Words {
        Words::new(&[
            u64::from(self.place.round),
            self.place.workload as u64,
            part,
        ])
    }

    /// Starts a server and does not wait for it.
    pub(super) fn start(&mut self, role: Role<'_>) -> Result<Server> {
        let port = server::free_port()?;
        let drafts = self.place.workload == Workload::CodeEdit;
        let command = self.side.serve(self.setting, role, drafts, port)?;
        self.record
            .commands
            .push(process::display(command.as_std()));
        Server::start(command, port, &self.log())
    }

    /// Starts a server, waits until it is healthy and has given one short answer: the warm-up.
    pub(super) async fn ready(&mut self) -> Result<Server> {
        let mut server = self.start(Role::Chat)?;
        server.wait_until_healthy().await?;
        server.client.chat(&Ask::user("Say hello.", 8)).await?;
        Ok(server)
    }

    pub(super) async fn chat(&mut self, server: &Server, ask: &Ask) -> Result<Answer> {
        let answer = server.client.chat(ask).await?;
        self.keep(&answer);
        check(ask, &answer)?;
        Ok(answer)
    }

    /// All at once.
    pub(super) async fn together(&mut self, server: &Server, asks: &[Ask]) -> Result<Vec<Answer>> {
        let answers = try_join_all(asks.iter().map(|ask| server.client.chat(ask))).await?;
        for (ask, answer) in asks.iter().zip(&answers) {
            self.keep(answer);
            check(ask, answer)?;
        }
        Ok(answers)
    }

    /// Writes an answer down.
    pub(super) fn keep(&mut self, answer: &Answer) {
        let since = |piece: &Instant| (*piece - answer.sent).as_secs_f64() * 1e3;
        self.record.requests.push(Request {
            // Microseconds say all that there is to say.
            pieces_ms: answer
                .pieces
                .iter()
                .map(|piece| (since(piece) * 1e3).round() / 1e3)
                .collect(),
            prompt_tokens: answer.usage.map(|usage| usage.prompt_tokens),
            cached_tokens: answer.usage.and_then(|usage| usage.cached_tokens()),
            completion_tokens: answer.usage.map(|usage| usage.completion_tokens),
            finish_reason: answer.finish_reason.clone(),
        });
    }

    pub(super) fn keep_command(&mut self, command: &tokio::process::Command) {
        self.record
            .commands
            .push(process::display(command.as_std()));
    }

    /// Writes down what the server uses, and ends it; whether it ended by itself when asked.
    pub(super) async fn finish(&mut self, server: Server) -> Result<bool> {
        let usage = server.usage()?;
        ensure!(
            usage.anonymous_bytes > 0,
            "the server has ended:\n{}",
            server.log_tail()
        );
        self.record.anonymous_bytes = Some(usage.anonymous_bytes);
        *self.record.server_cpu.get_or_insert_default() += usage.cpu;
        let ended = server.stop().await?;
        if !ended {
            eprintln!("warning: {} had to be killed", self.side.name);
        }
        Ok(ended)
    }
}

/// An answer of another length than was asked for cannot be compared.
fn check(ask: &Ask, answer: &Answer) -> Result<()> {
    let tokens = answer.usage()?.completion_tokens;
    ensure!(
        !ask.ignore_eos || tokens == u64::from(ask.max_tokens),
        "an answer of {tokens} tokens where {} were asked for",
        ask.max_tokens
    );
    answer.first().map(|_| ()).context("an answer")
}
