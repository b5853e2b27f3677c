//! What people type to name a model that is not here. Owns its forms; must not know what a hub has.

use std::str::FromStr;

use super::catalogue;
use crate::hub_path::is_sha256;
use crate::text::quoted;

/// The hosts that mean the hub, wherever it is.
const HUB_HOSTS: [&str; 3] = ["hf.co", "huggingface.co", "www.huggingface.co"];
/// The longest reference.
const MAX_LENGTH: usize = 2048;

/// A model that can be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A repository of the hub.
    Repository {
        /// `OWNER/NAME`.
        repository: String,
        /// A branch, a tag or a commit.
        revision: String,
        /// A quantisation or a file's name, if one is wanted.
        wanted: Option<String>,
    },
    /// A file elsewhere.
    Url {
        /// Its address.
        url: String,
        /// The SHA-256 that it must have, if it is known.
        sha256: Option<String>,
    },
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has none of the forms.
    #[error("{0} names no model that can be downloaded")]
    Form(String),
    /// It is a short name that is not in the catalogue.
    #[error("{name} is not in the catalogue{}", if closest.is_empty() { String::new() } else { format!("; the closest are {}", closest.join(", ")) })]
    Unknown {
        /// The name, quoted.
        name: String,
        /// Names that are close to it.
        closest: Vec<String>,
    },
    /// A URL that does not lead to a GGUF file by its name.
    #[error("{0} does not end in the name of a .gguf file")]
    NotAFile(String),
    /// A hash that is none.
    #[error("{0} is no SHA-256: 64 hexadecimal digits")]
    Hash(String),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads `OWNER/NAME[:QUANT]`, `hf.co/OWNER/NAME[:QUANT]`, `hf:…`, a page's or a file's URL on
    /// the hub, any other `https://…/FILE.gguf[#sha256=…]`, or a name of the catalogue.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let form = || ReferenceError::Form(quoted(text));
        if text.is_empty() || text.len() > MAX_LENGTH || text.contains(char::is_control) {
            return Err(form());
        }
        let address = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        if let Some(address) = address {
            let (host, path) = address.split_once('/').unwrap_or((address, ""));
            if HUB_HOSTS.contains(&host) {
                return on_hub(path).ok_or_else(form);
            }
            return elsewhere(text);
        }
        let short = text.strip_prefix("hf:").unwrap_or(text);
        let on_host = short
            .split_once('/')
            .filter(|(host, _)| HUB_HOSTS.contains(host));
        if let Some((_, path)) = on_host {
            return on_hub(path).ok_or_else(form);
        }
        if short.contains('/') {
            return repository(short).ok_or_else(form);
        }
        match catalogue::find(short) {
            Some((repository, quant)) => Ok(Self::Repository {
                repository: repository.to_owned(),
                revision: "main".to_owned(),
                wanted: quant.map(str::to_owned),
            }),
            None => Err(ReferenceError::Unknown {
                name: quoted(short),
                closest: catalogue::closest(short),
            }),
        }
    }
}

/// `OWNER/NAME[@REVISION][:WANTED]`.
fn repository(text: &str) -> Option<Reference> {
    let (text, wanted) = match text.split_once(':') {
        Some((text, "latest")) => (text, None),
        Some((text, wanted)) => (text, Some(wanted.to_owned())),
        None => (text, None),
    };
    let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
    let (owner, name) = repository.split_once('/')?;
    let is_proper = [owner, name, revision].iter().all(|part| is_part(part));
    let is_wanted = wanted
        .as_ref()
        .is_none_or(|wanted| wanted.split('/').all(is_part));
    (is_proper && is_wanted).then(|| Reference::Repository {
        repository: repository.to_owned(),
        revision: revision.to_owned(),
        wanted,
    })
}

/// A path on the hub: a repository, its page, or one of its files.
fn on_hub(path: &str) -> Option<Reference> {
    let path = path.split(['?', '#']).next()?.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [owner, name] => repository(&format!("{owner}/{name}")),
        [owner, name, "tree", revision] => repository(&format!("{owner}/{name}@{revision}")),
        [owner, name, "resolve" | "blob", revision, ref file @ ..] if !file.is_empty() => {
            let file = file.join("/");
            repository(&format!("{owner}/{name}@{revision}:{file}"))
        }
        _ => None,
    }
}

