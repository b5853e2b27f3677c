//! The project's own automation, in Rust so that it runs alike on every system: `cargo xtask ci`
//! runs what CI runs, `tidy` checks what no compiler checks, `bench` measures beside a peer.
//!
//! Nothing here is part of the product.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what these commands print is their result"
)]

mod bench;
mod ci;
mod documents;
mod notices;
mod process;
mod start;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own automation")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run what CI runs, and say at the end what passed, failed and was skipped.
    Ci(ci::Args),
    /// Run what a release has to pass, gate by gate (scripts/dry-run-release.sh runs this).
    Gates(ci::GateArgs),
    /// Check that documents and sources keep the project's own rules.
    Tidy,
    /// Write the terms of what the binary is made of, THIRD-PARTY-NOTICES.txt, anew.
    Notices,
    /// Write anew which functions a start calls, so that a program on the disk starts soon.
    Start,
    /// Measure the release binary beside a llama-server, in turn, as ratios.
    Bench(Box<bench::Args>),
}

fn main() -> ExitCode {
    let outcome = Workspace::locate().and_then(|workspace| match Cli::parse().command {
        Command::Ci(args) => ci::run(&workspace, &args),
        Command::Gates(args) => ci::run_gates(&workspace, &args),
        Command::Tidy => tidy::run(&workspace),
        Command::Notices => notices::write(&workspace),
        Command::Start => start::write(&workspace),
        Command::Bench(args) => bench::run(&workspace, &args),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
