//! The rules of the documents in `docs/` and of the README: what they link to exists, and no variable
//! that a source reads is left out of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The documents that name every environment variable between them.
const VARIABLES_IN: [&str; 2] = ["docs/configuration.md", "docs/command-line.md"];
/// How the names of such variables begin.
const PREFIXES: [&str; 6] = ["SHIMMY_", "HF_", "OLLAMA_", "LLAMA_", "XDG_", "VIRTUAL_ENV"];
/// Those that only tests and this automation read.
const OF_TESTS: &str = "SHIMMY_TEST_";

/// Adds what is wrong with the documents. The sources are those of the product.
pub(crate) fn check(root: &Path, sources: &[PathBuf], problems: &mut Vec<String>) -> Result<()> {
    check_links(root, problems)?;
    check_variables(root, sources, problems)
}

fn check_variables(root: &Path, sources: &[PathBuf], problems: &mut Vec<String>) -> Result<()> {
    let mut documents = String::new();
    for name in VARIABLES_IN {
        documents.push_str(&fs::read_to_string(root.join(name)).context(name)?);
    }
    let mut names = BTreeSet::new();
    for source in sources {
        names.extend(variables(&fs::read_to_string(source)?));
    }
    for name in names {
        if !documents.contains(&name) {
            let places = VARIABLES_IN.join(" nor ");
            problems.push(format!("{name} is in neither {places}"));
        }
    }
    Ok(())
}

/// The variables that string literals of a Rust source name, but for those of the build.
fn variables(source: &str) -> Vec<String> {
    let source = source.replace("env!(\"", "");
    let is_name = |text: &&str| {
        PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && !text.starts_with(OF_TESTS)
            && !text.ends_with('_')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let literals = source.split('"').filter(is_name);
    literals.map(str::to_owned).collect()
}

fn check_links(root: &Path, problems: &mut Vec<String>) -> Result<()> {
    let mut documents = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for entry in fs::read_dir(root.join("docs")).context("docs/")? {
        documents.push(entry?.path());
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.sort();
    for document in documents {
        let text = fs::read_to_string(&document)?;
        let folder = document.parent().unwrap_or(root);
        let shown = document.strip_prefix(root).unwrap_or(&document).display();
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                problems.push(format!("{shown} links to {link}, which does not exist"));
            }
        }
    }
    Ok(())
}

/// What a Markdown text links to, or shows as a picture.
fn links(markdown: &str) -> impl Iterator<Item = &str> {
    let after = markdown.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_whole_literals() {
        let source = r#"env = "SHIMMY_CTX", path("HF_HOME"), "SHIMMY_TEST_MODEL", "set HF_TOKEN", "SHIMMY_",
            env!("SHIMMY_TARGET")"#;
        assert_eq!(variables(source), ["SHIMMY_CTX", "HF_HOME"]);
    }

    #[test]
    fn links_are_found() {
        let text = "See [a](b.md#c) and ![d](e.svg), `code`](x.";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md#c", "e.svg"]);
    }
}
