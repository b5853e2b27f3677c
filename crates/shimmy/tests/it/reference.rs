//! `docs/command-line.md` is what the binary says of itself: every command, flag and variable.
//!
//! `UPDATE_DOCS=1 cargo test -p shimmy reference` writes it anew.

use std::fs;
use std::path::Path;

use crate::support::shimmy;

const HEAD: &str = "# Command line

Every command with its flags, their environment variables and their defaults, as `--help` prints them.
This page is made by a test: `UPDATE_DOCS=1 cargo test -p shimmy reference`.
";

#[test]
fn the_document_has_what_help_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = HEAD.to_owned();
    describe(folder.path(), &[], &mut text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command-line.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).expect("docs/ can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/command-line.md is not what --help prints: UPDATE_DOCS=1 cargo test -p shimmy reference"
    );
}

/// Adds a command and those below it.
fn describe(folder: &Path, command: &[&str], text: &mut String) {
    let mut shown = shimmy(folder);
    // Help shows the variables' values, and the tests set this one.
    shown
        .env_remove("SHIMMY_ENGINE")
        .args(command)
        .arg("--help");
    let shown = shown.output().expect("the binary starts");
    assert!(shown.status.success(), "{command:?}: {shown:?}");
    let title = ["shimmy"]
        .iter()
        .chain(command)
        .copied()
        .collect::<Vec<_>>();
    let help = String::from_utf8(shown.stdout).expect("text");
    let help = help.lines().map(str::trim_end);
    let help = help.collect::<Vec<_>>().join("\n");
    text.push_str(&format!(
        "\n## {}\n\n```text\n{help}\n```\n",
        title.join(" ")
    ));
    for name in commands(&help) {
        let below: Vec<&str> = command.iter().copied().chain([name]).collect();
        describe(folder, &below, text);
    }
}

/// The names under `Commands:`, but for `help`.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // A name is indented by two; what goes on from the line before is indented by more.
    let names = lines.filter(|line| !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
}
