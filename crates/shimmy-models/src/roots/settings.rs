//! The values that say where this program and others keep models, and the folders that follow from
//! them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::python::{prefix_of, site_packages};

/// The values that decide where models are looked for, as the configuration has them.
#[derive(Debug, Clone, Default)]
pub struct RootSettings {
    /// The working folder.
    pub working_folder: PathBuf,
    /// `SHIMMY_BASE_GGUF`.
    pub base_gguf: Option<PathBuf>,
    /// `SHIMMY_MODEL_PATHS`, a list separated by `;` or (but on Windows) `:`.
    pub model_paths: Option<String>,
    /// `--model-dirs`, the same.
    pub model_dirs: Option<String>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// Where other programs were told to keep their models.
    pub elsewhere: Elsewhere,
    /// The running program's file, whose Python environment is searched too.
    pub program: Option<PathBuf>,
}

/// The environment variables that move the places of other programs, and of caches and data. None
/// is set unless the caller sets it.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere {
    /// `LLAMA_CACHE`.
    pub llama_cache: Option<PathBuf>,
    /// `HF_HUB_CACHE`.
    pub hf_hub_cache: Option<PathBuf>,
    /// `HF_HOME`.
    pub hf_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub xdg_data_home: Option<PathBuf>,
    /// `OLLAMA_MODELS`.
    pub ollama_models: Option<PathBuf>,
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
}

impl Elsewhere {
    /// The variables by their names. An empty one is an unset one, and so is a relative XDG folder,
    /// as the XDG base directories say.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        Self {
            llama_cache: path("LLAMA_CACHE"),
            hf_hub_cache: path("HF_HUB_CACHE"),
            hf_home: path("HF_HOME"),
            xdg_cache_home: absolute("XDG_CACHE_HOME"),
            xdg_data_home: absolute("XDG_DATA_HOME"),
            ollama_models: path("OLLAMA_MODELS"),
            virtual_env: path("VIRTUAL_ENV"),
        }
    }
}

impl RootSettings {
    /// The cache in Hugging Face's layout that downloads go to, and that its tools look into.
    pub fn hub_cache(&self) -> Option<PathBuf> {
        let llama = self.elsewhere.llama_cache.as_ref();
        let llama = llama.map(|path| self.working_folder.join(path));
        llama.or_else(|| self.hugging_face())
    }

    /// The file in which Hugging Face's tools keep the user's token.
    pub fn token_file(&self) -> Option<PathBuf> {
        let home = self.elsewhere.hf_home.as_ref();
        let home = home.map(|path| self.working_folder.join(path));
        let home = home.or_else(|| Some(self.caches()?.join("huggingface")))?;
        Some(home.join("token"))
    }

    /// Where Shimmy keeps what it downloads from elsewhere, and the names that users gave.
    pub fn store(&self) -> Option<PathBuf> {
        let data = self.elsewhere.xdg_data_home.clone();
        let data = data.or_else(|| Some(self.home.as_ref()?.join(".local/share")))?;
        Some(data.join("shimmy").join("models"))
    }

    /// Where models are kept that are made here of others: see [`Packages`](crate::Packages).
    pub fn packages(&self) -> Option<PathBuf> {
        Some(self.store()?.with_file_name("packages"))
    }

    /// Where what was read in headers is remembered.
    pub(super) fn header_cache(&self) -> Option<PathBuf> {
        Some(self.caches()?.join("shimmy").join("headers"))
    }

    fn caches(&self) -> Option<PathBuf> {
        let caches = self.elsewhere.xdg_cache_home.clone();
        caches.or_else(|| Some(self.home.as_ref()?.join(".cache")))
    }

    /// As Hugging Face's tools decide it, without llama.cpp's word.
    pub(super) fn hugging_face(&self) -> Option<PathBuf> {
        let Elsewhere {
            hf_hub_cache,
            hf_home,
            ..
        } = &self.elsewhere;
        let here = |path: &PathBuf| self.working_folder.join(path);
        let cache = hf_hub_cache.as_ref().map(here);
        let cache = cache.or_else(|| Some(here(hf_home.as_ref()?).join("hub")));
        cache.or_else(|| Some(self.caches()?.join("huggingface").join("hub")))
    }

    /// Where llama.cpp keeps what it downloads.
    pub(super) fn llama_cpp(&self) -> Option<PathBuf> {
        let llama = self.elsewhere.llama_cache.as_ref();
        let llama = llama.map(|path| self.working_folder.join(path));
        llama.or_else(|| match (&self.elsewhere.xdg_cache_home, &self.home) {
            (None, Some(home)) if cfg!(target_os = "macos") => {
                Some(home.join("Library/Caches/llama.cpp"))
            }
            _ => Some(self.caches()?.join("llama.cpp")),
        })
    }

    /// Ollama's store, and that of the service which its installer for Linux sets up.
    pub(super) fn ollama(&self) -> Vec<PathBuf> {
        if let Some(folder) = &self.elsewhere.ollama_models {
            return vec![self.working_folder.join(folder)];
        }
        let own = self.home.as_ref().map(|home| home.join(".ollama/models"));
        let service = "/usr/share/ollama/.ollama/models";
        let service = own.as_ref().map(|_| PathBuf::from(service));
        let service = service.filter(|_| cfg!(target_os = "linux"));
        own.into_iter().chain(service).collect()
    }

    pub(super) fn lm_studio(&self) -> Vec<PathBuf> {
        let folders = [".lmstudio/models", ".cache/lm-studio/models"];
        let home = self.home.iter();
        home.flat_map(|home| folders.map(|folder| home.join(folder)))
            .collect()
    }

    /// The folders that Python environments keep their packages in: the one that is active, and the
    /// one that this program was installed into.
    pub(super) fn python_packages(&self) -> Vec<PathBuf> {
        let own = self.program.as_deref().and_then(prefix_of);
        let prefixes = self.elsewhere.virtual_env.as_deref().into_iter().chain(own);
        let mut folders: Vec<PathBuf> = prefixes.flat_map(site_packages).collect();
        folders.dedup();
        folders
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn empty_variables_and_relative_xdg_folders_are_unset() {
        let elsewhere = Elsewhere::read(|name| match name {
            "HF_HOME" => Some("".into()),
            "XDG_CACHE_HOME" | "XDG_DATA_HOME" => Some("relative".into()),
            "OLLAMA_MODELS" => Some("/o".into()),
            _ => None,
        });
        assert_eq!(elsewhere.hf_home, None);
        assert_eq!(
            (elsewhere.xdg_cache_home, elsewhere.xdg_data_home),
            (None, None)
        );
        assert_eq!(elsewhere.ollama_models.as_deref(), Some(Path::new("/o")));
    }
}
