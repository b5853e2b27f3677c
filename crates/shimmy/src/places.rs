//! Where models are looked for and kept, as the flags and the environment say.

use std::path::PathBuf;

use shimmy_models::hub::HubSettings;
use shimmy_models::{Elsewhere, RootSettings};

use crate::config::ModelConfig;
use crate::failure::Failure;
use crate::memory;

/// What the model crate needs to know to find all places.
pub(crate) fn settings(models: &ModelConfig) -> RootSettings {
    let variable = std::env::var("SHIMMY_MODEL_PATHS").ok();
    // Clap has put the flag before the variable; whose folders they are is only for listings.
    let dirs = models.dirs.clone();
    let (model_paths, model_dirs) = if dirs == variable {
        (dirs, None)
    } else {
        (None, dirs)
    };
    RootSettings {
        working_folder: PathBuf::from("."),
        base_gguf: models.base.clone(),
        model_paths,
        model_dirs,
        home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
        elsewhere: Elsewhere::read(|name| std::env::var_os(name)),
        program: std::env::current_exe().ok(),
    }
}

/// A folder of the user's, as the XDG base directories say: where the variable says, unless that is
/// relative, or there below the home folder; none for a user without a home.
pub(crate) fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    set.filter(|path| path.is_absolute())
        .or_else(|| Some(home()?.join(below_home)))
}

/// The hub that models come from, and where they go. The token comes by the environment, or from
/// the file that Hugging Face's own tools keep it in.
pub(crate) fn hub(settings: &RootSettings, endpoint: &str) -> Result<HubSettings, Failure> {
    let (Some(cache), Some(store)) = (settings.hub_cache(), settings.store()) else {
        return Err(Failure::new("there is no folder to download to").hint("set HOME or HF_HOME"));
    };
    let endpoint = match endpoint.trim_end_matches('/') {
        "" => shimmy_models::hub::DEFAULT_ENDPOINT,
        endpoint => endpoint,
    };
    Ok(HubSettings {
        endpoint: endpoint.to_owned(),
        token: token(settings),
        memory_bytes: memory::report()["total_bytes"].as_u64(),
        ..HubSettings::new(cache, store)
    })
}

fn token(settings: &RootSettings) -> Option<String> {
    let set = std::env::var("HF_TOKEN").ok();
    let kept = || std::fs::read_to_string(settings.token_file()?).ok();
    let token = set.filter(|token| !token.trim().is_empty()).or_else(kept)?;
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}
