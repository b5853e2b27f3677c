//! Every setting of the server with where its value comes from, for `config show`, and those in
//! the environment that it cannot use.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use serde::Serialize;

use super::ConfigFile;
use super::file::check;
use crate::cli::ServeArgs;

/// A setting.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting {
    /// The long name of its flag.
    pub(crate) name: String,
    /// As the command line takes it; none leaves the choice to the program. Of a secret only
    /// whether it is set.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
    /// The variable that sets it.
    pub(crate) variable: Option<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl Origin {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// The variables whose values the server would refuse, each with the reason.
pub(crate) fn refused_variables() -> Vec<String> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    command.get_arguments().filter_map(refusal).collect()
}

/// Whether an argument's variable has a value that it cannot take.
pub(crate) fn is_refused(arg: &Arg) -> bool {
    refusal(arg).is_some()
}

/// Why an argument cannot take what its variable says; an empty one says nothing.
fn refusal(arg: &Arg) -> Option<String> {
    // A secret is checked where nothing of it is shown.
    let name = arg.get_env().filter(|_| !arg.is_hide_env_values_set())?;
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    let reason = check(arg, value).err()?;
    Some(format!("{}: {reason}", name.display()))
}

/// What a command line with the server's arguments comes to.
pub(crate) fn settings(matches: &ArgMatches, file: &ConfigFile) -> Vec<Setting> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let args = command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some());
    args.map(|arg| setting(arg, matches, file)).collect()
}

fn setting(arg: &Arg, matches: &ArgMatches, file: &ConfigFile) -> Setting {
    let id = arg.get_id().as_str();
    let origin = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => Origin::Environment,
        _ if file.value(arg).is_some() => Origin::File,
        _ => Origin::Default,
    };
    let raw = matches.get_raw(id);
    let value = raw.map(|values| {
        let separator = arg.get_value_delimiter().unwrap_or(';').to_string();
        let texts: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        texts.join(&separator)
    });
    let value = match arg.is_hide_env_values_set() {
        true => Some(if value.is_some() { "set" } else { "unset" }.to_owned()),
        false => value,
    };
    Setting {
        name: arg.get_long().unwrap_or(id).to_owned(),
        value,
        origin,
        variable: arg
            .get_env()
            .map(|name| name.to_string_lossy().into_owned()),
    }
}
