//! A command line that cannot be read: what clap says of it, with what to do next.

#![expect(
    clippy::print_stderr,
    reason = "this is where errors of usage are printed"
)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::{Failure, USAGE};
use crate::terminal;

/// Why no command runs. Asking for help is a reason, too.
#[derive(Debug)]
pub(crate) enum Fault {
    Usage(Box<clap::Error>, String),
    Settings(Failure),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Settings(failure)
    }
}

impl Fault {
    pub(super) fn new(error: clap::Error, command: &Command) -> Self {
        let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
        let hint = hint(&error, command, &typed);
        Self::Usage(Box::new(error), hint)
    }

    /// Prints it: help that was asked for to standard output, all else to standard error.
    pub(crate) fn report(self) -> ExitCode {
        let (error, hint) = match self {
            Self::Settings(failure) => return failure.report(),
            Self::Usage(error, hint) => (error, hint),
        };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // A reader that went away has seen what it wanted.
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                // As above; the exit code says the rest.
                let _ = error.print();
            }
            _ => {
                let text = error.render();
                let text = match terminal::STDERR.has_colours() {
                    true => text.ansi().to_string(),
                    false => text.to_string(),
                };
                eprintln!("{}\nhint: {hint}", in_our_words(&text));
            }
        }
        ExitCode::from(USAGE)
    }
}

/// Clap's text without its last line, for which there is a hint.
fn in_our_words(text: &str) -> String {
    let (text, _) = text
        .split_once("For more information")
        .unwrap_or((text, ""));
    text.trim_end().replace("tip:", "hint:")
}

/// Whether this option and another one rule each other out.
fn is_conflict_with(error: &clap::Error, option: &str) -> bool {
    let names = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => name == option,
        Some(ContextValue::Strings(names)) => names.iter().any(|name| name == option),
        _ => false,
    };
    error.kind() == ErrorKind::ArgumentConflict
        && (names(ContextKind::InvalidArg) || names(ContextKind::PriorArg))
}

fn hint(error: &clap::Error, command: &Command, typed: &[OsString]) -> String {
    let typed: Vec<_> = typed.iter().map(|word| word.to_string_lossy()).collect();
    let (mut command, mut path) = (command, command.get_name().to_owned());
    for word in &typed {
        if let Some(inner) = command.find_subcommand(word.as_ref()) {
            command = inner;
            path = format!("{path} {}", inner.get_name());
        }
    }
    if is_conflict_with(error, "--raw") {
        return "a raw prompt is all that the model reads: what else it is told belongs into it"
            .to_owned();
    }
    let help = format!("`{path} --help` lists the options");
    let Some(ContextValue::String(invalid)) = error.get(ContextKind::InvalidArg) else {
        return help;
    };
    // "--ctx <TOKENS>" is how clap names it.
    let flag = invalid.split([' ', '=', '[']).next().unwrap_or_default();
    let is_typed = typed.iter().any(|word| word.starts_with(flag));
    let arg = command.get_arguments().find(|arg| {
        arg.get_long()
            .is_some_and(|long| flag == format!("--{long}"))
    });
    let variable = arg.and_then(|arg| arg.get_env()).filter(|_| !is_typed);
    match variable {
        Some(name) if std::env::var_os(name).is_some() => {
            format!("the value comes from the variable {}", name.display())
        }
        _ => help,
    }
}
