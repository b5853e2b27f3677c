//! From a request to everything that its answer takes: the prompt, the constraint, the reader.

use std::borrow::Cow;

use serde_json::{Map, Value};
use shimmy_engine::{Constraint, Prompt, PromptPart, Specials, Token, Tokenizer};

use crate::answer::{AnswerFormat, Parts};
use crate::error::TemplateError;
use crate::grammar::{Thoughts, Wish};
use crate::notation::{Form, Notation};
use crate::request::{ChatRequest, Tool, ToolChoice};
use crate::taught;
use crate::template::{ChatTemplate, RenderRequest};
use crate::thinking::{self, ThoughtMarks, Unheard};

/// What an answer takes.
#[derive(Debug, Clone)]
pub struct ChatPlan {
    /// What the model reads.
    pub prompt: Prompt,
    /// What it may write.
    pub constraint: Option<Constraint>,
    /// Whether the answer may hold calls of tools beside its text.
    pub may_call: bool,
    /// Whether the constraint is there for calls of tools.
    pub holds_calls: bool,
    /// The schemas in the constraint, for whoever has to say which of them cannot be enforced.
    pub schemas: Vec<HeldSchema>,
    /// Texts that end it beside those that the request names.
    pub stop: Vec<String>,
    /// How its text becomes a message.
    pub format: AnswerFormat,
    /// Control tokens whose text the format has to see.
    pub shown: Vec<Token>,
    /// What was asked about thinking and the model could not be told.
    pub unheard: Vec<Unheard>,
}

impl ChatPlan {
    /// The plan for a prompt that is no conversation: all of the answer is content.
    pub fn of_prompt(prompt: Prompt, constraint: Option<Constraint>) -> Self {
        Self {
            prompt,
            constraint,
            may_call: false,
            holds_calls: false,
            schemas: Vec::new(),
            stop: Vec::new(),
            format: AnswerFormat::plain(),
            shown: Vec::new(),
            unheard: Vec::new(),
        }
    }
}

/// A schema that a part of an answer is held to.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldSchema {
    /// The tool whose arguments it describes; none where it is about the text.
    pub tool: Option<String>,
    /// The schema as it is enforced.
    pub schema: Value,
}

/// What a template tells of how its model writes.
#[derive(Debug)]
pub(crate) struct Manner {
    pub(crate) notation: &'static Notation,
    pub(crate) thoughts: Option<&'static ThoughtMarks>,
    /// Whether the template writes tools into the prompt; else they are told as a text.
    pub(crate) knows_tools: bool,
    /// Special tokens that are, or are in, marks of calls.
    pub(crate) call_tokens: Vec<String>,
    /// The same of thoughts.
    pub(crate) thought_tokens: Vec<String>,
}

impl Manner {
    /// What `source` tells, in a vocabulary with these special tokens.
    pub(crate) fn of(source: &str, knows_tools: bool, specials: &[String]) -> Self {
        let notation = match knows_tools {
            true => Notation::of(source),
            false => taught::notation(source),
        };
        let thoughts = ThoughtMarks::of(source);
        let within = |texts: &[&str]| {
            let specials = specials.iter().filter(|special| !special.is_empty());
            let specials = specials.filter(|s| texts.iter().any(|text| text.contains(s.as_str())));
            specials.cloned().collect()
        };
        Self {
            notation,
            thoughts,
            knows_tools,
            call_tokens: within(&notation.texts()),
            thought_tokens: thoughts
                .map(|marks| within(&marks.texts().collect::<Vec<_>>()))
                .unwrap_or_default(),
        }
    }
}

