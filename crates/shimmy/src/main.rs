//! The `shimmy` binary: parses, logs, dispatches, and turns the outcome into an exit code.

mod backend;
mod cli;
mod commands;
mod config;
mod descriptors;
mod failure;
mod gpus;
mod loader;
mod logging;
mod memory;
mod places;
mod size;
mod store;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(fault) => return fault.report(),
    };
    shimmy_memory::configure();
    logging::init(cli.verbose);
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
