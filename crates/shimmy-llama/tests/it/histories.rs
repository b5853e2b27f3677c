//! Whatever an engine has gone through, an answer is the one that a cold engine gives: with models that
//! forget (windows), that keep a state that cannot be taken back, and that do both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shimmy_engine::{
    EngineConfig, Event, Finish, GenerateRequest, Generation, Prompt, PromptPart, SamplingParams,
    Session, StoreConfig, Token, spawn,
};
use shimmy_llama::{LlamaError, LlamaRunner, LlamaTokenizer, LoadOptions, Model, RunnerOptions};
use shimmy_testkit::tiny::{self, Architecture};
use tempfile::TempDir;

use crate::support::options;

/// A failure to start an engine.
#[derive(Debug)]
enum StartError {
    Llama(#[expect(dead_code, reason = "shown by a failing test")] LlamaError),
    Thread(#[expect(dead_code, reason = "shown by a failing test")] std::io::Error),
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        Self::Thread(error)
    }
}

/// One model, and a folder for what engines keep of it.
struct World {
    dir: TempDir,
    model: Arc<Model>,
}

impl World {
    fn new(architecture: Architecture) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        tiny::Model::of(architecture).write(&path).unwrap();
        let model = Model::load(&path, &LoadOptions::default()).unwrap();
        Self { dir, model }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn engine(&self, config: EngineConfig) -> Session {
        let tokenizer = Arc::new(LlamaTokenizer::new(Arc::clone(&self.model)).unwrap());
        let model = Arc::clone(&self.model);
        let build = move || {
            let mut options: RunnerOptions = options();
            options.context.cells = Some(2048);
            options.context.sequences = 5;
            LlamaRunner::new(model, options).map_err(StartError::Llama)
        };
        let engine = spawn("engine", config, tokenizer.clone(), build).unwrap();
        Session::new(tokenizer, engine, 0)
    }

    /// An engine that keeps all it can: a little in the cache, the rest in memory and on disk.
    fn warm(&self) -> Session {
        self.engine(EngineConfig {
            parallel: Some(3),
            context: Some(CONTEXT),
            parked_cells: Some(700),
            offload_bytes: 1 << 20,
            store: Some(store(&self.store())),
            ..EngineConfig::default()
        })
    }

    /// The answer of an engine that has never seen anything else.
    fn cold(&self, prompt: &[Token], length: u32) -> Answer {
        let session = self.engine(EngineConfig {
            parked_cells: Some(0),
            context: Some(CONTEXT),
            drafts: false,
            ..EngineConfig::default()
        });
        let answer = Answer::read(session.generate(ask(prompt, length)).unwrap());
        session.engine().shutdown();
        answer
    }
}

fn store(folder: &Path) -> StoreConfig {
    StoreConfig {
        folder: folder.to_owned(),
        fingerprint: 1,
        most_bytes: 1 << 22,
    }
}

/// Tokens of prompt and answer: more than the cells that layers with a window have.
const CONTEXT: usize = 700;

/// A greedy request.
fn ask(prompt: &[Token], length: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt {
            parts: vec![PromptPart::Tokens(prompt.to_vec())],
        },
        max_tokens: Some(length),
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        ignore_eos: true,
        logprobs: Some(2),
        ..GenerateRequest::default()
    }
}

/// Tokens, and how far each was ahead of the next likeliest, in nats.
#[derive(Debug, Clone)]
struct Answer {
    tokens: Vec<Token>,
    margins: Vec<f32>,
    finish: Finish,
}

/// What batches of other sizes and cells in another order change in a margin, at most: llama.cpp's
/// attention adds up in halves. A wrong state changes ten times as much.
const NOISE: f32 = 0.1;

impl Answer {
    fn read(mut generation: Generation) -> Self {
        let (mut tokens, mut margins) = (Vec::new(), Vec::new());
        loop {
            match generation.next_blocking() {
                Some(Event::Text { logprobs, .. }) => {
                    for token in logprobs {
                        tokens.push(token.chosen.token);
                        margins.push(token.top[0].logprob - token.top[1].logprob);
                    }
                }
                Some(Event::Finished(finish)) => {
                    return Self {
                        tokens,
                        margins,
                        finish,
                    };
                }
                other => panic!("the answer failed after {tokens:?}: {other:?}"),
            }
        }
    }

