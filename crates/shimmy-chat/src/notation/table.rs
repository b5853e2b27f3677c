//! The families, each with the source of what is known of its notation.
//!
//! The order counts: of two whose tells are in a template, the first is taken, so what is more
//! particular stands further up.

use super::{Blocks, Body, Elements, Form, Headed, Keys, Notation, Section, Sections, Spelling};

/// All of them.
pub(crate) static NOTATIONS: [&Notation; 25] = [
    &HARMONY,
    &KIMI,
    &DEEPSEEK,
    &FUNCTIONARY,
    &FUNCTION_TAG,
    &MINIMAX,
    &SEED,
    &GLM,
    &QWEN_CODER,
    &MISTRAL_NAMED,
    &MISTRAL,
    &COMMAND_R7B,
    &COMMAND_R,
    &INTERNLM,
    &APERTUS,
    &LFM2,
    &OLMO,
    &PHI,
    &GRANITE,
    &NEMOTRON,
    &LIST_TAG,
    &LLAMA_PYTHON,
    &LLAMA_JSON,
    &GEMMA,
    &HERMES,
];

const OBJECT: Body = Body::Object(Keys::Named);

/// The call as an object with `name` and `arguments`.
const NAME_ARGUMENTS: &str = r#"{"name": "$NAME", "arguments": $ARGUMENTS}"#;

/// The same with `parameters`.
const NAME_PARAMETERS: &str = r#"{"name": "$NAME", "parameters": $ARGUMENTS}"#;

const TOOL_CALL_SPELLING: Spelling = Spelling {
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
static QWEN_CODER: Notation = Notation {
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
static SEED: Notation = Notation {
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
static MINIMAX: Notation = Notation {
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
static GLM: Notation = Notation {
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

/// Hunyuan, Jamba, MiniMax M1: one list, or one object a line, in `<tool_calls>`.
static LIST_TAG: Notation = Notation {
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
static NEMOTRON: Notation = Notation {
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
static GRANITE: Notation = Notation {
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
static PHI: Notation = Notation {
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

/// Mistral up to Small 3.1: a list of objects.
static MISTRAL: Notation = Notation {
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
static MISTRAL_NAMED: Notation = Notation {
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
static DEEPSEEK: Notation = Notation {
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
static KIMI: Notation = Notation {
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
static FUNCTION_TAG: Notation = Notation {
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

const FUNCTION_HEADED: Body = Body::Headed(Headed {
    start: "<function=",
    name: |heading| heading.trim_end().strip_suffix('>'),
});

/// Llama 3.1 to 3.3 by their own templates, and what is tuned from them: an object and nothing
/// else.
static LLAMA_JSON: Notation = Notation {
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
static LLAMA_PYTHON: Notation = Notation {
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
static LFM2: Notation = Notation {
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
static OLMO: Notation = Notation {
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
static GEMMA: Notation = Notation {
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

/// Command R7B and Command A.
static COMMAND_R7B: Notation = Notation {
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
static COMMAND_R: Notation = Notation {
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
static INTERNLM: Notation = Notation {
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
static APERTUS: Notation = Notation {
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

/// Functionary 3.2: `>>>all` or `>>>name`, and a line's end.
static FUNCTIONARY: Notation = Notation {
    name: "functionary",
    tells: &[&[">>>all"], &[">>>", "functions namespace"]],
    form: Form::Sections(Sections {
        starts: &[">>>"],
        heading_end: "\n",
        ends: &[],
        text: "all\n",
        thoughts: None,
        read: |heading| match heading.trim() {
            "all" => Some(Section::Content),
            "" => None,
            name if name.contains(char::is_whitespace) => None,
            name => Some(Section::Call(name)),
        },
    }),
    spelling: Spelling {
        open: "",
        call: "$NAME\n$ARGUMENTS",
        between: Some("\n>>>"),
        close: "",
    },
};

/// gpt-oss, by OpenAI's description of the harmony format.
static HARMONY: Notation = Notation {
    name: "harmony",
    tells: &[&["<|channel|>", "<|message|>"]],
    form: Form::Sections(Sections {
        starts: &["<|start|>"],
        heading_end: "<|message|>",
        ends: &["<|end|>", "<|call|>", "<|return|>"],
        text: "<|channel|>final<|message|>",
        thoughts: Some((
            "<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant",
        )),
        read: harmony_section,
    }),
    spelling: Spelling {
        open: "",
        call: "<|channel|>commentary to=functions.$NAME <|constrain|>json<|message|>$ARGUMENTS",
        between: None,
        close: "",
    },
};

fn harmony_section(heading: &str) -> Option<Section<'_>> {
    let (role, rest) = heading.split_once("<|channel|>")?;
    let to = |text| {
        let (_, to): (&str, &str) = str::split_once(text, "to=")?;
        to.split(|c: char| c.is_whitespace() || c == '<').next()
    };
    let channel = rest.split(|c: char| c.is_whitespace() || c == '<').next();
    match to(rest).or_else(|| to(role)) {
        // Anything else is a tool that the vendor runs, which nobody has here.
        Some(name) => Some(Section::Call(
            name.strip_prefix("functions.").unwrap_or(name),
        )),
        None if channel == Some("analysis") => Some(Section::Reasoning),
        None => Some(Section::Content),
    }
}
