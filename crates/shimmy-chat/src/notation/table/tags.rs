//! Calls in tags: an object, or an element for each argument.

use super::{NAME_ARGUMENTS, OBJECT};
use crate::notation::{Blocks, Body, Elements, Form, Notation, Spelling};

pub(super) const TOOL_CALL_SPELLING: Spelling = Spelling {
    open: "<tool_call>\n",
    call: NAME_ARGUMENTS,
    between: Some("\n</tool_call>\n<tool_call>\n"),
    close: "\n</tool_call>",
};

/// `<function=name><parameter=key>value</parameter></function>`.
const QWEN_ELEMENTS: Elements = Elements {
    start: "<function=",
    name_end: ">",
    key: ("<parameter=", ">"),
    value: ("", "</parameter>"),
    end: "</function>",
};

/// Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3, ERNIE 4.5, and whoever learnt from them.
/// Their templates write the format out.
pub(crate) static HERMES: Notation = Notation {
    name: "hermes",
    tells: &[&["<tool_call>"]],
    form: Form::Blocks(Blocks {
        opens: &["<tool_call>"],
        bare: false,
        bodies: &[OBJECT],
        closes: &["</tool_call>"],
    }),
    spelling: TOOL_CALL_SPELLING,
};

/// Qwen3-Coder, Qwen 3.5, Nemotron 3: written out in their templates.
pub(crate) static QWEN_CODER: Notation = Notation {
    name: "qwen-coder",
    tells: &[&["<function=", "<parameter="]],
    form: Form::Blocks(Blocks {
        opens: &["<tool_call>"],
        bare: false,
        bodies: &[Body::Elements(QWEN_ELEMENTS), OBJECT],
        closes: &["</tool_call>"],
    }),
    spelling: TOOL_CALL_SPELLING,
};

/// Seed-OSS: Qwen3-Coder's elements in a tag of its own.
pub(crate) static SEED: Notation = Notation {
    name: "seed",
    tells: &[&["<seed:tool_call>"]],
    form: Form::Blocks(Blocks {
        opens: &["<seed:tool_call>"],
        bare: false,
        bodies: &[Body::Elements(QWEN_ELEMENTS), OBJECT],
        closes: &["</seed:tool_call>"],
    }),
    spelling: Spelling {
        open: "<seed:tool_call>\n",
        call: NAME_ARGUMENTS,
        between: Some("\n</seed:tool_call>\n<seed:tool_call>\n"),
        close: "\n</seed:tool_call>",
    },
};

/// MiniMax M2: `<invoke name="…"><parameter name="…">`.
pub(crate) static MINIMAX: Notation = Notation {
    name: "minimax",
    tells: &[&["<minimax:tool_call>"]],
    form: Form::Blocks(Blocks {
        opens: &["<minimax:tool_call>"],
        bare: false,
        bodies: &[
            Body::Elements(Elements {
                start: "<invoke name=\"",
                name_end: "\">",
                key: ("<parameter name=\"", "\">"),
                value: ("", "</parameter>"),
                end: "</invoke>",
            }),
            OBJECT,
        ],
        closes: &["</minimax:tool_call>"],
    }),
    spelling: Spelling {
        open: "<minimax:tool_call>\n",
        call: NAME_ARGUMENTS,
        between: Some("\n"),
        close: "\n</minimax:tool_call>",
    },
};

/// GLM 4.5 and later: the name, then pairs of `<arg_key>` and `<arg_value>`.
pub(crate) static GLM: Notation = Notation {
    name: "glm",
    tells: &[&["<arg_key>"]],
    form: Form::Blocks(Blocks {
        opens: &["<tool_call>"],
        bare: false,
        bodies: &[
            Body::Elements(Elements {
                start: "",
                name_end: "\n",
                key: ("<arg_key>", "</arg_key>"),
                value: ("<arg_value>", "</arg_value>"),
                end: "</tool_call>",
            }),
            OBJECT,
        ],
        closes: &["</tool_call>"],
    }),
    spelling: TOOL_CALL_SPELLING,
};
