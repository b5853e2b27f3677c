//! Answers in sections.

use crate::notation::{Form, Notation, Section, Sections, Spelling};

/// Functionary 3.2: `>>>all` or `>>>name`, and a line's end.
pub(crate) static FUNCTIONARY: Notation = Notation {
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
pub(crate) static HARMONY: Notation = Notation {
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
