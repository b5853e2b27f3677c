//! A conversation: what was said, with whom, and how.
//!
//! Owns the messages and the model; must not know how lines are typed.

use shimmy_chat::Message;
use shimmy_engine::{Finish, FinishReason, Usage};
use shimmy_server::LoadedModel;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::directive::{Directive, HELP};
use super::kept::{self, Kept, Said};
use super::settings::Settings;
use crate::cli::{EngineArgs, ModelArgs, RunArgs};
use crate::commands::answer::{self, Answer, Piece};
use crate::commands::model::{Running, load_unless};
use crate::commands::screen::{Screen, note};
use crate::config::ModelConfig;
use crate::failure::Failure;
use crate::places;
use crate::terminal::STDERR;

pub(super) struct Conversation {
    runtime: Runtime,
    /// Ctrl-C. From the first one that is waited for on it no longer ends the process.
    interrupts: Signal,
    model: Option<Running>,
    name: Option<String>,
    models: ModelArgs,
    engine: EngineArgs,
    first: Settings,
    settings: Settings,
    /// Without the system's, and without those that the model's maker has put before them.
    messages: Vec<Message>,
    screen: Screen,
    /// Of the last answer: the context that the conversation takes.
    used: Usage,
}

impl Conversation {
    /// Loads the model.
    pub(super) fn open(args: RunArgs) -> Result<Self, Failure> {
        let settings = Settings::new(&args);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let mut conversation = Self {
            runtime,
            interrupts,
            model: None,
            name: args.name,
            models: args.models,
            engine: args.engine,
            first: settings.clone(),
            settings,
            messages: Vec::new(),
            screen: Screen::new(),
            used: Usage::default(),
        };
        conversation.load()?;
        // A wrong value should not wait for the first question.
        conversation.settings.wishes(conversation.model()?)?;
        Ok(conversation)
    }

    /// What is said before the first question.
    pub(super) fn greeting(&self) -> String {
        let Ok(model) = self.model() else {
            return String::new();
        };
        let context = model.session.engine().context();
        let caveat = match model.template.is_chat_model() {
            true => "",
            false => "It has no chat template: it was made to go on with texts, not to answer.\n",
        };
        format!(
            "{}, {context} tokens of context\n{caveat}/? lists the commands, Ctrl-D leaves\n",
            model.name
        )
    }

    /// Asks, and shows the answer as it comes.
    pub(super) fn ask(&mut self, text: &str) -> Result<(), Failure> {
        self.messages.push(Message::new("user", text));
        let answered = self.answer();
        // The next question is asked as if this one had not been, if nothing came of it.
        match answered {
            Ok(Some(answer)) => self.messages.push(answer),
            Ok(None) => drop(self.messages.pop()),
            Err(failure) => {
                self.messages.pop();
                self.screen.end()?;
                return Err(failure.map_hint(|hint| hint.replace("--ctx ", "/set ctx ")));
            }
        }
        Ok(())
    }

    /// Does what a directive says; returns what there is to be read.
    pub(super) fn obey(&mut self, directive: Directive) -> Result<String, Failure> {
        match directive {
            Directive::Help => return Ok(HELP.to_owned()),
            Directive::Show(what) => return self.show(what.as_deref()),
            Directive::Clear => {
                self.messages.clear();
                self.used = Usage::default();
                note("forgotten\n");
            }
            Directive::Set(name, value) => self.set(&name, value.as_deref())?,
            Directive::Save(name) => self.save(&name)?,
            Directive::Load(name) => self.resume(&name)?,
            // Not for the conversation.
            Directive::Leave | Directive::History(_) => {}
        }
        Ok(String::new())
    }

    fn model(&self) -> Result<&Running, Failure> {
        let gone = || Failure::new("there is no model any more").fatal();
        self.model.as_ref().ok_or_else(gone)
    }

    fn load(&mut self) -> Result<(), Failure> {
        self.engine.ctx = self.settings.context;
        // Two of them may not fit.
        self.model = None;
        let interrupts = &mut self.interrupts;
        let interrupted = async {
            interrupts.recv().await;
        };
        let load = load_unless(
            self.name.as_deref(),
            self.models.clone(),
            &self.engine,
            interrupted,
        );
        let changes = STDERR.has_colours();
        if changes {
            note("loading …");
        }
        let loaded = self.runtime.block_on(load);
        if changes {
            note("\r\x1b[K");
        }
        self.model = Some(loaded?);
        Ok(())
    }

