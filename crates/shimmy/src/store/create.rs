//! Models made of others, or of files that were sent. Owns what a new model takes over and what is
//! checked before it is written; must not know who asks.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use shimmy_chat::{ChatTemplate, Message, TemplateVocabulary, jinja_of_go};
use shimmy_models::gguf::FileKind;
use shimmy_models::{AdapterFile, Metadata, ModelFile, PackageError, Packages, Part, PartKind};
use shimmy_server::{Digest, NewModel, StoreError};

use super::events::Teller;
use super::{Shop, failed, invalid, not_found, of_package};
use crate::loader::{MAX_TEXT, Package};

/// What a model is made of, all of it checked.
struct Recipe {
    files: Vec<Ingredient>,
    texts: Vec<(PartKind, String)>,
}

/// A file that becomes a part.
struct Ingredient {
    kind: PartKind,
    path: PathBuf,
    /// Its SHA-256, where it is known.
    digits: Option<String>,
}

impl Shop {
    /// Makes a model, in place of one that was made here under the same name.
    pub(super) fn create(&self, model: &NewModel, teller: &Teller) -> Result<(), StoreError> {
        Packages::check_name(&model.name).map_err(|error| of_package("model", error))?;
        teller.say("reading model metadata");
        // What it needs must not go while it is made.
        self.alone(|| {
            self.check_free("model", &model.name)?;
            let recipe = self.recipe(model)?;
            let mut parts = Vec::new();
            for Ingredient { kind, path, digits } in recipe.files {
                let is_wanted = || teller.is_wanted();
                let part = self
                    .packages
                    .add_file(kind, &path, digits.as_deref(), &is_wanted);
                parts.push(told(teller, "using existing layer", part)?);
            }
            for (kind, text) in recipe.texts {
                let part = self.packages.add_text(kind, text.as_bytes());
                parts.push(told(teller, "creating new layer", part)?);
            }
            teller.say("writing manifest");
            self.loader.forget(&model.name);
            let put = self.packages.put(&model.name, &parts);
            put.map_err(|error| of_package("model", error))?;
            self.loader.files();
            Ok(())
        })
    }

    fn recipe(&self, model: &NewModel) -> Result<Recipe, StoreError> {
        let (mut files, old) = match &model.from {
            Some(_) if !model.files.is_empty() => {
                return Err(invalid("files", "cannot be combined with `from`"));
            }
            Some(from) => self.files_of(from)?,
            None => (self.sent(&model.files)?, Package::default()),
        };
        let base = files.iter().find(|file| file.kind == PartKind::Model);
        let base = base.map(|file| Metadata::open(&file.path)).transpose();
        let base = base.map_err(|error| invalid("files", error))?;
        let base = base.ok_or_else(|| invalid("files", "hold no model"))?;
        for (name, digest) in &model.adapters {
            let path = self.blob(digest)?;
            let adapter = AdapterFile::open(&path)
                .map_err(|_| invalid("adapters", format!("{name:?} is no adapter")))?;
            adapter
                .matches_base(&base)
                .map_err(|error| invalid("adapters", format!("{name:?}: {error}")))?;
            files.push(Ingredient::of(PartKind::Adapter, path, Some(digest.hex())));
        }
        Ok(Recipe {
            files,
            texts: texts(model, old)?,
        })
    }

    /// What a model that is here is made of.
    fn files_of(&self, name: &str) -> Result<(Vec<Ingredient>, Package), StoreError> {
        let file = self
            .loader
            .file(name)
            .map_err(|error| not_found("from", error))?
            .file;
        if !file.shards.is_empty() || !file.missing.is_empty() {
            let reason = "is split into several files, of which no new model can be made";
            return Err(invalid("from", reason));
        }
        let digest = file.digest.as_deref();
        let digits = digest.and_then(|digest| digest.strip_prefix("sha256:"));
        let mut files = vec![Ingredient::of(PartKind::Model, file.path.clone(), digits)];
        for (kind, paths) in [
            (PartKind::Adapter, &file.companions.adapters),
            (PartKind::Projector, &file.companions.projectors),
        ] {
            files.extend(
                paths
                    .iter()
                    .map(|path| Ingredient::of(kind, path.clone(), None)),
            );
        }
        Ok((files, Package::read(&file)))
    }

