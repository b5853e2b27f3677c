//! Templates for models whose file has none, and the guess which of them a model was trained on.
//!
//! This file must not know how templates are rendered: to the renderer these are sources like any
//! model's own.

use std::fmt;

/// A family of models that share a chat format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `<|im_start|>role … <|im_end|>`, the format most models without a template were tuned on.
    ChatMl,
    /// `<|start_header_id|>role<|end_header_id|> … <|eot_id|>`.
    Llama3,
    /// `GPT4 Correct User: … <|end_of_turn|>`.
    OpenChat,
    /// `<start_of_turn>role … <end_of_turn>`.
    Gemma,
    /// `User: …` in plain words, for a vocabulary that has the marks of no family: those of another
    /// would be so many letters to its model.
    Plain,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChatMl => "ChatML",
            Self::Llama3 => "Llama 3",
            Self::OpenChat => "OpenChat",
            Self::Gemma => "Gemma",
            Self::Plain => "plain text",
        })
    }
}

impl Family {
    /// Most telling markers first: a vocabulary with `<|im_start|>` was made for ChatML even where
    /// it carries the markers of the model that it was tuned from.
    const MARKED: [Self; 4] = [Self::ChatMl, Self::Llama3, Self::OpenChat, Self::Gemma];

    /// The family whose markers are among the special tokens; a base model has none.
    pub(super) fn guess(specials: &[String]) -> Option<Self> {
        let has = |marker: &&str| specials.iter().any(|text| text == marker);
        let mut families = Self::MARKED.into_iter();
        families.find(|family| family.markers().iter().all(has))
    }

    /// What begins a message, and what ends one, so that an answer in this format comes to an end.
    fn markers(self) -> &'static [&'static str] {
        match self {
            Self::ChatMl => &["<|im_start|>", "<|im_end|>"],
            Self::Llama3 => &["<|start_header_id|>", "<|eot_id|>"],
            Self::OpenChat => &["<|end_of_turn|>"],
            Self::Gemma => &["<start_of_turn>", "<end_of_turn>"],
            Self::Plain => &[],
        }
    }

    /// Texts with which the answer is over, because the model goes on with another's part; special
    /// tokens end it by themselves.
    pub(super) fn stop(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["\nUser:", "\nAssistant:"],
            _ => &[],
        }
    }

    pub(super) fn source(self) -> &'static str {
        match self {
            Self::ChatMl => CHATML,
            Self::Llama3 => LLAMA3,
            Self::OpenChat => OPENCHAT,
            Self::Gemma => GEMMA,
            Self::Plain => PLAIN,
        }
    }
}

const CHATML: &str = "\
{%- for message in messages -%}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
";

const LLAMA3: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' -}}
    {{- message.content | trim ~ '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
";

// A system message has no heading of its own in OpenChat's training format.
const OPENCHAT: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role != 'system' -%}
        {{- 'GPT4 Correct ' ~ message.role | title ~ ': ' -}}
    {%- endif -%}
    {{- message.content ~ '<|end_of_turn|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- 'GPT4 Correct Assistant:' -}}
{%- endif -%}
";

// Nor has it one in Gemma's: there it leads the message that follows.
const GEMMA: &str = "\
{{- bos_token -}}
{%- set state = namespace(lead='') -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- set state.lead = state.lead ~ (message.content | trim) ~ '\\n\\n' -%}
    {%- else -%}
        {{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else 'user') ~ '\\n' -}}
        {{- state.lead ~ (message.content | trim) ~ '<end_of_turn>\\n' -}}
        {%- set state.lead = '' -%}
    {%- endif -%}
{%- endfor -%}
{%- if state.lead -%}
    {{- '<start_of_turn>user\\n' ~ (state.lead | trim) ~ '<end_of_turn>\\n' -}}
{%- endif -%}
{%- if add_generation_prompt -%}
    {{- '<start_of_turn>model\\n' -}}
{%- endif -%}
";

const PLAIN: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role != 'system' -%}
        {{- message.role | title ~ ': ' -}}
    {%- endif -%}
    {{- (message.content | trim) ~ '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- 'Assistant:' -}}
{%- endif -%}
";
