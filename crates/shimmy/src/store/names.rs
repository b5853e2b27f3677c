//! Giving models further names, and taking names and models away. Owns what of a model goes with
//! which of its names; must not know who asks.

use shimmy_models::{Aliases, ModelFile, Removal, RemoveError, is_called};
use shimmy_server::StoreError;

use super::{Shop, failed, invalid, not_found, of_package};
use crate::loader::Known;

impl Shop {
    /// Gives a model one more name.
    pub(super) fn copy(&self, source: &str, destination: &str) -> Result<(), StoreError> {
        let Known { file, .. } = self
            .loader
            .file(source)
            .map_err(|e| not_found("source", e))?;
        self.alone(|| {
            self.check_free("destination", destination)?;
            let made_as = self.made_as(source, &file);
            if let Some(name) = made_as {
                let copied = self.packages.copy(&name, destination);
                copied.map_err(|error| of_package("destination", error))?;
                self.loader.files();
                return Ok(());
            }
            let mut aliases = self.aliases()?;
            aliases
                .insert(destination, &file)
                .map_err(|error| invalid("destination", error))?;
            self.keep(&aliases)
        })
    }

    /// Takes a model away, or only a name of it where that was given to a model with a name of its
    /// own.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.alone(|| {
            if self.packages.has(name) {
                return self.remove_package(name);
            }
            let Known { file, is_base } =
                self.loader.file(name).map_err(|e| not_found("model", e))?;
            let mut names = [&file.name].into_iter().chain(&file.aliases);
            // Nothing is removed by a part of its name.
            let known = names.find(|known| is_called(name, known));
            let known = known.ok_or_else(|| StoreError::NotFound {
                name: name.to_owned(),
            })?;
            // One that was made here goes alone however its name is written, too.
            if self.packages.has(known) {
                return self.remove_package(known);
            }
            let mut aliases = self.aliases()?;
            let given = file.given_names();
            if let Some(alias) = given.iter().find(|alias| is_called(name, alias)) {
                aliases.remove(alias);
                return self.keep(&aliases);
            }
            if let Some(other) = given.first() {
                let reason = format!("is {other} too; delete that name first");
                return Err(invalid("model", reason));
            }
            if is_base {
                return Err(invalid("model", "is what this server was started for"));
            }
            self.remove_files(&file, &mut aliases)
        })
    }

    fn remove_package(&self, name: &str) -> Result<(), StoreError> {
        self.loader.forget(name);
        self.packages.remove(name).map_err(failed)?;
        self.loader.files();
        Ok(())
    }

    fn remove_files(&self, file: &ModelFile, aliases: &mut Aliases) -> Result<(), StoreError> {
        let removal = Removal::plan(file).map_err(|error| match error {
            RemoveError::NotOurs { owner, hint, .. } => {
                invalid("model", format!("belongs to {owner}; {hint}"))
            }
            other => failed(other),
        })?;
        self.loader.forget(&file.name);
        removal.run().map_err(failed)?;
        for alias in &file.aliases {
            aliases.remove(alias);
        }
        self.keep(aliases)
    }

    /// Refuses a name that a model has which was not made here: it would be hidden by that model.
    pub(super) fn check_free(&self, field: &'static str, name: &str) -> Result<(), StoreError> {
        // That one always means whichever model is the default.
        if name.eq_ignore_ascii_case("default") {
            return Err(invalid(field, "is no model's own name"));
        }
        let files = self.loader.files();
        let is_taken = files.iter().any(|file| is_called(name, &file.name));
        if (is_taken && !self.packages.has(name)) || self.loader.is_built_in(name) {
            return Err(invalid(field, "is the name of another model"));
        }
        Ok(())
    }

    /// The name under which a model was made here, if it was: the one that it was asked for by, or
    /// that which it is listed under.
    fn made_as(&self, asked: &str, file: &ModelFile) -> Option<String> {
        if file.manifests.is_empty() || !self.packages.has(&file.name) {
            return None;
        }
        let name = if self.packages.has(asked) {
            asked
        } else {
            &file.name
        };
        Some(name.to_owned())
    }
}
