//! Calls that need no mark, and calls as Python writes them.

use super::headed::FUNCTION_HEADED;
use super::tags::TOOL_CALL_SPELLING;
use super::{NAME_ARGUMENTS, NAME_PARAMETERS, OBJECT};
use crate::notation::{Blocks, Body, Form, Notation, Spelling};

/// Llama 3.1 to 3.3 by their own templates, and what is tuned from them: an object and nothing
/// else.
pub(crate) static LLAMA_JSON: Notation = Notation {
    name: "llama-json",
    tells: &[
        &["<|python_tag|>"],
        &["{\"name\": function name, \"parameters\":"],
        &["<|start_header_id|>", "\"parameters\""],
    ],
    form: Form::Blocks(Blocks {
        opens: &["<|python_tag|>"],
        bare: true,
        bodies: &[OBJECT, FUNCTION_HEADED],
        closes: &["</function>", "<|eom_id|>"],
    }),
    spelling: Spelling {
        open: "",
        call: NAME_PARAMETERS,
        between: Some("; "),
        close: "",
    },
};

/// Llama 4 and the small models of Llama 3.2: calls as Python writes them.
pub(crate) static LLAMA_PYTHON: Notation = Notation {
    name: "llama-python",
    tells: &[&["<|python_start|>"], &["[func_name1("], &["[func1("]],
    form: Form::Blocks(Blocks {
        opens: &["<|python_start|>", "<|python_tag|>"],
        bare: true,
        bodies: &[Body::Python, OBJECT],
        closes: &["<|python_end|>"],
    }),
    spelling: Spelling {
        open: "[",
        call: NAME_PARAMETERS,
        between: Some(", "),
        close: "]",
    },
};

/// LFM2: Python's calls between marks.
pub(crate) static LFM2: Notation = Notation {
    name: "lfm2",
    tells: &[&["<|tool_call_start|>"], &["<|tool_list_start|>"]],
    form: Form::Blocks(Blocks {
        opens: &["<|tool_call_start|>"],
        bare: false,
        bodies: &[Body::Python, OBJECT],
        closes: &["<|tool_call_end|>"],
    }),
    spelling: Spelling {
        open: "<|tool_call_start|>[",
        call: NAME_ARGUMENTS,
        between: Some(", "),
        close: "]<|tool_call_end|>",
    },
};

/// OLMo 3: Python's calls, one a line.
pub(crate) static OLMO: Notation = Notation {
    name: "olmo",
    tells: &[&["<function_calls>"]],
    form: Form::Blocks(Blocks {
        opens: &["<function_calls>"],
        bare: false,
        bodies: &[Body::Python, OBJECT],
        closes: &["</function_calls>"],
    }),
    spelling: Spelling {
        open: "<function_calls>\n",
        call: NAME_ARGUMENTS,
        between: Some("\n"),
        close: "\n</function_calls>",
    },
};

/// Gemma 2 and 3, whose templates know no tools: they answer to a described tool with a fenced
/// call in Python, or as they were told.
pub(crate) static GEMMA: Notation = Notation {
    name: "gemma",
    tells: &[&["<start_of_turn>"]],
    form: Form::Blocks(Blocks {
        opens: &["<tool_call>", "```tool_code", "```tool_call"],
        bare: false,
        bodies: &[OBJECT, Body::Python],
        closes: &["</tool_call>", "```"],
    }),
    spelling: TOOL_CALL_SPELLING,
};
