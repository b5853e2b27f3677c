//! `shimmy man`: manual pages, made from the command line's own definition.

use std::path::Path;
use std::{fs, io};

use clap::Command;
use clap_mangen::Man;

use super::print;
use crate::cli::{Cli, ManArgs};
use crate::commands::screen::note;
use crate::failure::Failure;

/// What every page is a part of, as its last line says.
const SOURCE: &str = concat!("shimmy ", env!("CARGO_PKG_VERSION"));

pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::plain();
    // Names the subcommands after their parents.
    command.build();
    if let Some(folder) = &args.output {
        fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
        let count = write(&command, folder)?;
        note(&format!("{count} pages in {}\n", folder.display()));
        return Ok(());
    }
    let mut page = &command;
    for word in &args.command {
        page = page.find_subcommand(word).ok_or_else(|| {
            Failure::usage(format!("there is no command {word:?}"))
                .hint("`shimmy --help` lists the commands")
        })?;
    }
    print(&String::from_utf8_lossy(&render(page)?))
}

/// Writes the page of a command and those of its subcommands; returns how many.
fn write(command: &Command, folder: &Path) -> Result<usize, Failure> {
    let path = folder.join(format!("{}.1", file_name(command)));
    let page = render(command)?;
    fs::write(&path, page)
        .inspect_err(|_| {
            // Half of it would pass for the whole. What counts is the first error.
            let _ = fs::remove_file(&path);
        })
        .map_err(|error| cannot_write(&path, &error))?;
    let mut count = 1;
    for inner in command.get_subcommands().filter(|inner| is_ours(inner)) {
        count += write(inner, folder)?;
    }
    Ok(count)
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
        .hint("--output takes a folder that you may write to; without it, a page is printed")
}

/// Clap adds a command `help`, which is no page of its own.
fn is_ours(command: &Command) -> bool {
    command.get_name() != "help"
}

fn file_name(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    name.replace(' ', "-")
}

fn render(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone()).source(SOURCE).render(&mut page)?;
    Ok(page)
}
