//! How families of models write calls of tools: data, and which of it a template speaks of.
//!
//! A family is an entry in the table below this file. How text is read by an entry is the business
//! of `answer`, how text is forced into one that of `grammar`; this file must not know either.

mod table;

pub(crate) use table::{HERMES, NOTATIONS};

/// How a family of models writes calls.
#[derive(Debug)]
pub(crate) struct Notation {
    /// What it is called after, for tests.
    pub(crate) name: &'static str,
    /// Groups of texts; a template that holds all texts of one of them is this family's.
    pub(crate) tells: &'static [&'static [&'static str]],
    /// Where calls stand.
    pub(crate) form: Form,
    /// How calls are written where they are required.
    pub(crate) spelling: Spelling,
}

/// Where calls stand in an answer.
#[derive(Debug)]
pub(crate) enum Form {
    /// In blocks within the text.
    Blocks(Blocks),
    /// The whole answer is sections, each with a heading that says what it is.
    Sections(Sections),
}

/// Calls in blocks within the text.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// What begins a block.
    pub(crate) opens: &'static [&'static str],
    /// Whether an answer may also begin with a call and no mark before it. Only calls of tools
    /// that are offered count then.
    pub(crate) bare: bool,
    /// The ways in which a call is written in a block.
    pub(crate) bodies: &'static [Body],
    /// What may follow a call and is no text.
    pub(crate) closes: &'static [&'static str],
}

/// A way to write a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// One JSON object with the name and the arguments, alone or in an array.
    Object(Keys),
    /// The name, then the JSON object of the arguments.
    Headed(Headed),
    /// An element for each argument.
    Elements(Elements),
    /// `name(argument="text", other=1)`, alone or in a list.
    Python,
}

/// What the members of a call's object are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// `name` and `arguments`, under any of the names that are in use.
    Named,
    /// One member: the key is the name, the value the arguments.
    NameIsKey,
}

/// A call whose name stands before its arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headed {
    /// What begins it; empty where the name does.
    pub(crate) start: &'static str,
    /// The name in all that stands before the first brace.
    pub(crate) name: fn(&str) -> Option<&str>,
}

/// A call whose arguments are elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements {
    /// What begins it; empty where the name does.
    pub(crate) start: &'static str,
    /// What the name ends with, beside white space.
    pub(crate) name_end: &'static str,
    /// Before and after an argument's name.
    pub(crate) key: (&'static str, &'static str),
    /// Before (or nothing) and after its value.
    pub(crate) value: (&'static str, &'static str),
    /// The end of the call.
    pub(crate) end: &'static str,
}

/// An answer in sections.
#[derive(Debug)]
pub(crate) struct Sections {
    /// What begins a heading, beside the answer itself.
    pub(crate) starts: &'static [&'static str],
    /// What ends a heading.
    pub(crate) heading_end: &'static str,
    /// What ends a section, beside the next one.
    pub(crate) ends: &'static [&'static str],
    /// The heading of text for the user, as it is written where an answer is held to a shape.
    pub(crate) text: &'static str,
    /// The heading of thoughts and what follows them, where there are any.
    pub(crate) thoughts: Option<(&'static str, &'static str)>,
    /// What a heading announces; nothing where it is none.
    pub(crate) read: fn(&str) -> Option<Section<'_>>,
}

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section<'a> {
    /// What is said to the user.
    Content,
    /// What the model thinks.
    Reasoning,
    /// The arguments of a call of this tool.
    Call(&'a str),
}

/// How required calls are written. [`NAME`](Self::NAME) and [`ARGUMENTS`](Self::ARGUMENTS) stand
/// for themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    /// Before the first call.
    pub(crate) open: &'static str,
    /// A call.
    pub(crate) call: &'static str,
    /// Between two calls; none where an answer ends with its call.
    pub(crate) between: Option<&'static str>,
    /// After the last.
    pub(crate) close: &'static str,
}

