//! Tools and the choice among them, as this dialect writes them.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use shimmy_chat::{Tool, ToolChoice};

use super::content::Changes;
use crate::error::ApiError;
use crate::ignored::Ignored;
use crate::parts;
use crate::tools::{Names, check_parameters};

#[derive(Debug, Deserialize)]
struct WireTool {
    name: String,
    description: Option<String>,
    input_schema: Option<Value>,
    strict: Option<bool>,
    /// Not to be told of before somebody asks for it.
    defer_loading: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct WireChoice {
    #[serde(rename = "type")]
    kind: Kind,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Auto,
    Any,
    Tool,
    None,
}

/// The tools that the client runs. Those that the vendor runs or has taught its models, which
/// come without a schema, are left out.
pub(super) fn tools(
    wire: &[Value],
    changes: &Changes,
    ignored: &mut Ignored,
) -> Result<Vec<Tool>, ApiError> {
    let mut names = HashSet::new();
    let mut tools = Vec::with_capacity(wire.len());
    let declared = changes.declared.iter().enumerate();
    let declared = declared.map(|(index, tool)| (format!("messages.tool_addition[{index}]"), tool));
    let wire = wire.iter().enumerate();
    let wire = wire.map(|(index, tool)| (format!("tools[{index}]"), tool));
    for (at, definition) in wire.chain(declared) {
        let kind = definition["type"].as_str().filter(|kind| *kind != "custom");
        if let (Some(kind), Value::Null) = (kind, &definition["input_schema"]) {
            ignored.note(format!("tools.{kind}"));
            continue;
        }
        let tool: WireTool = parts::read(&at, definition)?;
        Names::ANTHROPIC.check(format!("{at}.name"), &tool.name)?;
        if !names.insert(tool.name.clone()) {
            let reason = format!("is {:?} for a second time", tool.name);
            return Err(ApiError::field(format!("{at}.name"), reason));
        }
        let is_deferred = tool.defer_loading == Some(true);
        if changes.removed.contains(&tool.name)
            || (is_deferred && !changes.loaded.contains(&tool.name))
        {
            continue;
        }
        let schema = format!("{at}.input_schema");
        tools.push(Tool {
            name: tool.name,
            description: tool.description,
            parameters: match tool.input_schema {
                Some(parameters @ Value::Object(_)) => {
                    check_parameters(&schema, &parameters)?;
                    parameters
                }
                Some(_) => return Err(ApiError::field(schema, "must be an object")),
                None => return Err(ApiError::field(schema, "is required")),
            },
            strict: tool.strict.unwrap_or(false),
        });
    }
    Ok(tools)
}

/// Which tools are to be called, and whether several at once.
pub(super) fn choice(wire: Option<&Value>, tools: &[Tool]) -> Result<(ToolChoice, bool), ApiError> {
    let Some(wire) = wire.filter(|wire| !wire.is_null()) else {
        return Ok((ToolChoice::Auto, true));
    };
    let choice: WireChoice = parts::read("tool_choice", wire)?;
    let parallel = !choice.disable_parallel_tool_use.unwrap_or(false);
    let choice = match (choice.kind, choice.name) {
        (Kind::Auto, _) => ToolChoice::Auto,
        (Kind::None, _) => ToolChoice::None,
        (Kind::Any, _) if tools.is_empty() => {
            let reason = "asks for a call, but there is no tool that can be called";
            return Err(ApiError::field("tool_choice", reason));
        }
        (Kind::Any, _) => ToolChoice::Required,
        (Kind::Tool, Some(name)) if tools.iter().any(|tool| tool.name == name) => {
            ToolChoice::Named(name)
        }
        (Kind::Tool, Some(name)) => {
            let reason = format!("is {name:?}, which is none of the tools that can be called");
            return Err(ApiError::field("tool_choice.name", reason));
        }
        (Kind::Tool, None) => return Err(ApiError::field("tool_choice.name", "is required")),
    };
    Ok((choice, parallel))
}
