//! The `shimmy` binary: parses, logs, dispatches, and turns the outcome into an exit code.

mod backend;
mod cli;
mod commands;
mod config;
mod failure;
mod loader;
mod logging;
mod memory;
mod places;
mod size;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::read();
    logging::init(cli.verbose);
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
