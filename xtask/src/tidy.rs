//! The rules that no compiler checks: what the documents name exists, every crate takes the
//! workspace's lints, every source file says what it is.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::documents;
use crate::workspace::Workspace;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ARCHITECTURE_LINES: usize = 200;
/// A length that asks for a second look; some files are rightly longer.
const SOURCE_LINES: usize = 400;
/// The folders whose paths ARCHITECTURE.md may name.
const NAMED_FOLDERS: [&str; 7] = [
    "crates/", "scripts/", "xtask/", "tests/", "deploy/", "docs/", ".ci/",
];
/// The crates that may hold unsafe code, and so state their lints themselves.
const UNSAFE_CRATES: [&str; 3] = ["shimmy-llama", "shimmy-memory", "shimmy-native"];

/// Prints what is wrong; true when nothing is.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut problems = Vec::new();
    check_architecture(&workspace.root, &mut problems)?;
    check_manifests(&workspace.root, &mut problems)?;
    let warnings = check_sources(&workspace.root, &mut problems)?;
    documents::check(
        &workspace.root,
        &product_sources(&workspace.root)?,
        &mut problems,
    )?;
    for warning in &warnings {
        println!("warning: {warning}");
    }
    for problem in &problems {
        println!("error: {problem}");
    }
    println!(
        "tidy: {} problems, {} warnings",
        problems.len(),
        warnings.len()
    );
    Ok(problems.is_empty())
}

fn check_architecture(root: &Path, problems: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join(ARCHITECTURE)).context(ARCHITECTURE)?;
    let lines = text.lines().count();
    if lines > ARCHITECTURE_LINES {
        problems.push(format!(
            "{ARCHITECTURE} has {lines} lines; {ARCHITECTURE_LINES} is the most"
        ));
    }
    for path in named_paths(&text) {
        if !root.join(&path).exists() {
            problems.push(format!("{ARCHITECTURE} names {path}, which does not exist"));
        }
    }
    Ok(())
}

/// The repository's paths that a Markdown text names in backticks, braces expanded.
fn named_paths(markdown: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut in_block = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let spans = line.split('`').skip(1).step_by(2);
            paths.extend(spans.filter(|span| is_path(span)).flat_map(expand_braces));
        }
    }
    paths
}

fn is_path(span: &str) -> bool {
    !span.contains(char::is_whitespace)
        && NAMED_FOLDERS.iter().any(|folder| span.starts_with(folder))
}

/// `a/{b,c}.rs` → `a/b.rs`, `a/c.rs`; one pair of braces.
fn expand_braces(span: &str) -> Vec<String> {
    let parts = span.split_once('{').and_then(|(before, rest)| {
        let (choices, after) = rest.split_once('}')?;
        Some((before, choices, after))
    });
    match parts {
        Some((before, choices, after)) => choices
            .split(',')
            .map(|choice| format!("{before}{choice}{after}"))
            .collect(),
        None => vec![span.to_owned()],
    }
}

fn check_manifests(root: &Path, problems: &mut Vec<String>) -> Result<()> {
    for folder in members(root)? {
        let manifest = folder.join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("{} cannot be read", manifest.display()))?;
        let shown = relative(root, &manifest);
        let may_be_unsafe = |name: &OsStr| UNSAFE_CRATES.iter().any(|other| name == *other);
        if folder.file_name().is_some_and(may_be_unsafe) {
            if !section(&text, "lints.clippy")
                .any(|line| line == r#"undocumented_unsafe_blocks="deny""#)
            {
                problems.push(format!(
                    "{shown}: undocumented_unsafe_blocks must be denied here"
                ));
            }
        } else if !section(&text, "lints").any(|line| line == "workspace=true") {
            problems.push(format!("{shown}: [lints] must have `workspace = true`"));
        }
    }
    Ok(())
}

/// The folders of the workspace's packages.
fn members(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.join("xtask")];
    for entry in fs::read_dir(root.join("crates")).context("crates/")? {
        let folder = entry?.path();
        if folder.join("Cargo.toml").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

/// The lines of one table of a manifest, without spaces.
fn section<'a>(manifest: &'a str, table: &'a str) -> impl Iterator<Item = String> + 'a {
    manifest
        .lines()
        .map(|line| line.replace(' ', ""))
        .skip_while(move |line| *line != format!("[{table}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
}

/// Checks every Rust file; the answer is what deserves a warning.
fn check_sources(root: &Path, problems: &mut Vec<String>) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    for member in members(root)? {
        rust_files(&member, &mut files)?;
    }
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let shown = relative(root, &file);
        if !has_head(&text) {
            problems.push(format!(
                "{shown}: the file must open with `//!` and say what it owns"
            ));
        }
        let lines = text.lines().count();
        if lines > SOURCE_LINES {
            warnings.push(format!(
                "{shown} has {lines} lines, more than {SOURCE_LINES}"
            ));
        }
    }
    Ok(warnings)
}

/// The sources of the binary and of what is in it, without their tests.
fn product_sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for member in members(root)? {
        if !member.ends_with("xtask") && !member.ends_with("shimmy-testkit") {
            rust_files(&member.join("src"), &mut files)?;
        }
    }
    Ok(files)
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn has_head(source: &str) -> bool {
    let head = source.lines().find(|line| !line.trim().is_empty());
    head.and_then(|line| line.strip_prefix("//!"))
        .is_some_and(|text| !text.trim().is_empty())
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticked_paths_are_found_and_other_code_is_not() {
        let text = "See `crates/a/src/x.rs`, `cargo xtask ci` and `xtask/`.\n\
                    ```text\n`crates/in/a/block`\n```\n`scripts/{a,b}.sh` `Runner` `crates/x y`";
        let found = named_paths(text);
        assert_eq!(
            found,
            [
                "crates/a/src/x.rs",
                "xtask/",
                "scripts/a.sh",
                "scripts/b.sh"
            ]
        );
    }

    #[test]
    fn lints_are_inherited_only_in_their_own_table() {
        let inherits = |text| section(text, "lints").any(|line| line == "workspace=true");
        assert!(inherits(
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"
        ));
        assert!(!inherits(
            "[package]\nworkspace = true\n[lints]\n[dependencies]\n"
        ));
        assert!(!inherits("[lints]\n\n[dependencies]\nworkspace = true\n"));
        assert!(!inherits("[lints.rust]\nworkspace = true\n"));
    }

    #[test]
    fn a_head_is_a_line_that_says_something() {
        assert!(has_head("\n//! What it owns.\nfn main() {}\n"));
        assert!(!has_head("//!\nfn main() {}\n"));
        assert!(!has_head("// A comment.\n//! Too late.\n"));
        assert!(!has_head(""));
    }

    #[test]
    fn this_workspace_has_its_members() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask has a parent");
        let members = members(root).expect("crates/ is there");
        for name in UNSAFE_CRATES {
            assert!(members.iter().any(|folder| folder.ends_with(name)));
        }
        assert!(members.iter().any(|folder| folder.ends_with("xtask")));
    }
}
