//! What a template does, in Jinja. Owns the names of Ollama's variables and functions here; must
//! not know how they are spelled in Go.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::GoTemplateError;
use super::tree::{Branch, Expression, Node, cut_at_answer, reads};

/// The template in Jinja.
pub(super) fn write(nodes: &[Node]) -> Result<String, GoTemplateError> {
    let mut writer = Writer {
        out: "{%+ set go = namespace() +%}".to_owned(),
        scopes: vec![HashMap::new()],
        dot: None,
        count: 0,
        has_turns: !reads(nodes, "Messages"),
    };
    if !writer.has_turns {
        if reads(nodes, "System") {
            writer
                .out
                .push_str("{%+ set go.system = go_system(messages) +%}");
        }
        writer.nodes(nodes)?;
    } else {
        // Templates that know no list of messages are for one turn: they are written turn by turn.
        let mut is_cut = false;
        let last = cut_at_answer(nodes, &mut is_cut);
        writer.tag("for go_turn in go_turns(messages)");
        writer.tag("if loop.last");
        writer.nodes(&last)?;
        writer.tag("else");
        writer.nodes(nodes)?;
        writer.tag("endif");
        writer.tag("endfor");
    }
    // Jinja takes a line break away that ends a source.
    writer.out.push_str("{{ '' }}");
    Ok(writer.out)
}

struct Writer {
    out: String,
    /// What variables are called here, innermost block last.
    scopes: Vec<HashMap<String, String>>,
    /// What the dot is; none is the root.
    dot: Option<String>,
    count: usize,
    /// Whether it is written turn by turn.
    has_turns: bool,
}

impl Writer {
    fn nodes(&mut self, nodes: &[Node]) -> Result<(), GoTemplateError> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), GoTemplateError> {
        match node {
            Node::Text(text) => self.text(text),
            Node::Print(value) => {
                let value = self.expression(value)?;
                self.print(&format!("go_text({value})"));
            }
            Node::Set { variable, value } => {
                let value = self.expression(value)?;
                self.set(&variable.name, variable.is_new, &value)?;
            }
            Node::If(branch) => self.branch(branch, false)?,
            Node::With(branch) => self.branch(branch, true)?,
            Node::Range { key, item, branch } => {
                self.range(key.as_deref(), item.as_deref(), branch)?;
            }
            Node::Break => self.tag("break"),
            Node::Continue => self.tag("continue"),
        }
        Ok(())
    }

    fn branch(&mut self, branch: &Branch, moves_dot: bool) -> Result<(), GoTemplateError> {
        let mut value = self.expression(&branch.value)?;
        self.scopes.push(HashMap::new());
        if let Some(variable) = &branch.variable {
            value = self.set(&variable.name, variable.is_new, &value)?;
        } else if moves_dot {
            let name = self.name();
            self.tag(&format!("set {name} = {value}"));
            value = name;
        }
        self.tag(&format!("if {value}"));
        let dot = self.dot.clone();
        if moves_dot {
            self.dot = Some(value);
        }
        self.nodes(&branch.body)?;
        self.dot = dot;
        if !branch.otherwise.is_empty() {
            self.tag("else");
            self.nodes(&branch.otherwise)?;
        }
        self.tag("endif");
        self.scopes.pop();
        Ok(())
    }

    fn range(
        &mut self,
        key: Option<&str>,
        item: Option<&str>,
        branch: &Branch,
    ) -> Result<(), GoTemplateError> {
        let value = self.expression(&branch.value)?;
        self.count += 1;
        let pair = format!("go_pair_{}", self.count);
        self.tag(&format!("for {pair} in go_range({value})"));
        self.scopes.push(HashMap::new());
        for (name, at) in [(key, 0), (item, 1)] {
            if let Some(name) = name {
                self.set(name, true, &format!("{pair}[{at}]"))?;
            }
        }
        let dot = self.dot.replace(format!("{pair}[1]"));
        self.nodes(&branch.body)?;
        self.dot = dot;
        self.scopes.pop();
        if !branch.otherwise.is_empty() {
            self.tag("else");
            self.nodes(&branch.otherwise)?;
        }
        self.tag("endfor");
        Ok(())
    }

    /// Sets a variable, and returns what it is called here. All live in one namespace, because
    /// Jinja forgets at a loop's end what was set in it.
    fn set(&mut self, name: &str, is_new: bool, value: &str) -> Result<String, GoTemplateError> {
        let here = match is_new {
            true => self.name(),
            false => self.variable(name)?,
        };
        self.tag(&format!("set {here} = {value}"));
        if let (true, Some(scope)) = (is_new, self.scopes.last_mut()) {
            scope.insert(name.to_owned(), here.clone());
        }
        Ok(here)
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("go.x{}", self.count)
    }

    fn variable(&self, name: &str) -> Result<String, GoTemplateError> {
        let known = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        let unknown = || GoTemplateError::Syntax(format!("the variable ${name} is not set"));
        known.cloned().ok_or_else(unknown)
    }

    fn expression(&self, expression: &Expression) -> Result<String, GoTemplateError> {
        match expression {
            Expression::Dot(fields) => match &self.dot {
                None => self.root(fields),
                Some(dot) => of(dot, fields),
            },
            Expression::Variable(name, fields) if name.is_empty() => self.root(fields),
            Expression::Variable(name, fields) => of(&self.variable(name)?, fields),
            Expression::Text(text) => Ok(quoted(text)),
            Expression::Constant(constant) => Ok(constant.clone()),
            Expression::Of(value, fields) => of(&self.expression(value)?, fields),
            Expression::Call(name, arguments) => {
                let arguments = arguments.iter().map(|argument| self.expression(argument));
                call(name, &arguments.collect::<Result<Vec<_>, _>>()?)
            }
        }
    }

    fn root(&self, fields: &[String]) -> Result<String, GoTemplateError> {
        let Some((first, rest)) = fields.split_first() else {
            return Err(GoTemplateError::Unsupported(
                "all variables together".to_owned(),
            ));
        };
        let variable = match (first.as_str(), self.has_turns) {
            ("System", true) => "go_turn.system",
            ("Prompt", true) => "go_turn.prompt",
            ("Response", true) => "go_turn.response",
            ("Messages", false) => "messages",
            ("System", false) => "go.system",
            ("Tools", false) => "tools",
            // There is a list of messages, and no gap to fill; of one turn there are no tools.
            ("Prompt" | "Response" | "Suffix" | "Tools", _) => "''",
            ("Think", _) => "enable_thinking",
            ("IsThinkSet", _) => "(enable_thinking is defined)",
            ("ThinkLevel", _) => "reasoning_effort",
            (other, _) => return Err(GoTemplateError::Unsupported(format!("`.{other}`"))),
        };
        of(variable, rest)
    }

    fn tag(&mut self, tag: &str) {
        // Writing to a text does not fail.
        let _ = write!(self.out, "{{%+ {tag} +%}}");
    }

    fn print(&mut self, value: &str) {
        let _ = write!(self.out, "{{{{ {value} }}}}");
    }

    /// Text that is Jinja's where it stands alone is written as an expression.
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            self.out.push_str(&rest[..at]);
            let braces = rest[at..].len() - rest[at..].trim_start_matches('{').len();
            let (run, after) = rest[at..].split_at(braces);
            match braces == 1 && !after.is_empty() && !after.starts_with(['%', '#']) {
                true => self.out.push_str(run),
                false => self.print(&quoted(run)),
            }
            rest = after;
        }
        self.out.push_str(rest);
    }
}