    /// Whether it is the expected one with the expected margins, up to a place where the choice is a
    /// matter of noise.
    fn is(&self, expected: &Self) -> bool {
        let ours = self.tokens.iter().zip(&self.margins);
        for ((a, margin), (b, theirs)) in ours.zip(expected.tokens.iter().zip(&expected.margins)) {
            if a != b {
                return margin + theirs < NOISE;
            }
            if (margin - theirs).abs() > NOISE {
                return false;
            }
        }
        self.tokens.len() == expected.tokens.len()
    }
}

/// What a request begins with.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// A text of its own.
    Anew,
    /// All that was said last in this conversation.
    GoOn,
    /// A part of that.
    Part(usize),
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    conversation: usize,
    start: Start,
    /// Tokens behind it.
    more: usize,
    answer: u32,
    /// Whether the reader leaves after the first words.
    leaves: bool,
}

#[derive(Debug, Clone)]
enum Round {
    Together(Vec<Ask>),
    Restart,
}

fn asking() -> impl Strategy<Value = Ask> {
    let start = prop_oneof![
        1 => Just(Start::Anew),
        3 => Just(Start::GoOn),
        1 => (1..400_usize).prop_map(Start::Part),
    ];
    (0..4_usize, start, 1..200_usize, 1..24_u32, 0..8_u8).prop_map(
        |(conversation, start, more, answer, leaves)| Ask {
            conversation,
            start,
            more,
            answer,
            leaves: leaves == 0,
        },
    )
}

fn history() -> impl Strategy<Value = Vec<Round>> {
    let together = || prop::collection::vec(asking(), 1..4).prop_map(Round::Together);
    prop::collection::vec(
        prop_oneof![6 => together(), 1 => Just(Round::Restart)],
        2..9,
    )
}

/// The bytes of some text, which are the tiny vocabulary's tokens.
fn words(conversation: usize, count: usize) -> Vec<Token> {
    let text = format!("The {conversation}th talk is about cables and ships, harbours, tides. ");
    text.bytes().cycle().take(count).map(Token::from).collect()
}

/// Goes through a history and returns how many tokens were reused.
fn live(world: &World, history: &[Round]) -> Result<u32, TestCaseError> {
    let _ = std::fs::remove_dir_all(world.store());
    let mut session = world.warm();
    let mut said: Vec<Vec<Token>> = vec![Vec::new(); 4];
    let mut reused = 0;
    for round in history {
        let Round::Together(asks) = round else {
            session.engine().shutdown();
            session = world.warm();
            continue;
        };
        let running: Vec<_> = asks
            .iter()
            .map(|&asked| {
                let before = &said[asked.conversation];
                let mut prompt = match asked.start {
                    Start::Anew => Vec::new(),
                    Start::GoOn => before.clone(),
                    Start::Part(length) => before[..length.min(before.len())].to_vec(),
                };
                if prompt.is_empty() {
                    prompt = words(asked.conversation, 40);
                }
                prompt.extend(words(asked.more, asked.more));
                prompt.truncate(CONTEXT - 30);
                let generation = session.generate(ask(&prompt, asked.answer)).unwrap();
                (asked, prompt, generation)
            })
            .collect();
        for (asked, mut prompt, mut generation) in running {
            if asked.leaves {
                let _ = generation.next_blocking();
                continue;
            }
            let answer = Answer::read(generation);
            let expected = world.cold(&prompt, asked.answer);
            prop_assert!(
                answer.is(&expected),
                "{prompt:?}: {answer:?}\ninstead of {expected:?}"
            );
            reused += answer.finish.usage.cached_tokens;
            prompt.extend(&answer.tokens);
            said[asked.conversation] = prompt;
        }
    }
    session.engine().shutdown();
    Ok(reused)
}

fn every_history(architecture: Architecture) {
    let world = World::new(architecture);
    let reused = std::cell::Cell::new(0);
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(10)
    };
    let mut runner = TestRunner::new(config);
    runner
        .run(&history(), |history| {
            reused.set(reused.get() + live(&world, &history)?);
            Ok(())
        })
        .unwrap();
    assert!(reused.get() > 0, "nothing was reused, so nothing was tried");
}

#[test]
fn a_cache_of_cells_shows_nothing_of_its_past() {
    every_history(Architecture::llama());
}

#[test]
fn a_sliding_window_shows_nothing_of_its_past() {
    every_history(Architecture::gemma3_in_threes());
}

#[test]
fn a_state_shows_nothing_of_its_past() {
    every_history(Architecture::mamba());
}

#[test]
fn cells_and_a_state_together_show_nothing_of_their_past() {
    every_history(Architecture::lfm2());
}
