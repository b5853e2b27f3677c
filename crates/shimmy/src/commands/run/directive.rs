//! What a line says that is not for the model: `/set temperature 0`.
//!
//! Owns how directives are written and what the help says of them; must not know what they do.

use crate::failure::Failure;

/// Something to do, other than to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Directive {
    Help,
    Leave,
    Clear,
    /// The model and the settings, or `system`, or `messages`.
    Show(Option<String>),
    /// A setting by its name, and the text of its value; none makes it what it was at first.
    Set(String, Option<String>),
    /// Whether what is typed is kept.
    History(bool),
    Save(String),
    Load(String),
}

/// What `/?` prints.
pub(super) const HELP: &str = "\
  /set NAME VALUE   change a setting; without a value, as it was at first
  /set              the settings and their values
  /show             the model and the settings; /show system, /show messages
  /save NAME        keep this conversation; NAME with a slash is a file
  /load NAME        go on with one that was kept
  /clear            forget what was said
  /bye              leave (Ctrl-D)
  \"\"\"               begin a text of several lines, and end it
  Ctrl-C            stop the answer

Settings: system, temperature, top_k, top_p, min_p, repeat_penalty, seed, max_tokens, stop, ctx,
think (on, off, low, medium, high), thoughts (on, off), verbose (on, off), history (on, off).
A message that begins with a slash has a space before it.
";

impl Directive {
    /// The directive in a line; none if the line is a message.
    pub(super) fn read(line: &str) -> Option<Result<Self, Failure>> {
        let rest = line.strip_prefix('/')?;
        let (word, rest) = cut(rest);
        Some(Self::of(word, rest))
    }

    fn of(word: &str, rest: Option<&str>) -> Result<Self, Failure> {
        let name = || match rest {
            Some(name) => Ok(name.to_owned()),
            None => {
                Err(Failure::usage(format!("/{word} needs a name")).hint(format!("/{word} NAME")))
            }
        };
        match word {
            "?" | "help" => Ok(Self::Help),
            "bye" | "exit" | "quit" => Ok(Self::Leave),
            "clear" => Ok(Self::Clear),
            "show" => Ok(Self::Show(rest.map(str::to_owned))),
            "save" => Ok(Self::Save(name()?)),
            "load" => Ok(Self::Load(name()?)),
            "set" => match rest.map(cut) {
                None => Ok(Self::Show(Some("settings".to_owned()))),
                Some(("history", Some(value))) => Ok(Self::History(switch("history", value)?)),
                Some((setting, value)) => {
                    Ok(Self::Set(setting.to_owned(), value.map(str::to_owned)))
                }
            },
            _ => Err(Failure::usage(format!("there is no command /{word}"))
                .hint("/? lists them; a message that begins with a slash has a space before it")),
        }
    }
}

/// The value of a setting that is on or off.
pub(super) fn switch(setting: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        other => Err(
            Failure::usage(format!("{setting} is on or off, not {other:?}"))
                .hint(format!("/set {setting} on")),
        ),
    }
}

/// The first word, and what follows it if anything does.
fn cut(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, Some(rest.trim_start())),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Directive> {
        Directive::read(line).and_then(Result::ok)
    }

    #[test]
    fn lines_with_a_slash_are_directives() {
        assert_eq!(read("/?"), Some(Directive::Help));
        assert_eq!(read("/bye "), Some(Directive::Leave));
        assert_eq!(read("/show"), Some(Directive::Show(None)));
        let set = |name: &str, value: Option<&str>| {
            Some(Directive::Set(name.to_owned(), value.map(str::to_owned)))
        };
        assert_eq!(
            read("/set system  You are  terse."),
            set("system", Some("You are  terse."))
        );
        assert_eq!(read("/set seed"), set("seed", None));
        assert_eq!(read("/set history off"), Some(Directive::History(false)));
        assert_eq!(read("/load a b"), Some(Directive::Load("a b".to_owned())));
        assert!(Directive::read(" /etc/passwd is a file").is_none());
        for wrong in ["/", "/etc/passwd", "/save", "/set history maybe"] {
            assert!(
                Directive::read(wrong).is_some_and(|read| read.is_err()),
                "{wrong}"
            );
        }
    }
}
