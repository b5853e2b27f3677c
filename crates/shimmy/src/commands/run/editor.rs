//! What the user types: lines with editing and history, texts of several lines between `"""`.

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::{ColorMode, Config, DefaultEditor};

use crate::commands::screen::note;
use crate::failure::Failure;
use crate::places::user_folder;
use crate::terminal::STDOUT;

/// What a text of several lines begins and ends with.
const FENCE: &str = "\"\"\"";

/// Entries of the history that are kept.
const HISTORY: usize = 1000;

/// Something was typed, or nothing, or that was all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Text(String),
    Nothing,
    End,
}

pub(super) struct Editor {
    lines: DefaultEditor,
    /// Where what is typed is kept; none if it is not.
    history: Option<PathBuf>,
    keeps: bool,
}

impl Editor {
    pub(super) fn new(keeps: bool) -> Result<Self, Failure> {
        let colours = match STDOUT.has_colours() {
            true => ColorMode::Enabled,
            false => ColorMode::Disabled,
        };
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .auto_add_history(false)
            .color_mode(colours)
            .build();
        let mut lines = DefaultEditor::with_config(config)?;
        let history = history_file();
        if let Some(path) = history.as_ref().filter(|path| keeps && path.exists()) {
            // One that cannot be read is as good as none, and is not a reason not to talk.
            if let Err(error) = lines.load_history(path) {
                tracing::warn!("{} is not read: {error}", path.display());
            }
        }
        Ok(Self {
            lines,
            history,
            keeps,
        })
    }

    /// Whether what is typed from now on is kept for the next time.
    pub(super) fn keep_history(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    /// Waits for a line, or for all lines of a text.
    pub(super) fn read(&mut self) -> Result<Typed, Failure> {
        let mut text = match self.line(">>> ")? {
            Line::Text(text) => text,
            Line::Abandoned => {
                note("Ctrl-D or /bye leaves\n");
                return Ok(Typed::Nothing);
            }
            Line::End => return Ok(Typed::End),
        };
        while is_open(&text) {
            match self.line("... ")? {
                Line::Text(line) => {
                    text.push('\n');
                    text.push_str(&line);
                }
                Line::Abandoned | Line::End => return Ok(Typed::Nothing),
            }
        }
        if text.trim().is_empty() {
            return Ok(Typed::Nothing);
        }
        self.remember(&text)?;
        Ok(Typed::Text(without_fences(&text)))
    }

    fn line(&mut self, prompt: &str) -> Result<Line, Failure> {
        match self.lines.readline(prompt) {
            Ok(text) => Ok(Line::Text(text)),
            Err(ReadlineError::Interrupted) => Ok(Line::Abandoned),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(error.into()),
        }
    }

    fn remember(&mut self, text: &str) -> Result<(), Failure> {
        let is_new = self.lines.add_history_entry(text)?;
        let Some(path) = self.history.as_ref().filter(|_| self.keeps && is_new) else {
            return Ok(());
        };
        let mut keep = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            self.lines.append_history(path)
        };
        if let Err(error) = keep() {
            // Once is enough.
            self.keeps = false;
            note(&format!(
                "warning: {} is not kept: {error}\n",
                path.display()
            ));
        }
        Ok(())
    }
}

enum Line {
    Text(String),
    /// The user has thought better of it.
    Abandoned,
    End,
}

/// Whether a text of several lines has begun and not ended.
fn is_open(text: &str) -> bool {
    fenced(text).is_some_and(|(_, rest)| !rest.trim_end().ends_with(FENCE))
}

fn without_fences(text: &str) -> String {
    let parts = fenced(text);
    let parts =
        parts.and_then(|(before, rest)| Some((before, rest.trim_end().strip_suffix(FENCE)?)));
    match parts {
        Some((before, inner)) => format!("{before}{}", inner.trim_matches('\n')),
        None => text.to_owned(),
    }
}

/// What stands before a fence, and what after it: a text begins with one, or the value that a
/// directive sets does.
fn fenced(text: &str) -> Option<(&str, &str)> {
    let (before, rest) = text.split_once(FENCE)?;
    let is_directive = before.starts_with("/set ");
    match before.trim().is_empty() {
        true => Some(("", rest)),
        false => is_directive.then_some((before, rest)),
    }
}

fn history_file() -> Option<PathBuf> {
    let folder = user_folder("XDG_STATE_HOME", ".local/state")?;
    Some(folder.join("shimmy").join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_between_fences_have_several_lines() {
        for (text, is_it) in [
            ("plain", false),
            ("\"\"\"", true),
            ("\"\"\"one", true),
            ("\"\"\"one\"\"\"", false),
            ("\"\"\"one\ntwo \"\"\" ", false),
            ("say \"\"\"", false),
            ("/set system \"\"\"one", true),
            ("/set system \"\"\"one\ntwo\"\"\"", false),
        ] {
            assert_eq!(is_open(text), is_it, "{text}");
        }
        assert_eq!(without_fences("\"\"\"\none\n  two\n\"\"\""), "one\n  two");
        assert_eq!(without_fences("\"\"\"one\"\"\""), "one");
        assert_eq!(without_fences(" plain"), " plain");
        let set = "/set system \"\"\"\none\ntwo\n\"\"\"";
        assert_eq!(without_fences(set), "/set system one\ntwo");
    }
}