    /// The answer as a message, if there is any.
    fn answer(&mut self) -> Result<Option<Message>, Failure> {
        let model = self.model.as_ref();
        let model = model.ok_or_else(|| Failure::new("there is no model any more").fatal())?;
        let system = self.settings.system.iter();
        let system = system.map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let wishes = self.settings.wishes(model)?;
        let plan = answer::plan(model, &messages, &wishes)?;
        if let Some(warning) = answer::unheard(model, &plan.unheard) {
            self.screen.warn(&warning);
        }
        let mut answer = Answer::start(model, plan, wishes)?;
        let (screen, interrupts) = (&mut self.screen, &mut self.interrupts);
        screen.shows_thoughts = self.settings.thoughts;
        let (mut said, mut thought) = (String::new(), String::new());
        let finish = self.runtime.block_on(async {
            loop {
                let piece = tokio::select! {
                    biased;
                    _ = interrupts.recv() => {
                        answer.stop();
                        continue;
                    }
                    piece = answer.next() => piece?,
                };
                match piece {
                    Piece::Thought(text) => {
                        screen.thought(&text);
                        thought.push_str(&text);
                    }
                    Piece::Text(text) => {
                        screen.text(&text)?;
                        said.push_str(&text);
                        // However fast the answer comes, a signal is seen between two pieces.
                        tokio::task::yield_now().await;
                    }
                    Piece::End(finish) => break Ok::<_, Failure>(finish),
                }
            }
        })?;
        screen.end()?;
        self.used = finish.usage;
        note(&remark(&finish, self.settings.verbose));
        let mut message = Message::new("assistant", said);
        if !thought.is_empty() {
            message.reasoning_content = Some(thought.into());
        }
        let is_empty = message.content.is_empty() && message.reasoning_content.is_none();
        Ok((!is_empty).then_some(message))
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Failure> {
        let mut changed = self.settings.clone();
        changed.set(name, value, &self.first)?;
        changed.wishes(self.model()?)?;
        let before = std::mem::replace(&mut self.settings, changed);
        if before.context == self.settings.context {
            return Ok(());
        }
        self.load().or_else(|failure| {
            if failure.is_final() {
                return Err(failure);
            }
            self.settings.context = before.context;
            self.load().map_err(Failure::fatal)?;
            Err(failure)
        })
    }

    fn show(&self, what: Option<&str>) -> Result<String, Failure> {
        let model = self.model()?;
        let lines = |rows: &[(&str, String)]| -> String {
            let line = |(name, value): &(&str, String)| format!("  {name:<15} {value}\n");
            rows.iter().map(line).collect()
        };
        match what {
            None => {
                let used = self.used.prompt_tokens + self.used.completion_tokens;
                let about = [
                    ("model", model.name.clone()),
                    ("engine", format!("{}, {}", model.engine, model.placement)),
                    ("template", format!("{:?}", model.template.origin())),
                    (
                        "messages",
                        format!("{}, {used} tokens", self.whole(model).count()),
                    ),
                ];
                Ok(lines(&about) + &lines(&self.settings.rows(model)?))
            }
            Some("settings") => Ok(lines(&self.settings.rows(model)?)),
            Some("system") => {
                let system = model.preset.system_under(self.settings.system.as_deref());
                Ok(format!("{}\n", system.unwrap_or_default()))
            }
            Some("messages") => {
                let line = |message: &Message| format!("{}: {}\n", message.role, message.content);
                Ok(self.whole(model).map(line).collect())
            }
            Some(other) => Err(Failure::usage(format!("there is no {other:?} to show"))
                .hint("/show, /show system, /show messages, /show settings")),
        }
    }

    /// The messages that the model reads, without the system's: its maker's come first.
    fn whole<'a>(&'a self, model: &'a LoadedModel) -> impl Iterator<Item = &'a Message> {
        model.preset.messages.iter().chain(&self.messages)
    }

    fn save(&self, name: &str) -> Result<(), Failure> {
        let path = kept::path(name, self.data_folder()?)?;
        let kept = Kept {
            model: self.model()?.name.clone(),
            system: self.settings.system.clone(),
            messages: self.messages.iter().map(Said::from).collect(),
        };
        kept.save(&path)?;
        note(&format!("kept in {}\n", path.display()));
        Ok(())
    }

    fn resume(&mut self, name: &str) -> Result<(), Failure> {
        let kept = Kept::load(&kept::path(name, self.data_folder()?)?)?;
        let model = self.model()?.name.clone();
        if kept.model != model {
            note(&format!(
                "it was held with {}; {model} goes on with it\n",
                kept.model
            ));
        }
        self.settings.system = kept.system;
        self.messages = kept.messages.into_iter().map(Message::from).collect();
        self.used = Usage::default();
        note(&format!("{} messages\n", self.messages.len()));
        Ok(())
    }

    /// Where Shimmy keeps what is the user's.
    fn data_folder(&self) -> Result<Option<std::path::PathBuf>, Failure> {
        let models = ModelConfig::for_command(self.models.clone())?;
        let store = places::settings(&models).store();
        Ok(store.and_then(|store| Some(store.parent()?.to_owned())))
    }
}

/// What is said under an answer.
fn remark(finish: &Finish, verbose: bool) -> String {
    let mut text = match finish.reason {
        FinishReason::Cancelled => "(stopped)\n".to_owned(),
        FinishReason::Length => "(cut off: the limit of tokens is reached)\n".to_owned(),
        FinishReason::Stop => String::new(),
    };
    if verbose {
        let Usage {
            prompt_tokens,
            cached_tokens,
            completion_tokens,
        } = finish.usage;
        let seconds = finish.timings.decode.as_secs_f64();
        let prefill = finish.timings.prefill.as_secs_f64();
        // The first token came out of the prefill.
        let speed = match completion_tokens > 1 && seconds > 0.0 {
            true => format!(
                ", {:.1} tokens/s",
                f64::from(completion_tokens - 1) / seconds
            ),
            false => String::new(),
        };
        text.push_str(&format!(
            "({completion_tokens} tokens{speed}; prompt of {prompt_tokens} tokens, {cached_tokens} \
             known already, in {prefill:.2} s)\n"
        ));
    }
    text
}
