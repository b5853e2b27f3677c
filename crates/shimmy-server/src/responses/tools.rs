//! Tools of every kind, as the functions that a model can be told of, and back.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};
use shimmy_chat::{Tool, ToolChoice};

use super::custom::INPUT;
use crate::error::ApiError;
use crate::ignored::Ignored;
use crate::parts;
use crate::tools;

/// What tools and namespaces may be called.
const NAMES: tools::Names = tools::Names::OPENAI;

/// A model knows one list of functions: a namespace becomes the beginning of their names.
pub(super) fn flat(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        None | Some("") => name.to_owned(),
        Some(namespace) if namespace.ends_with("__") => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
    }
}

/// What a function's name stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// Its calls hold free text.
    pub(super) custom: bool,
}

/// The tools of a request.
#[derive(Debug, Default)]
pub(super) struct Toolbox {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) names: Names,
}

/// What the names that a model uses stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(HashMap<String, Named>);

impl Names {
    /// What a call names. A name that the model made up stands for itself.
    pub(super) fn resolve(&self, name: &str) -> Named {
        self.0.get(name).cloned().unwrap_or_else(|| Named {
            name: name.to_owned(),
            ..Named::default()
        })
    }
}

#[derive(Debug, Deserialize)]
struct Namespace {
    name: String,
    tools: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Custom {
    name: String,
    description: Option<String>,
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Format {
    syntax: Option<String>,
    definition: Option<String>,
}

impl Toolbox {
    /// Adds the tools in `wire`; those that nobody here can run are left out.
    pub(super) fn add(
        &mut self,
        field: &str,
        wire: &[Value],
        ignored: &mut Ignored,
    ) -> Result<(), ApiError> {
        for (index, definition) in wire.iter().enumerate() {
            let at = format!("{field}[{index}]");
            if definition["type"] == "namespace" {
                let namespace: Namespace = parts::read(&at, definition)?;
                NAMES.check(format!("{at}.name"), &namespace.name)?;
                for (index, definition) in namespace.tools.iter().enumerate() {
                    let at = format!("{at}.tools[{index}]");
                    self.add_one(&at, Some(&namespace.name), definition, ignored)?;
                }
            } else {
                self.add_one(&at, None, definition, ignored)?;
            }
        }
        Ok(())
    }

    fn add_one(
        &mut self,
        at: &str,
        namespace: Option<&str>,
        definition: &Value,
        ignored: &mut Ignored,
    ) -> Result<(), ApiError> {
        let (mut tool, custom) = match definition["type"].as_str() {
            // Chat's own shape is taken too, for the clients that mix the two up.
            Some("function") | None if definition["function"].is_object() => {
                let at = format!("{at}.function");
                let function = &definition["function"];
                (tools::tool(function, &at, NAMES)?, false)
            }
            Some("function") | None => (tools::tool(definition, at, NAMES)?, false),
            Some("custom") => {
                let custom: Custom = parts::read(at, definition)?;
                NAMES.check(format!("{at}.name"), &custom.name)?;
                let (tool, has_grammar) = custom_tool(custom);
                if has_grammar {
                    ignored.note("tools.format");
                }
                (tool, true)
            }
            Some(kind) => {
                ignored.note(format!("tools.{kind}"));
                return Ok(());
            }
        };
        let named = Named {
            namespace: namespace.map(str::to_owned),
            name: tool.name.clone(),
            custom,
        };
        tool.name = flat(namespace, &tool.name);
        if self.names.0.insert(tool.name.clone(), named).is_some() {
            let reason = format!("is {:?} for a second time", tool.name);
            return Err(ApiError::field(format!("{at}.name"), reason));
        }
        self.tools.push(tool);
        Ok(())
    }

    /// Notes which of the tools are to be called.
    pub(super) fn choose(&mut self, wire: Option<&Value>) -> Result<(), ApiError> {
        self.choice = match wire {
            None | Some(Value::Null) => ToolChoice::Auto,
            Some(Value::String(word)) => self.word("tool_choice", word)?,
            Some(choice @ Value::Object(_)) => match parts::kind("tool_choice", choice)? {
                "allowed_tools" => {
                    let allowed: Allowed = parts::read("tool_choice", choice)?;
                    self.restrict(&allowed.tools)?;
                    self.word("tool_choice.mode", &allowed.mode)?
                }
                "function" | "custom" => {
                    let name = self.find("tool_choice", choice)?;
                    ToolChoice::Named(name)
                }
                kind => {
                    let reason = format!("is {kind:?}, which is no tool that can be called");
                    return Err(ApiError::field("tool_choice.type", reason));
                }
            },
            Some(_) => {
                let reason = "must be a string or an object that names a tool";
                return Err(ApiError::field("tool_choice", reason));
            }
        };
        Ok(())
    }

    fn word(&self, at: &str, word: &str) -> Result<ToolChoice, ApiError> {
        match word {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" if self.tools.is_empty() => {
                let reason = "asks for a call, but there is no tool that can be called";
                Err(ApiError::field(at, reason))
            }
            "required" => Ok(ToolChoice::Required),
            _ => {
                let reason =
                    "must be \"auto\", \"none\", \"required\" or an object that names a tool";
                Err(ApiError::field(at, reason))
            }
        }
    }

    /// Takes all but these tools away.
    fn restrict(&mut self, allowed: &[Value]) -> Result<(), ApiError> {
        let mut kept = Vec::with_capacity(allowed.len());
        for (index, entry) in allowed.iter().enumerate() {
            // Those that have been left out already cannot be called anyway.
            if matches!(entry["type"].as_str(), Some("function" | "custom") | None) {
                kept.push(self.find(&format!("tool_choice.tools[{index}]"), entry)?);
            }
        }
        self.tools.retain(|tool| kept.contains(&tool.name));
        Ok(())
    }

    /// The function that `entry` names, with its namespace or, where that is clear, without.
    fn find(&self, at: &str, entry: &Value) -> Result<String, ApiError> {
        // Chat's own shape again.
        let entry = match &entry["function"] {
            function @ Value::Object(_) => function,
            _ => entry,
        };
        let name = parts::text(at, entry, "name")?;
        let name = flat(entry["namespace"].as_str(), &name);
        let mut found = self.tools.iter().filter(|tool| {
            let named = self.names.resolve(&tool.name);
            tool.name == name || named.name == name
        });
        match (found.next(), found.next()) {
            (Some(tool), None) => Ok(tool.name.clone()),
            _ => {
                let reason = format!("is {name:?}, which is none of the tools that can be called");
                Err(ApiError::field(format!("{at}.name"), reason))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Allowed {
    mode: String,
    tools: Vec<Value>,
}

/// A tool that takes free text, and whether that text has a grammar, which is told in words: a model that
/// is used to the tool keeps to it, but nothing holds it to that.
fn custom_tool(custom: Custom) -> (Tool, bool) {
    let mut description = custom.description.unwrap_or_default();
    let grammar = custom
        .format
        .and_then(|format| Some((format.syntax?, format.definition?)));
    let has_grammar = grammar.is_some();
    if let Some((syntax, definition)) = grammar {
        description.push_str(&format!(
            "\n\n`{INPUT}` must match this {syntax} grammar:\n{definition}"
        ));
    }
    let tool = Tool {
        name: custom.name,
        description: Some(description.trim_start().to_owned()).filter(|text| !text.is_empty()),
        parameters: json!({
            "type": "object",
            "properties": { INPUT: { "type": "string" } },
            "required": [INPUT],
            "additionalProperties": false,
        }),
        strict: false,
    };
    (tool, has_grammar)
}

#[cfg(test)]
mod tests;
