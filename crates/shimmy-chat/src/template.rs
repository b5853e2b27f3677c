//! A model's chat template: compiled once, shared by all requests, messages in and a prompt out.
//!
//! This file owns the order of attempts: the template gets the messages as they came, and folded
//! further each time that it refuses them. How Jinja is set up, how messages are folded and how a
//! user's text is kept plain are the files below. It must not know HTTP or any backend.

mod builtin;
mod conversation;
mod environment;
mod fold;
mod go;
mod json;
mod literal;

use std::collections::HashSet;

use minijinja::Value as JinjaValue;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};
use shimmy_engine::Prompt;

pub use builtin::Family;
pub use environment::Clock;
pub use go::{GoTemplateError, jinja_of_go};

use crate::error::TemplateError;
use crate::message::Message;
use crate::plan::Manner;
use conversation::{Attempt, Conversation, WITNESS};
use environment::Program;
use literal::{Depth, Literals, Specials, note_taken};

/// What templates get from us, and requests therefore cannot set.
const RESERVED: [&str; 10] = [
    "messages",
    "tools",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "raise_exception",
    "strftime_now",
    "namespace",
    "range",
    "dict",
];

/// The special tokens that templates and their readers need to know by text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateVocabulary {
    /// Begins every prompt, where the model has such a token.
    pub bos: Option<String>,
    /// Ends an answer.
    pub eos: Option<String>,
    /// Every text that the tokenizer would turn into a control token.
    pub specials: Vec<String>,
}

/// Where a template comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The model's file.
    Model,
    /// The file has none; the special tokens suggest this family, or nothing does and it is plain
    /// text.
    BuiltIn(Family),
}

/// A conversation to render.
#[derive(Debug, Clone, Copy)]
pub struct RenderRequest<'a> {
    /// Oldest first.
    pub messages: &'a [Message],
    /// Whether the prompt ends with the heading of the assistant's next message.
    pub add_generation_prompt: bool,
    /// Tool definitions, in OpenAI's shape.
    pub tools: Option<&'a Value>,
    /// Further variables for the template, such as `enable_thinking`.
    pub kwargs: &'a Map<String, Value>,
}

/// A compiled chat template. Rendering takes `&self`, so one can serve all threads.
#[derive(Debug)]
pub struct ChatTemplate {
    program: Program,
    source: String,
    origin: Origin,
    is_chat_model: bool,
    bos: String,
    eos: String,
    specials: Specials,
    /// Private-use characters of the source, which stand for themselves.
    taken: HashSet<char>,
    /// Whether the template reads `content` as a list of parts and ignores a string.
    wants_parts: bool,
    /// The variables that the template reads.
    variables: HashSet<String>,
    manner: Manner,
}

impl ChatTemplate {
    /// From the model's own template, or else a built-in one guessed from the special tokens.
    pub fn new(
        source: Option<&str>,
        vocabulary: TemplateVocabulary,
    ) -> Result<Self, TemplateError> {
        Self::with_clock(source, vocabulary, jiff::Zoned::now)
    }

    /// As [`Self::new`], with another clock for templates that write today's date.
    pub fn with_clock(
        source: Option<&str>,
        vocabulary: TemplateVocabulary,
        clock: Clock,
    ) -> Result<Self, TemplateError> {
        let family = Family::guess(&vocabulary.specials);
        let (source, origin) = match source {
            Some(source) => (source, Origin::Model),
            None => {
                let family = family.unwrap_or(Family::Plain);
                (family.source(), Origin::BuiltIn(family))
            }
        };
        let mut taken = HashSet::new();
        note_taken(source, &mut taken);
        let program = Program::compile(source, clock)?;
        let mut template = Self {
            variables: program.variables(),
            manner: Manner::of(source, false, &vocabulary.specials),
            program,
            source: source.to_owned(),
            origin,
            is_chat_model: origin == Origin::Model || family.is_some(),
            bos: vocabulary.bos.unwrap_or_default(),
            eos: vocabulary.eos.unwrap_or_default(),
            specials: Specials::new(&vocabulary.specials),
            taken,
            wants_parts: false,
        };
        template.wants_parts = template.ignores_strings();
        if template.writes_tools() {
            template.manner = Manner::of(source, true, &vocabulary.specials);
        }
        Ok(template)
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where the template comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Texts that end an answer, whatever else the request says.
    pub(crate) fn stop(&self) -> &'static [&'static str] {
        match self.origin {
            Origin::BuiltIn(family) => family.stop(),
            Origin::Model => &[],
        }
    }

    /// Whether a lone prompt should be wrapped as one user message.
    ///
    /// False for a base model: its file has no template and its vocabulary no marker of a family
    /// that has one.
    pub fn is_chat_model(&self) -> bool {
        self.is_chat_model
    }

