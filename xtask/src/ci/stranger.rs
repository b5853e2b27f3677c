//! Programs run as by somebody new: none of this machine's settings, models and caches.

use std::env;
use std::path::Path;
use std::process::Command;

/// What programs need of the environment wherever they run.
const KEPT: [&str; 4] = ["PATH", "SYSTEMROOT", "TEMP", "TMPDIR"];

/// A program whose home is this folder.
pub(crate) fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in KEPT {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOME", home)
        .env("USERPROFILE", home)
        // Beside the home's store of Ollama there is a service's, which is not the stranger's.
        .env("OLLAMA_MODELS", home.join(".ollama/models"))
        .env("NO_COLOR", "1")
        .current_dir(home);
    command
}
