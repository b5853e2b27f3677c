//! Calls as a list of objects behind a mark.

use super::{NAME_ARGUMENTS, NAME_PARAMETERS, OBJECT};
use crate::notation::{Blocks, Body, Form, Keys, Notation, Spelling};

/// Hunyuan, Jamba, MiniMax M1: one list, or one object a line, in `<tool_calls>`.
pub(crate) static LIST_TAG: Notation = Notation {
    name: "tool-calls-tag",
    tells: &[&["<tool_calls>"]],
    form: Form::Blocks(Blocks {
        opens: &["<tool_calls>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["</tool_calls>"],
    }),
    spelling: Spelling {
        open: "<tool_calls>[",
        call: NAME_ARGUMENTS,
        between: Some(", "),
        close: "]</tool_calls>",
    },
};

/// Nemotron Nano and Ultra up to version 2.
pub(crate) static NEMOTRON: Notation = Notation {
    name: "nemotron",
    tells: &[&["<TOOLCALL>"]],
    form: Form::Blocks(Blocks {
        opens: &["<TOOLCALL>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["</TOOLCALL>"],
    }),
    spelling: Spelling {
        open: "<TOOLCALL>[",
        call: NAME_ARGUMENTS,
        between: Some(", "),
        close: "]</TOOLCALL>",
    },
};

/// Granite 3.
pub(crate) static GRANITE: Notation = Notation {
    name: "granite",
    tells: &[&["<|tool_call|>"]],
    form: Form::Blocks(Blocks {
        opens: &["<|tool_call|>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &[],
    }),
    spelling: Spelling {
        open: "<|tool_call|>[",
        call: NAME_ARGUMENTS,
        between: Some(", "),
        close: "]",
    },
};

/// Phi-4-mini: its template lists the tools in `<|tool|>`, its model card has the answers.
pub(crate) static PHI: Notation = Notation {
    name: "phi",
    tells: &[&["<|tool|>"]],
    form: Form::Blocks(Blocks {
        opens: &["functools", "<|tool_call|>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["<|/tool_call|>"],
    }),
    spelling: Spelling {
        open: "functools[",
        call: NAME_ARGUMENTS,
        between: Some(", "),
        close: "]",
    },
};

/// Command R7B and Command A.
pub(crate) static COMMAND_R7B: Notation = Notation {
    name: "command-r7b",
    tells: &[&["<|START_ACTION|>"]],
    form: Form::Blocks(Blocks {
        opens: &["<|START_ACTION|>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["<|END_ACTION|>"],
    }),
    spelling: Spelling {
        open: "<|START_ACTION|>[\n    ",
        call: r#"{"tool_call_id": "0", "tool_name": "$NAME", "parameters": $ARGUMENTS}"#,
        between: Some(",\n    "),
        close: "\n]<|END_ACTION|>",
    },
};

/// Command R and R+: a fenced list after `Action:`.
pub(crate) static COMMAND_R: Notation = Notation {
    name: "command-r",
    tells: &[&["Action:", "```json", "tool_name"]],
    form: Form::Blocks(Blocks {
        opens: &["Action:\n```json", "Action: ```json"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["```"],
    }),
    spelling: Spelling {
        open: "Action:\n```json\n[\n    ",
        call: r#"{"tool_name": "$NAME", "parameters": $ARGUMENTS}"#,
        between: Some(",\n    "),
        close: "\n]\n```",
    },
};

/// InternLM 2 and 3.
pub(crate) static INTERNLM: Notation = Notation {
    name: "internlm",
    tells: &[&["<|plugin|>"]],
    form: Form::Blocks(Blocks {
        opens: &["<|action_start|><|plugin|>", "<|action_start|> <|plugin|>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["<|action_end|>"],
    }),
    spelling: Spelling {
        open: "<|action_start|><|plugin|>\n",
        call: NAME_PARAMETERS,
        between: Some("<|action_end|>\n<|action_start|><|plugin|>\n"),
        close: "<|action_end|>",
    },
};

/// Apertus: the key of a call's object is its name.
pub(crate) static APERTUS: Notation = Notation {
    name: "apertus",
    tells: &[&["<|tools_prefix|>"]],
    form: Form::Blocks(Blocks {
        opens: &["<|tools_prefix|>"],
        bare: false,
        bodies: &[Body::Object(Keys::NameIsKey)],
        closes: &["<|tools_suffix|>"],
    }),
    spelling: Spelling {
        open: "<|tools_prefix|>[",
        call: r#"{"$NAME": $ARGUMENTS}"#,
        between: Some(", "),
        close: "]<|tools_suffix|>",
    },
};