fn elsewhere(text: &str) -> Result<Reference, ReferenceError> {
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    let sha256 = match fragment {
        "" => None,
        fragment => {
            let digits = fragment.strip_prefix("sha256=").unwrap_or(fragment);
            let digits = digits.to_ascii_lowercase();
            if !is_sha256(&digits) {
                return Err(ReferenceError::Hash(quoted(fragment)));
            }
            Some(digits)
        }
    };
    if file_name(url).is_none() {
        return Err(ReferenceError::NotAFile(quoted(url)));
    }
    Ok(Reference::Url {
        url: url.to_owned(),
        sha256,
    })
}

/// The name of the GGUF file that a URL ends in, if it can be one of a file here.
pub(super) fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, path) = path.split_once("://")?;
    let (_, name) = path.split_once('/')?;
    let name = name.rsplit('/').next()?;
    let is_model = name.len() > 5 && name.to_ascii_lowercase().ends_with(".gguf");
    (is_model && is_part(name)).then(|| name.to_owned())
}

/// Whether a text can be a part of a path here and on a hub: nothing that leads elsewhere.
pub(super) fn is_part(part: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+ ".contains(&byte);
    !part.is_empty()
        && part.len() <= 200
        && !part.starts_with(['.', '-', ' '])
        && !part.contains("..")
        && part.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String, Option<String>)> {
        match text.parse() {
            Ok(Reference::Repository {
                repository,
                revision,
                wanted,
            }) => Some((repository, revision, wanted)),
            _ => None,
        }
    }

    #[test]
    fn a_repository_has_many_forms() {
        let is = |revision: &str, wanted: Option<&str>| {
            Some((
                "o/r".to_owned(),
                revision.to_owned(),
                wanted.map(str::to_owned),
            ))
        };
        for text in [
            "o/r",
            "hf:o/r",
            "hf.co/o/r",
            "huggingface.co/o/r",
            "https://hf.co/o/r/",
            " o/r:latest ",
        ] {
            assert_eq!(parts(text), is("main", None), "{text}");
        }
        assert_eq!(
            parts("hf.co/o/r:Q4_K_M"),
            None.or(is("main", Some("Q4_K_M")))
        );
        assert_eq!(parts("o/r:Q4_K_M"), is("main", Some("Q4_K_M")));
        assert_eq!(parts("o/r@v1:sub/f.gguf"), is("v1", Some("sub/f.gguf")));
        for page in ["resolve", "blob"] {
            let url = format!("https://huggingface.co/o/r/{page}/main/a/f.gguf?download=true");
            assert_eq!(parts(&url), is("main", Some("a/f.gguf")));
        }
        assert_eq!(parts("https://huggingface.co/o/r/tree/v2"), is("v2", None));
    }

    #[test]
    fn a_catalogues_name_stands_for_a_repository() {
        let (repository, ..) = parts("Llama3.2:1B").unwrap();
        assert_eq!(repository, "bartowski/Llama-3.2-1B-Instruct-GGUF");
        let error = "lama3.2:1b".parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("the closest are llama3.2:1b"), "{error}");
        for (name, repository) in catalogue::catalogue() {
            assert!(
                parts(repository).is_some() && parts(name).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_url_ends_in_a_file_and_may_bring_its_hash() {
        let digits = "ab".repeat(32);
        let url = "https://example.com/models/m.gguf?x=1";
        let is = |sha256: Option<&str>| {
            Ok(Reference::Url {
                url: url.to_owned(),
                sha256: sha256.map(str::to_owned),
            })
        };
        assert_eq!(url.parse(), is(None));
        assert_eq!(format!("{url}#sha256={digits}").parse(), is(Some(&digits)));
        assert!(format!("{url}#sha256=12").parse::<Reference>().is_err());
        for text in [
            "https://example.com/",
            "https://e.com/m.bin",
            "https://e.com/.gguf",
            "https://e.com/..gguf",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_reference() {
        for text in [
            "",
            "-x",
            "../..",
            "o/..",
            "o/../r",
            "/etc/passwd",
            "o/r/x",
            "o/r:../../x",
            "o\\r/x",
            "o/r@../x",
            "o/r\0",
            "file:///etc/passwd",
            "ftp://h/m.gguf",
            "o/r:a//b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
