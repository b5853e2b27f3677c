//! What a chat request says of tools: `tools`, `tool_choice`, and the older `functions`.

use serde::Deserialize;
use serde_json::Value;
use shimmy_chat::{Tool, ToolChoice};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::tools::{Names, tool, tools};

const CHOICES: &str = "must be \"none\", \"auto\", \"required\" or an object that names a function";

/// Read beside the other fields of a chat request.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiToolFields)]
pub(super) struct ToolFields {
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    functions: Option<Vec<Value>>,
    function_call: Option<Value>,
}

/// How calls are written in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallStyle {
    /// `tool_calls`: a list, each with an id.
    Tools,
    /// `function_call`: one, for clients that asked by the older `functions`.
    Function,
}

/// What a request says of tools, checked.
#[derive(Debug)]
pub(super) struct ToolUse {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) parallel: bool,
    pub(super) style: CallStyle,
}

impl ToolFields {
    /// Checks that what is to be called can be called.
    pub(super) fn read(self) -> Result<ToolUse, ApiError> {
        let mut offered = tools("tools", self.tools.unwrap_or_default(), Names::OPENAI)?;
        let functions = self.functions.unwrap_or_default();
        if functions.is_empty() {
            let choice = tool_choice(self.tool_choice, &mut offered)?;
            return Ok(ToolUse {
                choice: checked("tool_choice", choice, &offered)?,
                tools: offered,
                parallel: self.parallel_tool_calls.unwrap_or(true),
                style: CallStyle::Tools,
            });
        }
        if !offered.is_empty() {
            let reason = "cannot be combined with `tools`, which replaces it";
            return Err(ApiError::field("functions", reason));
        }
        let functions = functions.iter().enumerate();
        let functions = functions
            .map(|(index, function)| tool(function, &format!("functions[{index}]"), Names::OPENAI))
            .collect::<Result<Vec<_>, _>>()?;
        let choice = function_call(self.function_call)?;
        Ok(ToolUse {
            choice: checked("function_call", choice, &functions)?,
            tools: functions,
            // The older field has room for one call.
            parallel: false,
            style: CallStyle::Function,
        })
    }
}

/// A choice that `tools` can fulfil.
fn checked(field: &str, choice: ToolChoice, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    match &choice {
        ToolChoice::Required if tools.is_empty() => {
            let reason = "is \"required\", but there are no `tools` to call";
            Err(ApiError::field(field, reason))
        }
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
            let reason = format!("names {name:?}, which is not among the functions offered");
            Err(ApiError::field(field, reason))
        }
        _ => Ok(choice),
    }
}

/// The choice; one among a part of the tools leaves only these in `offered`.
fn tool_choice(choice: Option<Value>, offered: &mut Vec<Tool>) -> Result<ToolChoice, ApiError> {
    let choice = match choice {
        None | Some(Value::Null) => return Ok(ToolChoice::Auto),
        Some(Value::String(mode)) => return mode_of("tool_choice", &mode),
        Some(choice) => choice,
    };
    match choice["type"].as_str() {
        Some("function") => named("tool_choice.function.name", &choice["function"]),
        Some("allowed_tools") => {
            let allowed = &choice["allowed_tools"];
            let at = "tool_choice.allowed_tools";
            let mode = allowed["mode"].as_str().unwrap_or("auto");
            let Some(list) = allowed["tools"].as_array().filter(|list| !list.is_empty()) else {
                let reason = "is required, as a list of functions";
                return Err(ApiError::field(format!("{at}.tools"), reason));
            };
            let mut names = Vec::with_capacity(list.len());
            for (index, entry) in list.iter().enumerate() {
                let place = format!("{at}.tools[{index}].function.name");
                let choice = named(&place, &entry["function"])?;
                if let ToolChoice::Named(name) = checked(&place, choice, offered)? {
                    names.push(name);
                }
            }
            offered.retain(|tool| names.contains(&tool.name));
            mode_of(&format!("{at}.mode"), mode)
        }
        Some(kind) => {
            let reason = format!("is {kind:?}, but only functions can be called");
            Err(ApiError::field("tool_choice.type", reason))
        }
        None => Err(ApiError::field("tool_choice", CHOICES)),
    }
}

fn function_call(choice: Option<Value>) -> Result<ToolChoice, ApiError> {
    match choice {
        None | Some(Value::Null) => Ok(ToolChoice::Auto),
        Some(Value::String(mode)) if mode != "required" => mode_of("function_call", &mode),
        Some(choice @ Value::Object(_)) => named("function_call.name", &choice),
        Some(_) => Err(ApiError::field(
            "function_call",
            "must be \"none\", \"auto\" or an object that names a function",
        )),
    }
}

fn mode_of(field: &str, mode: &str) -> Result<ToolChoice, ApiError> {
    match mode {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        _ => Err(ApiError::field(field, CHOICES)),
    }
}

/// The name in a function's object; `field` is where it should be.
fn named(field: &str, function: &Value) -> Result<ToolChoice, ApiError> {
    match function["name"].as_str() {
        Some(name) => Ok(ToolChoice::Named(name.to_owned())),
        None => Err(ApiError::field(field, "is required")),
    }
}
