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
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChatMl => "ChatML",
            Self::Llama3 => "Llama 3",
            Self::OpenChat => "OpenChat",
        })
    }
}

impl Family {
    /// Most telling marker first: a vocabulary with `<|im_start|>` was made for ChatML even where
    /// it carries the markers of the model that it was tuned from.
    const ALL: [Self; 3] = [Self::ChatMl, Self::Llama3, Self::OpenChat];

    /// The family whose marker is among the special tokens; a base model has none.
    pub(super) fn guess(specials: &[String]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| specials.iter().any(|text| text == family.marker()))
    }

    fn marker(self) -> &'static str {
        match self {
            Self::ChatMl => "<|im_start|>",
            Self::Llama3 => "<|start_header_id|>",
            Self::OpenChat => "<|end_of_turn|>",
        }
    }

    pub(super) fn source(self) -> &'static str {
        match self {
            Self::ChatMl => CHATML,
            Self::Llama3 => LLAMA3,
            Self::OpenChat => OPENCHAT,
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