    /// How the model writes, as far as the template tells.
    pub(crate) fn manner(&self) -> &Manner {
        &self.manner
    }

    /// The variables that the template reads.
    pub(crate) fn variables(&self) -> &HashSet<String> {
        &self.variables
    }

    /// The conversation as the model reads it.
    ///
    /// The text is what Hugging Face's `apply_chat_template` writes, as long as the template takes
    /// the messages as they come. Texts of special tokens in the request's strings become
    /// [`PromptPart::Literal`](shimmy_engine::PromptPart). A template that looks for such a text
    /// in a message does not find it.
    pub fn render(&self, request: &RenderRequest<'_>) -> Result<Prompt, TemplateError> {
        if let Some(name) = RESERVED
            .into_iter()
            .find(|name| request.kwargs.contains_key(*name))
        {
            return Err(TemplateError::ReservedKwarg(name.to_owned()));
        }
        let mut taken = self.taken.clone();
        conversation::note_taken_by(request, &mut taken);
        let mut whole = Literals::new(&self.specials, Depth::Whole, &taken);
        let conversation = Conversation::protect(request, &mut whole)?;
        let (rendered, attempt) = self.attempt_all(&conversation)?;

        let mut fragments = Literals::new(&self.specials, Depth::Fragments, &taken);
        let guarded = Conversation::protect(request, &mut fragments)?;
        if guarded == conversation {
            return Ok(Prompt {
                parts: whole.split(&rendered),
            });
        }
        // The request holds pieces of special texts. If hiding them leaves the special tokens as
        // they were, nothing came of the pieces, and the first rendering is the true one.
        let again = self.run(&guarded, attempt)?;
        if self.specials.found_in(&again) == self.specials.found_in(&rendered) {
            return Ok(Prompt {
                parts: whole.split(&rendered),
            });
        }
        Ok(Prompt {
            parts: fragments.split(&again),
        })
    }

    /// The first attempt that the template accepts without leaving a message out; else the first
    /// that it accepts; else its words about the first.
    fn attempt_all(&self, conversation: &Conversation) -> Result<(String, Attempt), TemplateError> {
        let mut refusal = None;
        let mut lossy = None;
        for attempt in Attempt::all(conversation) {
            match self.run(conversation, attempt) {
                Ok(rendered) if self.keeps_systems(conversation, attempt) => {
                    return Ok((rendered, attempt));
                }
                Ok(rendered) => lossy = lossy.or(Some((rendered, attempt))),
                Err(error) if error.is_refusal() => refusal = refusal.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        lossy.ok_or_else(|| {
            let reason = "there are no messages".to_owned();
            refusal.unwrap_or(TemplateError::Render { reason })
        })
    }

    /// Whether the template writes every system message somewhere; some take one in front and
    /// pass over the others in silence, or over all.
    fn keeps_systems(&self, conversation: &Conversation, attempt: Attempt) -> bool {
        let Some((witnessed, count)) = conversation.with_witnesses() else {
            return true;
        };
        self.run(&witnessed, attempt)
            .is_ok_and(|text| text.matches(WITNESS).count() >= count)
    }

    fn run(&self, conversation: &Conversation, attempt: Attempt) -> Result<String, TemplateError> {
        let mut context = conversation.context(attempt, self.wants_parts);
        context.insert("bos_token".to_owned(), Value::String(self.bos.clone()));
        context.insert("eos_token".to_owned(), Value::String(self.eos.clone()));
        self.program
            .run(JinjaValue::from(Serde(&context)), conversation.budget())
    }

    /// Templates of multimodal models may loop over the parts of `content` and write nothing for
    /// a plain string. One rendering of each kind tells.
    fn ignores_strings(&mut self) -> bool {
        const PROBE: &str = "probe";
        let conversation = Conversation::of_user(PROBE);
        let mut writes_probe = |wants_parts| {
            self.wants_parts = wants_parts;
            self.run(&conversation, Attempt::PLAIN)
                .is_ok_and(|text| text.contains(PROBE))
        };
        !writes_probe(false) && writes_probe(true)
    }

    /// Whether the template tells the model of its tools. One rendering tells.
    fn writes_tools(&self) -> bool {
        const PROBE: &str = "probe_of_tools";
        let tool = json!([{ "type": "function", "function": {
            "name": PROBE, "description": PROBE,
            "parameters": {
                "type": "object", "required": [PROBE],
                "properties": { PROBE: { "type": "string", "description": PROBE } },
            },
        } }]);
        let conversation = Conversation::of_user("probe").with_tools(tool);
        self.run(&conversation, Attempt::PLAIN)
            .is_ok_and(|text| text.contains(PROBE))
    }
}