impl ChatTemplate {
    /// Plans an answer by a model with this tokenizer.
    pub fn plan(
        &self,
        request: &ChatRequest<'_>,
        tokenizer: &dyn Tokenizer,
    ) -> Result<ChatPlan, TemplateError> {
        let manner = self.manner();
        let tools = match request.tool_choice {
            ToolChoice::None => &[][..],
            _ => request.tools,
        };
        let mut kwargs = request.kwargs.clone();
        let thinks = manner.thoughts.is_some();
        let unheard = thinking::tell(request.thinking, self.variables(), thinks, &mut kwargs);
        let prompt = self.prompt(request, tools, &kwargs)?;

        let end = match prompt.parts.last() {
            Some(PromptPart::Marked(text)) => text.as_str(),
            _ => "",
        };
        let thoughts = match manner.thoughts {
            Some(marks) if marks.are_open_after(end) => Thoughts::Open(marks),
            Some(marks) if marks.are_over_after(end) => Thoughts::None,
            Some(marks) => Thoughts::Possible(marks),
            None => Thoughts::None,
        };
        let tokens = self.tokens(!tools.is_empty(), tokenizer);
        let only_one_call =
            !request.parallel_calls || matches!(request.tool_choice, ToolChoice::Named(_));
        let wish = Wish {
            notation: manner.notation,
            tools,
            choice: request.tool_choice,
            only_one_call,
            shape: request.shape,
            thoughts,
            wants_thoughts: request.thinking.is_wanted(),
            tokens: &tokens,
        };
        let hold = wish.hold();
        let holds_calls = hold.as_ref().is_some_and(|hold| hold.covers_calls);
        let (constraint, schemas) = hold.map(|hold| (hold.constraint, hold.schemas)).unzip();
        let format = AnswerFormat::new(Parts {
            notation: manner.notation,
            tools,
            only_one_call,
            is_forced: holds_calls,
            must_call: request.tool_choice.is_a_must(),
            thoughts: manner.thoughts,
            are_thoughts_open: matches!(thoughts, Thoughts::Open(_)),
            certain: self.certain(),
        });
        Ok(ChatPlan {
            prompt,
            constraint,
            may_call: !tools.is_empty(),
            holds_calls,
            schemas: schemas.unwrap_or_default(),
            stop: self.stop().iter().copied().map(str::to_owned).collect(),
            format,
            shown: tokens.into_iter().map(|(_, token)| token).collect(),
            unheard,
        })
    }

    fn prompt(
        &self,
        request: &ChatRequest<'_>,
        tools: &[Tool],
        kwargs: &Map<String, Value>,
    ) -> Result<Prompt, TemplateError> {
        let messages = request.messages;
        let (messages, definitions) = match self.manner().knows_tools {
            true => {
                let definitions = tools.iter().map(Tool::definition).collect();
                let definitions = (!tools.is_empty()).then_some(Value::Array(definitions));
                (Cow::Borrowed(messages), definitions)
            }
            false => (taught::messages(messages, tools), None),
        };
        self.render(&RenderRequest {
            messages: &messages,
            add_generation_prompt: request.add_generation_prompt,
            tools: definitions.as_ref(),
            kwargs,
        })
    }

    /// The control tokens that the reader of an answer has to see.
    fn tokens(&self, has_tools: bool, tokenizer: &dyn Tokenizer) -> Vec<(String, Token)> {
        let manner = self.manner();
        let has_sections = matches!(manner.notation.form, Form::Sections(_));
        let calls = manner.call_tokens.iter();
        let calls = calls.filter(|_| has_tools || has_sections);
        let names = calls.chain(&manner.thought_tokens);
        let token = |name: &String| Some((name.clone(), token_of(name, tokenizer)?));
        names.filter_map(token).collect()
    }

    /// Marks of calls that are control tokens.
    fn certain(&self) -> Vec<&'static str> {
        let manner = self.manner();
        let mut texts = manner.notation.texts();
        texts.retain(|text| manner.call_tokens.iter().any(|token| token == text));
        texts
    }
}

/// The one token that a special text is.
fn token_of(text: &str, tokenizer: &dyn Tokenizer) -> Option<Token> {
    match tokenizer.tokenize(text, Specials::Parse).ok()?.as_slice() {
        [token] => Some(*token),
        _ => None,
    }
}
