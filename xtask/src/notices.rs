//! The terms of what the binary is made of beside our own code, as `THIRD-PARTY-NOTICES.txt`, which the
//! archive and the wheel carry. Owns how they are found and put together; must not know who allows which
//! (`deny.toml` does).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::workspace::Workspace;

/// The file, in the workspace's root.
pub(crate) const FILE: &str = "THIRD-PARTY-NOTICES.txt";

const HEADING: &str = "\
Third-party notices

The binary of Shimmy holds the packages below, under the terms below them. `cargo xtask notices` makes
this file of the lock file and of what the packages themselves say; of several terms to choose from, MIT
is chosen.
";

/// Swagger UI, whose own files the package that brings them has inside an archive.
const SWAGGER_UI: (&str, &str) = (
    "utoipa-swagger-ui-vendored",
    "swagger-ui\nCopyright 2020-2021 SmartBear Software Inc.\n\n",
);

/// How deep below a package's own folder its terms may lie, and those of what it carries along.
const DEEPEST: usize = 4;

/// Writes the file anew.
pub(crate) fn write(workspace: &Workspace) -> Result<bool> {
    let text = notices(workspace)?;
    fs::write(workspace.root.join(FILE), text).context(FILE)?;
    println!("{FILE} is written");
    Ok(true)
}

/// Whether the file says what it would say if it were made now.
pub(crate) fn are_current(workspace: &Workspace) -> Result<bool> {
    let kept = fs::read_to_string(workspace.root.join(FILE)).unwrap_or_default();
    Ok(kept.replace("\r\n", "\n") == notices(workspace)?)
}

fn notices(workspace: &Workspace) -> Result<String> {
    let metadata = workspace.metadata()?;
    // The same terms are told once, under all who have them.
    let mut by_terms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in shipped(&metadata)? {
        let named = |key: &str| package[key].as_str().unwrap_or("?");
        let title = format!(
            "{} {}, {}",
            named("name"),
            named("version"),
            named("license")
        );
        let folder = Path::new(named("manifest_path")).parent();
        let mut terms = terms(folder.context("a manifest lies in a folder")?)?;
        if named("name") == SWAGGER_UI.0 {
            let apache = folder.context("as above")?.join("LICENSE-APACHE");
            terms += SWAGGER_UI.1;
            terms += &text(&apache)?;
        }
        if terms.is_empty() {
            terms = format!(
                "It brings no text of its terms. See {}\n",
                named("repository")
            );
        }
        by_terms.entry(terms).or_default().insert(title);
    }
    let mut sections: Vec<(BTreeSet<String>, String)> = by_terms
        .into_iter()
        .map(|(terms, titles)| (titles, terms))
        .collect();
    sections.sort();
    let mut all = HEADING.to_owned();
    for (titles, terms) in sections {
        write!(all, "\n{}\n\n", "=".repeat(80))?;
        for title in titles {
            writeln!(all, "{title}")?;
        }
        write!(all, "\n{terms}")?;
    }
    Ok(all)
}

/// The packages of others that are in the binary on any system, with any engine.
fn shipped(metadata: &Value) -> Result<Vec<&Value>> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .context("no packages")?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .context("no graph")?
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let is_macro = |package: &Value| {
        let targets = list(&package["targets"]);
        targets.iter().any(|target| {
            list(&target["kind"])
                .iter()
                .any(|kind| kind == "proc-macro")
        })
    };
    let start = packages
        .iter()
        .find(|(_, package)| package["name"] == "shimmy");
    let mut waiting = vec![*start.context("no package of ours")?.0];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(node) = nodes.get(id) else { continue };
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let Some(next) = dependency["pkg"].as_str() else {
                continue;
            };
            let Some(package) = packages.get(next) else {
                continue;
            };
            let kinds = list(&dependency["dep_kinds"]);
            // Of what only builds, one brings files that are in the binary.
            let is_in =
                kinds.iter().any(|kind| kind["kind"].is_null()) || package["name"] == SWAGGER_UI.0;
            if is_in && !is_macro(package) {
                waiting.push(next);
            }
        }
    }
    let shipped = seen.iter().filter_map(|id| packages.get(id).copied());
    // Our own packages have no source.
    Ok(shipped
        .filter(|package| !package["source"].is_null())
        .collect())
}

/// What a package says of its terms, in all its files.
fn terms(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(folder, DEEPEST, &mut files)?;
    let is_mit = |path: &PathBuf| name(path).starts_with("LICENSE-MIT");
    if files.iter().any(is_mit) {
        files.retain(|path| !name(path).starts_with("LICENSE-APACHE"));
    }
    files.sort();
    let mut all = String::new();
    for file in files {
        let text = text(&file)?;
        if !all.contains(&text) {
            all += &text;
        }
    }
    Ok(all)
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && depth > 1 {
            collect(&path, depth - 1, files)?;
        } else if path.is_file() && is_of_terms(&name(&path)) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_of_terms(name: &str) -> bool {
    let begins = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];
    // Not the program that checks them.
    let is_text = ["", "MD", "TXT"].contains(&name.split_once('.').map_or("", |(_, end)| end));
    begins.iter().any(|begin| name.starts_with(begin)) && is_text
}

/// A file's name, in capitals.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().to_uppercase()
}

/// A text with the ends of its lines, and its own end, as every other.
fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_terms_are_known_by_their_names() {
        for name in [
            "LICENSE",
            "LICENSE-MIT",
            "LICENSE.MD",
            "COPYING",
            "NOTICE.TXT",
        ] {
            assert!(is_of_terms(name), "{name}");
        }
        for name in ["LICENSE.CMAKE", "LICENSES.RS", "README.MD"] {
            assert!(!is_of_terms(name), "{name}");
        }
    }
}
