//! Where models are looked for and kept, as the flags and the environment say.

use std::path::PathBuf;

use shimmy_models::{Elsewhere, RootSettings};

use crate::config::ModelConfig;

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
