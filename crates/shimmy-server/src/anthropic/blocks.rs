//! The blocks that are nothing but text, and how they become one.

use serde::Deserialize;
use serde_json::Value;

use crate::error::ApiError;
use crate::parts::{kind, neither, not_text, read, text};

/// Claude Code's first system text begins with a line for the vendor's accounts. It changes with
/// every prompt, so with it in front no prefix would ever be met again; to a model it says nothing.
const BILLING: &str = "x-anthropic-billing-header";

/// Between blocks that become one text.
const BREAK: &str = "\n\n";

#[derive(Debug, Deserialize)]
struct Document {
    source: Value,
    title: Option<String>,
    context: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SearchResult {
    source: String,
    title: String,
    content: Vec<Value>,
}

/// The text of a block that has one.
pub(super) fn plain(at: &str, block: &Value) -> Result<String, ApiError> {
    match kind(at, block)? {
        "text" => text(at, block, "text"),
        "document" => document(at, block),
        "search_result" => {
            let result: SearchResult = read(at, block)?;
            let mut texts = Texts::default();
            texts.push(&format!("{} ({})", result.title, result.source));
            for (index, block) in result.content.iter().enumerate() {
                texts.push(&text(&format!("{at}.content[{index}]"), block, "text")?);
            }
            Ok(texts.take().unwrap_or_default())
        }
        kind => Err(not_text(at, kind)),
    }
}

fn document(at: &str, block: &Value) -> Result<String, ApiError> {
    let document: Document = read(at, block)?;
    let at = format!("{at}.source");
    let mut texts = Texts::default();
    texts.push(document.title.as_deref().unwrap_or_default());
    texts.push(document.context.as_deref().unwrap_or_default());
    match kind(&at, &document.source)? {
        "text" => texts.push(&text(&at, &document.source, "data")?),
        "content" => match &document.source["content"] {
            Value::String(text) => texts.push(text),
            Value::Array(blocks) => {
                for (index, block) in blocks.iter().enumerate() {
                    let at = format!("{at}.content[{index}]");
                    match kind(&at, block)? {
                        "text" => texts.push(&text(&at, block, "text")?),
                        kind => return Err(not_text(&at, kind)),
                    }
                }
            }
            other => return Err(neither(&format!("{at}.content"), other)),
        },
        kind => return Err(not_text(&at, kind)),
    }
    Ok(texts.take().unwrap_or_default())
}

/// Blocks on their way into one text.
#[derive(Debug, Default)]
pub(super) struct Texts(Option<String>);

impl Texts {
    /// Adds a text; the empty one adds nothing.
    pub(super) fn push(&mut self, text: &str) {
        match &mut self.0 {
            _ if text.is_empty() => {}
            Some(whole) => {
                whole.push_str(BREAK);
                whole.push_str(text);
            }
            none => *none = Some(text.to_owned()),
        }
    }

    /// The one text; `None` where there was none.
    pub(super) fn take(&mut self) -> Option<String> {
        self.0.take()
    }
}

/// The text without the line for the vendor's accounts.
pub(super) fn without_billing(text: &str) -> &str {
    if !text.trim_start().starts_with(BILLING) {
        return text;
    }
    let rest = text.trim_start().split_once('\n');
    rest.map_or("", |(_, rest)| rest.trim_start_matches('\n'))
}
