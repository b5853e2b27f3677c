//! `shimmy completions`: what a shell needs to complete this command line.

use super::print;
use crate::cli::{Cli, CompletionsArgs};
use crate::failure::Failure;

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::plain(), "shimmy", &mut script);
    print(&String::from_utf8_lossy(&script))
}