/// Fields of a value, by the names that they have in messages, calls and tools here.
fn of(value: &str, fields: &[String]) -> Result<String, GoTemplateError> {
    let mut out = value.to_owned();
    for field in fields {
        let name = match field.as_str() {
            "Role" => "role",
            "Content" => "content",
            "Thinking" => "reasoning_content",
            "ToolCalls" => "tool_calls",
            "ToolCallID" => "tool_call_id",
            "ToolName" | "Name" => "name",
            "Function" => "function",
            "Arguments" => "arguments",
            "Description" => "description",
            "Parameters" => "parameters",
            "Properties" => "properties",
            "Required" => "required",
            "Type" => "type",
            "Enum" => "enum",
            "Items" => "items",
            "ID" => "id",
            "Index" => "index",
            "Images" => "images",
            other => {
                return Err(GoTemplateError::Unsupported(format!(
                    "the field `.{other}`"
                )));
            }
        };
        let _ = write!(out, "['{name}']");
    }
    Ok(out)
}

fn call(name: &str, arguments: &[String]) -> Result<String, GoTemplateError> {
    let joined = |word: &str| format!("({})", arguments.join(word));
    let compared = |sign: &str| match arguments {
        [left, right] => Ok(format!("({left} {sign} {right})")),
        _ => Err(GoTemplateError::Syntax(format!(
            "`{name}` takes two values"
        ))),
    };
    match (name, arguments) {
        ("and", [_, ..]) => Ok(joined(" and ")),
        ("or", [_, ..]) => Ok(joined(" or ")),
        ("not", [value]) => Ok(format!("(not {value})")),
        // The first is compared with each of the others.
        ("eq", [left, others @ ..]) if !others.is_empty() => {
            let all = others.iter().map(|other| format!("{left} == {other}"));
            Ok(format!("({})", all.collect::<Vec<_>>().join(" or ")))
        }
        ("ne", _) => compared("!="),
        ("lt", _) => compared("<"),
        ("le", _) => compared("<="),
        ("gt", _) => compared(">"),
        ("ge", _) => compared(">="),
        ("len", [value]) => Ok(format!("(({value}) or [])|length")),
        ("index", [value, keys @ ..]) => {
            let keys = keys.iter().map(|key| format!("[{key}]"));
            Ok(format!("{value}{}", keys.collect::<String>()))
        }
        ("slice", [value]) => Ok(value.clone()),
        ("slice", [value, from]) => Ok(format!("{value}[{from}:]")),
        ("slice", [value, from, to]) => Ok(format!("{value}[{from}:{to}]")),
        ("json", [value]) => Ok(format!("go_json({value})")),
        ("print", [_, ..]) => {
            let texts = arguments.iter().map(|value| format!("go_text({value})"));
            Ok(format!("({})", texts.collect::<Vec<_>>().join(" ~ ")))
        }
        ("currentDate", []) => Ok("strftime_now('%Y-%m-%d')".to_owned()),
        _ => Err(GoTemplateError::Unsupported(format!(
            "the function `{name}` with {} arguments",
            arguments.len()
        ))),
    }
}

/// A text as Jinja and JSON spell it alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
