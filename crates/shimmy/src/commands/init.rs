//! `shimmy init`: files to deploy the server with, filled in from `templates`.
//!
//! None of them holds a token, and none listens beyond its machine or container without one: where
//! the token is missing, the server that they start refuses to.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::print;
use crate::cli::{InitArgs, Template};
use crate::commands::screen::note;
use crate::failure::Failure;

pub(super) fn run(args: &InitArgs) -> Result<(), Failure> {
    let text = filled(args, &Places::here()?)?;
    let Some(path) = &args.output else {
        print(&text)?;
        if let Some(next) = next_step(args) {
            note(&format!("hint: {next}\n"));
        }
        return Ok(());
    };
    write_new(path, &text).map_err(|error| {
        let failure = Failure::new(format!("cannot write {}: {error}", path.display()));
        match error.kind() {
            ErrorKind::AlreadyExists => failure.hint("move it away, or choose another name"),
            _ => failure,
        }
    })?;
    note(&format!("wrote {}\n", path.display()));
    Ok(())
}

/// What belongs beside a file that cannot say so itself.
fn next_step(args: &InitArgs) -> Option<&'static str> {
    (args.template == Template::Railway).then_some(
        "it builds the Dockerfile of `shimmy init -t docker`; set SHIMMY_API_KEY in the service's \
         variables, without which it does not start",
    )
}

/// Where things are on the machine that the file is for: this one.
struct Places {
    program: String,
    home: String,
}

impl Places {
    fn here() -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let home = std::env::home_dir().unwrap_or_default();
        Ok(Self {
            program: program.display().to_string(),
            home: home.display().to_string(),
        })
    }
}

/// The template with the settings in it.
fn filled(args: &InitArgs, places: &Places) -> Result<String, Failure> {
    let text = match args.template {
        Template::Docker => include_str!("../../templates/Dockerfile"),
        Template::Compose => include_str!("../../templates/docker-compose.yml"),
        Template::Kubernetes => include_str!("../../templates/kubernetes.yaml"),
        Template::Systemd => include_str!("../../templates/shimmy.service"),
        Template::Launchd => include_str!("../../templates/launchd.plist"),
        Template::Fly => include_str!("../../templates/fly.toml"),
        Template::Railway => include_str!("../../templates/railway.json"),
    };
    check("--model", &args.model)?;
    check("--image", &args.image)?;
    let path = |path: &str| match args.template {
        Template::Launchd => Ok(in_xml(path)),
        Template::Systemd => in_unit(path),
        _ => Ok(path.to_owned()),
    };
    Ok(text
        .replace("{{port}}", &args.port.to_string())
        .replace("{{model}}", &args.model)
        .replace("{{image}}", &args.image)
        .replace("{{program}}", &path(&places.program)?)
        .replace("{{home}}", &path(&places.home)?))
}

/// What stands in several languages at once must mean the same in all of them.
fn check(flag: &str, value: &str) -> Result<(), Failure> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._:/@+-".contains(letter);
    match !value.is_empty() && value.chars().all(is_plain) && !value.starts_with('-') {
        true => Ok(()),
        false => Err(
            Failure::usage(format!("{flag} cannot be {value:?} in such a file"))
                .hint("letters, digits and . _ : / @ + - can be in it"),
        ),
    }
}

fn in_xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Between quotes of a unit: `%` begins a specifier (systemd.unit(5)), `"` and `\` are escaped.
fn in_unit(text: &str) -> Result<String, Failure> {
    if text.contains(char::is_control) {
        return Err(Failure::new(
            "this program lies in a folder that no unit can name",
        ));
    }
    Ok(text
        .replace('%', "%%")
        .replace('\\', "\\\\")
        .replace('"', "\\\""))
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        // Half of it would pass for the whole. What counts is the first error.
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests;
