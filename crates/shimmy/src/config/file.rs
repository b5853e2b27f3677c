//! The configuration file: `config.toml` in the folder `shimmy` of the user's configuration.
//!
//! Owns where it is and what it may say: the names of the server's flags, and a table of names for
//! models. Its values take the place of the flags' defaults, so that flags and environment win. It
//! must not know what a setting means; that is asked of the command line's own definition.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use clap::{Arg, Args, Command};
use serde_json::Value;

use super::{Names, toml};
use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::places::user_folder;

/// The longest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The table with names for models.
const ALIASES: &str = "aliases";

/// The one setting that may also be switched on without a value.
const OLLAMA: &str = "ollama";

/// What the file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFile {
    /// By the long name of their flag, as the command line takes them.
    values: BTreeMap<String, String>,
    names: Names,
}

impl ConfigFile {
    /// Reads it; one that is not there says nothing.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(path) = path() else {
            return Ok(Self::default());
        };
        let text = match read_short(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                return Err(Failure::usage(message));
            }
        };
        Self::parse(&text).map_err(|reason| {
            Failure::usage(format!("{}: {reason}", path.display()))
                .hint("`shimmy serve --help` lists the settings; each is a key without the dashes")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let command = ServeArgs::augment_args(Command::new("serve"));
        let mut file = Self::default();
        for (key, value) in toml::parse(text)? {
            if key == ALIASES {
                file.names = Names::read(value)?;
                continue;
            }
            let long = key.replace('_', "-");
            let arg = command.get_arguments().find(|arg| is_setting(arg, &long));
            let arg = arg.ok_or_else(|| unknown(&key))?;
            let value = as_argument(arg, value).map_err(|reason| format!("{key} {reason}"))?;
            let Some(value) = value else { continue };
            check(arg, &value).map_err(|error| format!("{key}: {error}"))?;
            file.values.insert(long, value);
        }
        Ok(file)
    }

    /// What the file says of an argument.
    pub(super) fn value(&self, arg: &Arg) -> Option<&str> {
        arg.get_env()?;
        Some(self.values.get(arg.get_long()?)?.as_str())
    }

    /// The argument, whose default is what the file says.
    pub(crate) fn as_default(&self, arg: Arg) -> Arg {
        match self.value(&arg) {
            // Clap wants its defaults to live as long as the process, and these do.
            Some(value) => arg.default_value(&*value.to_owned().leak()),
            None => arg,
        }
    }

    /// What models are called.
    pub(crate) fn names(&self) -> Names {
        self.names.clone()
    }
}

/// Where the file is; none for a user without a home.
pub(crate) fn path() -> Option<PathBuf> {
    let folder = user_folder("XDG_CONFIG_HOME", ".config")?;
    Some(folder.join("shimmy").join("config.toml"))
}

fn read_short(path: &PathBuf) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::other("it is too long to be one of ours"));
    }
    std::fs::read_to_string(path)
}

/// Whether this is the argument of that name, and one that the file may set: secrets are not, for
/// this file is copied and shown to others.
fn is_setting(arg: &Arg, long: &str) -> bool {
    arg.get_long() == Some(long) && arg.get_env().is_some() && !arg.is_hide_env_values_set()
}

fn unknown(key: &str) -> String {
    match key.replace('_', "-").as_str() {
        "api-key" => "a token does not belong here: name a file that holds it as api-key-file, or \
                      set SHIMMY_API_KEY"
            .to_owned(),
        _ => format!("there is no setting {key:?}"),
    }
}

/// A value as the command line takes it; none if it says that there is to be none.
fn as_argument(arg: &Arg, value: Value) -> Result<Option<String>, String> {
    let separator = arg.get_value_delimiter().unwrap_or(';');
    match value {
        Value::String(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(true) if arg.get_id() == OLLAMA => Ok(Some(super::OLLAMA_ADDRESS.to_owned())),
        Value::Bool(false) if arg.get_id() == OLLAMA => Ok(None),
        Value::Array(items) => {
            let text = |item: Value| match item {
                Value::String(text) if !text.contains(separator) => Ok(text),
                Value::String(text) => Err(format!("has {separator:?} in {text:?}")),
                other => Err(format!("holds {other}, which is no text")),
            };
            let items: Vec<String> = items.into_iter().map(text).collect::<Result<_, _>>()?;
            Ok(Some(items.join(&separator.to_string())).filter(|text| !text.is_empty()))
        }
        other => Err(format!("cannot be {other}")),
    }
}

/// Whether the command line would take this value; the reason if not.
pub(super) fn check(arg: &Arg, value: impl AsRef<OsStr>) -> Result<(), String> {
    let mut flag = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
    flag.push(value);
    let alone = Command::new("shimmy").no_binary_name(true);
    let parsed = alone
        .arg(arg.clone().env(None))
        .try_get_matches_from([flag]);
    parsed.map(|_| ()).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, long: &str) -> Option<String> {
        ConfigFile::parse(text).unwrap().values.get(long).cloned()
    }

    fn reason(text: &str) -> String {
        ConfigFile::parse(text).unwrap_err()
    }

    #[test]
    fn settings_are_the_flags_of_the_server() {
        assert_eq!(value("ctx = 8192", "ctx").as_deref(), Some("8192"));
        assert_eq!(
            value("keep_alive = \"1h\"", "keep-alive").as_deref(),
            Some("1h")
        );
        let dirs = "model-dirs = [\"/a\", \"/b\"]";
        assert_eq!(value(dirs, "model-dirs").as_deref(), Some("/a;/b"));
        let hosts = "allowed-host = [\"a\", \"b\"]";
        assert_eq!(value(hosts, "allowed-host").as_deref(), Some("a,b"));
        assert_eq!(
            value("ollama = true", "ollama").as_deref(),
            Some("127.0.0.1:11434")
        );
        assert_eq!(value("ollama = false", "ollama"), None);
        assert_eq!(value("bind = \"\"", "bind"), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        assert_eq!(reason("contxt = 1"), "there is no setting \"contxt\"");
        assert!(reason("ctx = \"many\"").starts_with("ctx: invalid value 'many'"));
        assert!(reason("ctx = true").contains("'true'") || reason("ctx = true").contains("true"));
        assert!(reason("api-key = \"secret\"").contains("does not belong here"));
        assert!(!reason("api-key = \"secret\"").contains("secret"));
        assert!(reason("model-dirs = [\"a;b\"]").contains("has ';'"));
        assert!(reason("ctx = ").contains("line 1"), "{}", reason("ctx = "));
    }
}
