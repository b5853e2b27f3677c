//! Thoughts: the marks around them, and the variables by which templates turn them on and off.
//!
//! It must not know how an answer is read or a template rendered.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::request::Thinking;

/// The marks of a family of models.
#[derive(Debug)]
pub(crate) struct ThoughtMarks {
    /// Before thoughts.
    pub(crate) open: &'static str,
    /// After them.
    pub(crate) close: &'static str,
    /// Marks around what is said to the user, which are no part of it.
    pub(crate) wraps: &'static [&'static str],
}

const THINK: (&str, &str) = ("<think>", "</think>");

/// The first whose marks are all in a template is that model's.
static ALL: [ThoughtMarks; 11] = [
    // Seed-OSS.
    ThoughtMarks {
        open: "<seed:think>",
        close: "</seed:think>",
        wraps: &[],
    },
    // Magistral and later Mistrals.
    ThoughtMarks {
        open: "[THINK]",
        close: "[/THINK]",
        wraps: &[],
    },
    // Command A and R7B.
    ThoughtMarks {
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
        wraps: &[
            "<|START_RESPONSE|>",
            "<|END_RESPONSE|>",
            "<|START_TEXT|>",
            "<|END_TEXT|>",
        ],
    },
    // Apertus.
    ThoughtMarks {
        open: "<|inner_prefix|>",
        close: "<|inner_suffix|>",
        wraps: &[],
    },
    // Kimi VL.
    ThoughtMarks {
        open: "◁think▷",
        close: "◁/think▷",
        wraps: &[],
    },
    // Granite 3.2.
    ThoughtMarks {
        open: "Here is my thought process:",
        close: "Here is my response:",
        wraps: &[],
    },
    // Granite 3.3, ERNIE 4.5.
    ThoughtMarks {
        open: THINK.0,
        close: THINK.1,
        wraps: &["<response>", "</response>"],
    },
    // Hunyuan.
    ThoughtMarks {
        open: THINK.0,
        close: THINK.1,
        wraps: &["<answer>", "</answer>"],
    },
    // EXAONE Deep.
    ThoughtMarks {
        open: "<thought>",
        close: "</thought>",
        wraps: &[],
    },
    // Reka, and others after OpenAI's first texts on it.
    ThoughtMarks {
        open: "<reasoning>",
        close: "</reasoning>",
        wraps: &[],
    },
    // DeepSeek R1, Qwen 3, and nearly everybody else.
    ThoughtMarks {
        open: THINK.0,
        close: THINK.1,
        wraps: &[],
    },
];

impl ThoughtMarks {
    /// The marks that a template speaks of; none where its model does not think.
    pub(crate) fn of(source: &str) -> Option<&'static Self> {
        ALL.iter().find(|marks| {
            // Some templates only take thoughts out of earlier answers, by their end.
            let has_thoughts = source.contains(marks.close)
                || marks.wraps.is_empty() && source.contains(marks.open);
            has_thoughts && marks.wraps.iter().take(1).all(|wrap| source.contains(wrap))
        })
    }

    /// Whether a prompt has opened thoughts that the answer goes on with.
    pub(crate) fn are_open_after(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }

    /// Whether a prompt ends with thoughts that are over, so that no more will come.
    pub(crate) fn are_over_after(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.close)
    }

    /// Every mark.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'static str> {
        [self.open, self.close]
            .into_iter()
            .chain(self.wraps.iter().copied())
    }
}

/// What templates call the switch.
const SWITCHES: [&str; 5] = [
    "enable_thinking",
    "thinking",
    "enable_reasoning",
    "reasoning",
    "think",
];

/// What templates call the effort.
const EFFORTS: [&str; 3] = ["reasoning_effort", "thinking_effort", "reasoning_strength"];

/// What was asked about thinking and could not be told to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// Whether to think.
    Thinking,
    /// How much.
    Effort,
}

/// Adds to a template's variables what is asked about thinking, by the names in `read`, which the
/// template reads. What a request set itself stays. Returns what no variable can say.
///
/// `thinks` is whether the model thinks at all.
pub(crate) fn tell(
    thinking: &Thinking,
    read: &HashSet<String>,
    thinks: bool,
    variables: &mut Map<String, Value>,
) -> Vec<Unheard> {
    let mut unheard = Vec::new();
    let switch = SWITCHES.iter().find(|name| read.contains(**name));
    let effort = EFFORTS.iter().find(|name| read.contains(**name));
    if let Some(enabled) = thinking.enabled {
        match switch {
            Some(name) => set(variables, name, Value::Bool(enabled)),
            // Seed-OSS has a number of tokens; none of them is no thoughts.
            None if !enabled && read.contains("thinking_budget") => {
                set(variables, "thinking_budget", Value::from(0));
            }
            // A model that does not think already does as it is told.
            None if !enabled && !thinks => {}
            // Effort of some kind is thinking.
            None if enabled && (effort.is_some() || thinks) => {}
            None => unheard.push(Unheard::Thinking),
        }
    }
    if let Some(wish) = &thinking.effort {
        match effort {
            Some(name) => set(variables, name, Value::from(known_effort(wish))),
            // The switch has said it.
            None if thinking.enabled == Some(false) => {}
            None => unheard.push(Unheard::Effort),
        }
    }
    unheard
}

/// Templates know three words, by which their models were trained.
fn known_effort(wish: &str) -> &str {
    match wish {
        "none" | "minimal" => "low",
        "xhigh" | "max" => "high",
        known => known,
    }
}

fn set(variables: &mut Map<String, Value>, name: &str, value: Value) {
    variables.entry(name).or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(enabled: Option<bool>, effort: Option<&str>, read: &[&str]) -> (Value, Vec<Unheard>) {
        let thinking = Thinking {
            enabled,
            effort: effort.map(str::to_owned),
        };
        let read = read.iter().map(|name| (*name).to_owned()).collect();
        let mut variables = Map::new();
        let unheard = tell(&thinking, &read, true, &mut variables);
        (Value::Object(variables), unheard)
    }

    #[test]
    fn what_is_asked_goes_where_the_template_reads_it() {
        use serde_json::json;
        for (enabled, effort, read, variables) in [
            (
                Some(false),
                None,
                &["enable_thinking"][..],
                json!({ "enable_thinking": false }),
            ),
            (Some(true), None, &["thinking"], json!({ "thinking": true })),
            (
                Some(false),
                None,
                &["thinking_budget"],
                json!({ "thinking_budget": 0 }),
            ),
            (
                None,
                Some("max"),
                &["reasoning_effort"],
                json!({ "reasoning_effort": "high" }),
            ),
            (
                None,
                None,
                &["enable_thinking", "reasoning_effort"],
                json!({}),
            ),
        ] {
            assert_eq!(
                told(enabled, effort, read),
                (variables, Vec::new()),
                "{read:?}"
            );
        }
        assert_eq!(told(Some(false), None, &[]).1, [Unheard::Thinking]);
        assert_eq!(
            told(None, Some("low"), &["enable_thinking"]).1,
            [Unheard::Effort]
        );
    }

    #[test]
    fn a_model_that_does_not_think_need_not_be_told_not_to() {
        let tell = |enabled| {
            let thinking = Thinking {
                enabled: Some(enabled),
                effort: None,
            };
            tell(&thinking, &HashSet::new(), false, &mut Map::new())
        };
        assert_eq!(tell(false), []);
        assert_eq!(tell(true), [Unheard::Thinking]);
    }
}
