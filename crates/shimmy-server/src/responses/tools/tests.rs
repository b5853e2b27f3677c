//! Tools of every kind and the choices among them.

use super::*;

fn toolbox(tools: Value, choice: Value) -> Result<(Toolbox, Ignored), ApiError> {
    let mut toolbox = Toolbox::default();
    let mut ignored = Ignored::default();
    toolbox.add("tools", tools.as_array().unwrap(), &mut ignored)?;
    toolbox.choose(Some(&choice))?;
    Ok((toolbox, ignored))
}

fn choose(choice: Value) -> Result<Toolbox, ApiError> {
    toolbox(all(), choice).map(|(toolbox, _)| toolbox)
}

fn all() -> Value {
    json!([
        { "type": "function", "name": "shell", "strict": false, "parameters": { "type": "object" } },
        { "type": "namespace", "name": "mcp__files__", "description": "Tools.", "tools": [
            { "type": "function", "name": "read", "parameters": { "type": "object" } },
            { "type": "custom", "name": "edit" } ] },
        { "type": "namespace", "name": "agents", "description": "More.", "tools": [
            { "type": "function", "name": "spawn" } ] },
        { "type": "custom", "name": "apply_patch", "description": "Patches.",
          "format": { "type": "grammar", "syntax": "lark", "definition": "start: \"x\"" } },
        { "type": "web_search", "external_web_access": false },
    ])
}

#[test]
fn namespaces_become_names_and_come_back() {
    let (toolbox, ignored) = toolbox(all(), Value::Null).unwrap();
    let names: Vec<&str> = toolbox.tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(
        names,
        [
            "shell",
            "mcp__files__read",
            "mcp__files__edit",
            "agents__spawn",
            "apply_patch"
        ]
    );
    let read = toolbox.names.resolve("mcp__files__read");
    assert_eq!(
        (read.namespace.as_deref(), &*read.name),
        (Some("mcp__files__"), "read")
    );
    let edit = toolbox.names.resolve("mcp__files__edit");
    assert!(edit.custom && edit.namespace.is_some());
    let made_up = toolbox.names.resolve("agents__kill");
    assert_eq!((made_up.namespace, &*made_up.name), (None, "agents__kill"));
    let mut response = axum::response::Response::default();
    ignored.tell(&mut response);
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "tools.format, tools.web_search"
    );
}

#[test]
fn a_custom_tool_is_a_function_with_one_text_and_its_grammar_in_words() {
    let (toolbox, _) = toolbox(all(), Value::Null).unwrap();
    let patch = toolbox.tools.last().unwrap();
    let description = patch.description.as_deref().unwrap();
    assert!(description.starts_with("Patches."), "{description}");
    assert!(
        description.contains("lark grammar:\nstart: \"x\""),
        "{description}"
    );
    assert_eq!(patch.parameters["required"], json!(["input"]));
    assert_eq!(toolbox.tools[2].description, None);
}

#[test]
fn choices() {
    assert_eq!(choose(Value::Null).unwrap().choice, ToolChoice::Auto);
    assert_eq!(choose(json!("none")).unwrap().choice, ToolChoice::None);
    assert_eq!(
        choose(json!("required")).unwrap().choice,
        ToolChoice::Required
    );
    for (choice, name) in [
        (json!({ "type": "function", "name": "shell" }), "shell"),
        (
            json!({ "type": "custom", "name": "apply_patch" }),
            "apply_patch",
        ),
        (
            json!({ "type": "function", "name": "spawn" }),
            "agents__spawn",
        ),
        (
            json!({ "type": "function", "name": "read", "namespace": "mcp__files__" }),
            "mcp__files__read",
        ),
        (
            json!({ "type": "function", "function": { "name": "shell" } }),
            "shell",
        ),
    ] {
        assert_eq!(
            choose(choice).unwrap().choice,
            ToolChoice::Named(name.to_owned())
        );
    }
    let allowed = choose(
        json!({ "type": "allowed_tools", "mode": "required", "tools": [
        { "type": "function", "name": "shell" }, { "type": "web_search" } ] }),
    );
    let allowed = allowed.unwrap();
    assert_eq!(
        (allowed.tools.len(), allowed.choice),
        (1, ToolChoice::Required)
    );
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    for (choice, field) in [
        (json!("sometimes"), "tool_choice"),
        (json!(3), "tool_choice"),
        (json!({}), "tool_choice.type"),
        (json!({ "type": "web_search" }), "tool_choice.type"),
        (json!({ "type": "function" }), "tool_choice.name"),
        (
            json!({ "type": "function", "name": "nothing" }),
            "tool_choice.name",
        ),
        (
            json!({ "type": "allowed_tools", "tools": [] }),
            "tool_choice.mode",
        ),
        (
            json!({ "type": "allowed_tools", "mode": "maybe", "tools": [] }),
            "tool_choice.mode",
        ),
        (
            json!({ "type": "allowed_tools", "mode": "required", "tools": [] }),
            "tool_choice.mode",
        ),
        (
            json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "x" }] }),
            "tool_choice.tools[0].name",
        ),
    ] {
        let error = choose(choice.clone()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(field), "{choice}");
    }
    let searching = json!([{ "type": "web_search" }]);
    let error = toolbox(searching, json!("required")).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("tool_choice"));
}

#[test]
fn broken_tools_are_refused_with_their_place() {
    for (tool, field) in [
        (json!({ "type": "function" }), "tools[0].name"),
        (
            json!({ "type": "function", "name": "f", "parameters": 3 }),
            "tools[0].parameters",
        ),
        (json!({ "type": "custom" }), "tools[0].name"),
        (
            json!({ "type": "namespace", "name": "n" }),
            "tools[0].tools",
        ),
        (
            json!({ "type": "namespace", "name": "n", "tools": [{ "type": "function" }] }),
            "tools[0].tools[0].name",
        ),
    ] {
        let error = toolbox(json!([tool]), Value::Null).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(field), "{tool}");
    }
    let twice = json!([{ "type": "function", "name": "f" }, { "type": "custom", "name": "f" }]);
    let error = toolbox(twice, Value::Null).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("tools[1].name"));
}
