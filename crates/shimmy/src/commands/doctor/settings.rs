//! The configuration file, the environment and the tokens. Of a token only whether it is set is said.

use std::path::Path;

use super::{Check, Status};
use crate::cli::{Cli, DoctorArgs, ListenArgs};
use crate::config::{self, ConfigFile, ModelConfig};

const SETTINGS: &str = "settings";

/// Whether the file can be read, if there is one.
pub(super) fn file() -> Check {
    let Some(path) = config::config_path() else {
        return Check::ok("config", "no file: there is no home folder");
    };
    match ConfigFile::read() {
        Ok(_) if path.exists() => Check::ok("config", path.display().to_string()),
        Ok(_) => Check::ok("config", format!("no file at {}", path.display())),
        Err(failure) => Check::fail(
            "config",
            failure.to_string(),
            "`shimmy serve --help` lists the settings; each is a key without the dashes",
        ),
    }
}

/// Whether `serve` would take what the environment and the file say, beside the flags of this command.
pub(super) fn served(args: &DoctorArgs) -> Check {
    let refused = config::refused_variables();
    if !refused.is_empty() {
        return Check::fail(
            SETTINGS,
            refused.join("; "),
            "`shimmy serve --help` says what each may be; correct it, or unset it",
        );
    }
    // What is wrong with a broken file is told by itself.
    let Some(serve) = Cli::serve_without_flags(&ConfigFile::read().unwrap_or_default()) else {
        return Check::fail(
            SETTINGS,
            "they cannot be read",
            "`shimmy serve` says what is wrong with them",
        );
    };
    let models = ModelConfig::for_server(args.models.clone());
    match models.and_then(|models| config::server_options(&serve, &models)) {
        Ok(_) => Check::ok(SETTINGS, "`shimmy serve` can use them"),
        Err(failure) => Check::fail(
            SETTINGS,
            failure.to_string(),
            failure.advice().unwrap_or("see `shimmy serve --help`"),
        ),
    }
}

/// Whether the server has a token, and whether others can read it; whether the hub's is set.
pub(super) fn tokens(listen: &ListenArgs) -> Vec<Check> {
    let own = match config::api_keys(listen) {
        Err(failure) => Check::fail(
            "token",
            failure.to_string(),
            "SHIMMY_API_KEY holds the token, SHIMMY_API_KEY_FILE names a file that does",
        ),
        Ok(keys) if keys.is_empty() => {
            Check::ok("token", "unset: the server listens on this machine only")
        }
        Ok(_) => match listen.api_key_file.as_deref().filter(|path| is_open(path)) {
            Some(path) => Check::warn(
                "token",
                format!("set, in {}, which others may read", path.display()),
                format!("chmod 600 {}", path.display()),
            ),
            None => Check::ok("token", "set"),
        },
    };
    let hub = std::env::var_os("HF_TOKEN").is_some_and(|token| !token.is_empty());
    let hub = Check {
        name: "HF_TOKEN",
        status: Status::Ok,
        detail: match hub {
            true => "set".to_owned(),
            false => "unset: only models with conditions need it".to_owned(),
        },
        hint: None,
    };
    vec![own, hub]
}

/// Whether other users can read a file.
#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|facts| facts.mode() & 0o044 != 0)
}

/// Of other systems nothing is known.
#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}