    /// Files that were sent before: a model, and what makes embeddings of pictures for it.
    fn sent(&self, files: &[(String, Digest)]) -> Result<Vec<Ingredient>, StoreError> {
        let mut parts: Vec<Ingredient> = Vec::new();
        for (name, digest) in files {
            let path = self.blob(digest)?;
            let wrong = |reason: String| invalid("files", format!("hold {name:?}: {reason}"));
            let header = Metadata::open(&path).map_err(|error| wrong(error.to_string()))?;
            let kind = match header.file_kind() {
                // Its header may say that it is a part of one.
                FileKind::Model => match ModelFile::open(&path) {
                    Ok(_) => PartKind::Model,
                    Err(_) => return Err(wrong("it is no whole model".to_owned())),
                },
                FileKind::Projector => PartKind::Projector,
                FileKind::Adapter => {
                    return Err(wrong("an adapter belongs into `adapters`".to_owned()));
                }
                FileKind::Other => return Err(wrong("it is no model".to_owned())),
            };
            if kind == PartKind::Model && parts.iter().any(|part| part.kind == kind) {
                return Err(invalid("files", "hold more than one model"));
            }
            parts.push(Ingredient::of(kind, path, Some(digest.hex())));
        }
        Ok(parts)
    }

    fn blob(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let no_blob = || StoreError::NoBlob {
            digest: digest.clone(),
        };
        self.packages.blob(digest.hex()).ok_or_else(no_blob)
    }
}

impl Ingredient {
    fn of(kind: PartKind, path: PathBuf, digits: Option<&str>) -> Self {
        Self {
            kind,
            path,
            digits: digits.map(str::to_owned),
        }
    }
}

/// The texts of the new model: its own, and those of the old one that it does not replace.
fn texts(new: &NewModel, old: Package) -> Result<Vec<(PartKind, String)>, StoreError> {
    if let Some(template) = &new.template {
        check_template(template)?;
    }
    let mut params = old.params;
    params.extend(new.parameters.clone());
    let messages = match new.messages.is_empty() {
        true => old.messages,
        false => new.messages.clone(),
    };
    let one = |kind, field, text: Option<String>| Some((kind, field, text?));
    let own = [
        one(
            PartKind::Template,
            "template",
            new.template.clone().or(old.template),
        ),
        one(
            PartKind::System,
            "system",
            new.system.clone().or(old.system),
        ),
        one(PartKind::Params, "parameters", json_of(params)),
        one(PartKind::Messages, "messages", list_of(&messages)),
    ];
    let licenses = old.licenses.into_iter().chain(new.licenses.iter().cloned());
    let licenses = licenses.map(|text| (PartKind::License, "license", text));
    let all = own.into_iter().flatten().chain(licenses);
    all.map(|(kind, field, text)| match text.len() as u64 {
        ..=MAX_TEXT => Ok((kind, text)),
        more => Err(invalid(
            field,
            format!("has {more} bytes; {MAX_TEXT} are allowed"),
        )),
    })
    .collect()
}

fn json_of(params: Map<String, Value>) -> Option<String> {
    (!params.is_empty()).then(|| Value::Object(params).to_string())
}

fn list_of(messages: &[Message]) -> Option<String> {
    let list = messages
        .iter()
        .map(|m| json!({ "role": m.role, "content": m.content }));
    (!messages.is_empty()).then(|| list.collect::<Value>().to_string())
}

/// A template that cannot be used is refused here, and not left out in every request.
fn check_template(template: &str) -> Result<(), StoreError> {
    let jinja = jinja_of_go(template).map_err(|error| invalid("template", error_of(&error)))?;
    let compiled = ChatTemplate::new(Some(&jinja), TemplateVocabulary::default());
    compiled
        .map(drop)
        .map_err(|error| invalid("template", error_of(&error)))
}

fn error_of(error: &dyn std::error::Error) -> String {
    format!("cannot be used: {error}")
}

fn told(teller: &Teller, what: &str, part: Result<Part, PackageError>) -> Result<Part, StoreError> {
    let part = part.map_err(failed)?;
    teller.say(format!("{what} sha256:{}", part.digits()));
    Ok(part)
}
