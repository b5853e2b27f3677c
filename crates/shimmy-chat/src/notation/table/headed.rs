//! Calls whose name stands before the object of their arguments.

use super::{NAME_ARGUMENTS, OBJECT};
use crate::notation::{Blocks, Body, Form, Headed, Notation, Spelling};

/// Mistral up to Small 3.1: a list of objects.
pub(crate) static MISTRAL: Notation = Notation {
    name: "mistral",
    tells: &[&["[TOOL_CALLS]"], &["[AVAILABLE_TOOLS]"]],
    form: Form::Blocks(Blocks {
        opens: &["[TOOL_CALLS]"],
        bare: false,
        bodies: &[OBJECT, MISTRAL_HEADED],
        closes: &[],
    }),
    spelling: Spelling {
        open: "[TOOL_CALLS][",
        call: NAME_ARGUMENTS,
        between: Some(", "),
        close: "]",
    },
};

/// Mistral from Small 3.2, Devstral and Magistral on: a name and its arguments.
pub(crate) static MISTRAL_NAMED: Notation = Notation {
    name: "mistral-named",
    tells: &[&["[TOOL_CALLS]", "[ARGS]"]],
    form: Form::Blocks(Blocks {
        opens: &["[TOOL_CALLS]"],
        bare: false,
        bodies: &[MISTRAL_HEADED, OBJECT],
        closes: &[],
    }),
    spelling: Spelling {
        open: "[TOOL_CALLS]",
        call: "$NAME[ARGS]$ARGUMENTS",
        between: Some("[TOOL_CALLS]"),
        close: "",
    },
};

const MISTRAL_HEADED: Body = Body::Headed(Headed {
    start: "",
    // Between the name and its arguments is `[ARGS]`, and before that an id in some versions.
    name: |heading| heading.split('[').next(),
});

/// DeepSeek V3, R1 (with `function` and a fence) and V3.1 (without).
pub(crate) static DEEPSEEK: Notation = Notation {
    name: "deepseek",
    tells: &[&["<｜tool▁calls▁begin｜>"], &["<｜tool▁call▁begin｜>"]],
    form: Form::Blocks(Blocks {
        opens: &["<｜tool▁calls▁begin｜>"],
        bare: false,
        bodies: &[Body::Headed(Headed {
            start: "<｜tool▁call▁begin｜>",
            name: deepseek_name,
        })],
        closes: &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
    }),
    spelling: Spelling {
        open: "<｜tool▁calls▁begin｜>",
        call: "<｜tool▁call▁begin｜>$NAME<｜tool▁sep｜>$ARGUMENTS<｜tool▁call▁end｜>",
        between: Some(""),
        close: "<｜tool▁calls▁end｜>",
    },
};

fn deepseek_name(heading: &str) -> Option<&str> {
    let heading = heading.trim_end().trim_end_matches("```json");
    let mut parts = heading.split("<｜tool▁sep｜>").map(str::trim);
    let (first, second) = (parts.next()?, parts.next()?);
    match second {
        "" => Some(first),
        name => Some(name),
    }
}

/// Kimi K2: `functions.name:0`.
pub(crate) static KIMI: Notation = Notation {
    name: "kimi",
    tells: &[
        &["<|tool_calls_section_begin|>"],
        &["<|tool_call_argument_begin|>"],
    ],
    form: Form::Blocks(Blocks {
        opens: &["<|tool_calls_section_begin|>"],
        bare: false,
        bodies: &[Body::Headed(Headed {
            start: "<|tool_call_begin|>",
            name: kimi_name,
        })],
        closes: &["<|tool_call_end|>", "<|tool_calls_section_end|>"],
    }),
    spelling: Spelling {
        open: "<|tool_calls_section_begin|>",
        call: "<|tool_call_begin|>functions.$NAME:0<|tool_call_argument_begin|>$ARGUMENTS<|tool_call_end|>",
        between: Some(""),
        close: "<|tool_calls_section_end|>",
    },
};

fn kimi_name(heading: &str) -> Option<&str> {
    let heading = heading
        .trim()
        .strip_suffix("<|tool_call_argument_begin|>")?;
    let name = heading.trim();
    let name = name.strip_prefix("functions.").unwrap_or(name);
    name.rsplit_once(':').map(|(name, _)| name).or(Some(name))
}

/// Llama 3.1 and Functionary 3.1 with tools of their users: `<function=name>{…}</function>`.
pub(crate) static FUNCTION_TAG: Notation = Notation {
    name: "function-tag",
    tells: &[
        &["<function=example_function_name>"],
        &["<function=", "</function>", "<|eom_id|>"],
    ],
    form: Form::Blocks(Blocks {
        opens: &["<|python_tag|>"],
        bare: false,
        bodies: &[FUNCTION_HEADED, OBJECT],
        closes: &["</function>"],
    }),
    spelling: Spelling {
        open: "",
        call: "<function=$NAME>$ARGUMENTS</function>",
        between: Some("\n"),
        close: "",
    },
};

pub(super) const FUNCTION_HEADED: Body = Body::Headed(Headed {
    start: "<function=",
    name: |heading| heading.trim_end().strip_suffix('>'),
});
