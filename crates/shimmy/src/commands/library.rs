//! What the commands share that manage model files: the models that are here, one of them by its
//! name, and the names that users gave.

use shimmy_models::{
    Aliases, Discovery, ModelFile, NameError, RootSettings, Roots, discover, is_called,
    resolve_among,
};

use crate::cli::ModelArgs;
use crate::config::{ModelConfig, Names};
use crate::failure::Failure;
use crate::loader::HINT;
use crate::places;

/// The models that are here.
pub(super) struct Library {
    pub(super) settings: RootSettings,
    pub(super) found: Discovery,
    /// Names that the configuration file gives to models.
    names: Names,
}

impl Library {
    /// Looks for them.
    pub(super) fn open(args: ModelArgs) -> Result<Self, Failure> {
        let models = ModelConfig::for_command(args)?;
        let settings = places::settings(&models);
        let found = discover(&Roots::from_settings(&settings));
        Ok(Self {
            settings,
            found,
            names: models.names,
        })
    }

    /// Looks again.
    pub(super) fn refresh(&mut self) {
        self.found = discover(&Roots::from_settings(&self.settings));
    }

    /// The model that a name, or a part of one that fits no other, means.
    pub(super) fn find(&self, name: &str) -> Result<&ModelFile, Failure> {
        let has_it = |model: &ModelFile| is_called(name, &model.name);
        let name = match self.names.meaning(name) {
            Some(meaning) if !self.found.models.iter().any(has_it) => meaning,
            _ => name,
        };
        let models = self.found.models.iter();
        let names = models.map(|model| (model.name.as_str(), model.aliases.as_slice()));
        match resolve_among(name, names) {
            Ok(index) => Ok(&self.found.models[index]),
            Err(error) => Err(unknown(error, self.found.models.is_empty())),
        }
    }

    /// The model that has this name as a whole: nothing is removed by a part of its name.
    pub(super) fn find_whole(&self, name: &str) -> Result<&ModelFile, Failure> {
        let model = self.find(name)?;
        let mut names = [&model.name].into_iter().chain(&model.aliases);
        match names.any(|known| is_called(name, known)) {
            true => Ok(model),
            false => Err(
                Failure::new(format!("no model is called {name:?}")).hint(format!(
                    "did you mean {}? It takes the whole name",
                    model.name
                )),
            ),
        }
    }

    /// The names that users gave, to be changed.
    pub(super) fn aliases(&self) -> Result<Aliases, Failure> {
        let store = self.settings.store();
        let store = store.ok_or_else(|| {
            Failure::new("there is no folder to keep names in").hint("set HOME or XDG_DATA_HOME")
        })?;
        Ok(Aliases::read(&store)?)
    }
}

fn unknown(error: NameError, is_empty: bool) -> Failure {
    let hint = match &error {
        _ if is_empty => HINT.to_owned(),
        NameError::NotFound { closest, .. } if !closest.is_empty() => {
            format!("did you mean {}?", closest.join(", "))
        }
        _ => "`shimmy list` shows the models that are there".to_owned(),
    };
    let text = match &error {
        NameError::NotFound { query, .. } => format!("no model is called {query}"),
        ambiguous => ambiguous.to_string(),
    };
    Failure::new(text).hint(hint)
}