impl Spelling {
    /// Where the name of the tool belongs.
    pub(crate) const NAME: &'static str = "$NAME";
    /// Where the JSON object of the arguments belongs.
    pub(crate) const ARGUMENTS: &'static str = "$ARGUMENTS";
}

impl Notation {
    /// The notation that a template speaks of. One that takes tools and says nothing of how they
    /// are called is taken to mean the commonest.
    pub(crate) fn of(source: &str) -> &'static Self {
        let mut all = NOTATIONS.iter().copied();
        all.find(|notation| notation.is_told_by(source))
            .unwrap_or(&HERMES)
    }

    /// Whether a template speaks of this notation.
    pub(crate) fn is_told_by(&self, source: &str) -> bool {
        let tells = |texts: &[&str]| texts.iter().all(|text| source.contains(text));
        self.tells.iter().any(|texts| tells(texts))
    }

    /// Every text that marks something: what has to reach the reader of an answer.
    pub(crate) fn texts(&self) -> Vec<&'static str> {
        let mut texts = vec![
            self.spelling.open,
            self.spelling.call,
            self.spelling.between.unwrap_or_default(),
            self.spelling.close,
        ];
        match &self.form {
            Form::Blocks(blocks) => {
                texts.extend(blocks.opens.iter().chain(blocks.closes));
                for body in blocks.bodies {
                    texts.extend(body.texts());
                }
            }
            Form::Sections(sections) => {
                texts.extend(sections.starts.iter().chain(sections.ends));
                texts.extend([sections.heading_end, sections.text]);
            }
        }
        texts
    }
}

impl Body {
    /// What begins the call, if that is a mark.
    pub(crate) fn start(&self) -> Option<&'static str> {
        let start = match self {
            Self::Headed(headed) => headed.start,
            Self::Elements(elements) => elements.start,
            Self::Object(_) | Self::Python => "",
        };
        (!start.is_empty()).then_some(start)
    }

    fn texts(&self) -> Vec<&'static str> {
        match self {
            Self::Object(_) | Self::Python => Vec::new(),
            Self::Headed(headed) => vec![headed.start],
            Self::Elements(Elements {
                start,
                name_end,
                key,
                value,
                end,
            }) => vec![start, name_end, key.0, key.1, value.0, value.1, end],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What templates of these models say of calls, cut down to what tells them apart.
    #[test]
    fn a_template_tells_its_notation() {
        for (source, name) in [
            (
                "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\":",
                "hermes",
            ),
            (
                "{{- '<tool_call>\\n<function=' + name }}<parameter=",
                "qwen-coder",
            ),
            ("'<seed:tool_call>\\n<function=' <parameter=", "seed"),
            ("'<minimax:tool_call>' <invoke name=", "minimax"),
            (
                "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>",
                "glm",
            ),
            ("{{ '[AVAILABLE_TOOLS]' }} {{ '[TOOL_CALLS]' }}", "mistral"),
            ("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}", "mistral-named"),
            ("'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'", "deepseek"),
            ("<|tool_calls_section_begin|><|tool_call_begin|>", "kimi"),
            (
                "<|start|>assistant<|channel|>analysis<|message|>",
                "harmony",
            ),
            (
                "{{ '<|python_tag|>' }}<|start_header_id|> \"parameters\"",
                "llama-json",
            ),
            (
                "<|python_tag|> <|eom_id|> <function=example_function_name>{",
                "function-tag",
            ),
            ("[func_name1(params_name1=params_value1", "llama-python"),
            ("<|tool_list_start|>", "lfm2"),
            ("<|tool|>{{ tools }}<|/tool|>", "phi"),
            ("<|tool_call|> <|start_of_role|>", "granite"),
            ("<TOOLCALL>[", "nemotron"),
            ("<|START_ACTION|>", "command-r7b"),
            ("{{ tools }}", "hermes"),
        ] {
            assert_eq!(Notation::of(source).name, name, "{source}");
        }
    }
}
