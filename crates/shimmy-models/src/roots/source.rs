//! Whose a folder is, and what follows from that for the search.

use serde::Serialize;

/// Where a model came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A path that the user gave.
    Given,
    /// The folder `models` of the working folder.
    WorkingFolder,
    /// The folder of the base model (`SHIMMY_BASE_GGUF`).
    BaseFolder,
    /// A folder in `SHIMMY_MODEL_PATHS`.
    ModelPaths,
    /// A folder given as `--model-dirs`.
    ModelDirs,
    /// Shimmy's own store.
    Store,
    /// The folder `models` of the user's home.
    Home,
    /// The cache of Hugging Face's tools.
    HuggingFace,
    /// The folder that llama.cpp downloads to.
    LlamaCpp,
    /// Ollama's store.
    Ollama,
    /// LM Studio's folder.
    LmStudio,
    /// A package of the Python environment that this program is installed in.
    PythonPackage,
}

/// How a root is laid out, which decides what of it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Files in folders in folders.
    Tree,
    /// The files of one folder.
    Flat,
    /// `models--OWNER--NAME/snapshots/REVISION/…`, beside much that is no model.
    HuggingFace,
    /// `manifests` that name the `blobs` of a model.
    Ollama,
    /// Folders of Python packages, most of which have no model.
    Packages,
}

impl Source {
    /// Its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::WorkingFolder => "./models",
            Self::BaseFolder => "base model's folder",
            Self::ModelPaths => "SHIMMY_MODEL_PATHS",
            Self::ModelDirs => "--model-dirs",
            Self::Store => "shimmy",
            Self::Home => "~/models",
            Self::HuggingFace => "Hugging Face cache",
            Self::LlamaCpp => "llama.cpp cache",
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::PythonPackage => "Python package",
        }
    }

    pub(crate) fn layout(self) -> Layout {
        match self {
            // It was named as a file, and its folder may be a whole home or download folder.
            Self::BaseFolder => Layout::Flat,
            Self::HuggingFace => Layout::HuggingFace,
            Self::Ollama => Layout::Ollama,
            Self::PythonPackage => Layout::Packages,
            _ => Layout::Tree,
        }
    }
}
