//! Every setting of the server with where its value comes from, for `config show`.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use serde::Serialize;

use super::ConfigFile;
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
