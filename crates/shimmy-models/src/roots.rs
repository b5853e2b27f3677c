//! Which folders are searched for models, and whose they are. Owns the places where this program
//! and others keep models; must not know environment variables (the caller reads them) or how a
//! folder is searched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    fn header_cache(&self) -> Option<PathBuf> {
        Some(self.caches()?.join("shimmy").join("headers"))
    }

    fn caches(&self) -> Option<PathBuf> {
        let caches = self.elsewhere.xdg_cache_home.clone();
        caches.or_else(|| Some(self.home.as_ref()?.join(".cache")))
    }

    /// As Hugging Face's tools decide it, without llama.cpp's word.
    fn hugging_face(&self) -> Option<PathBuf> {
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
    fn llama_cpp(&self) -> Option<PathBuf> {
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
    fn ollama(&self) -> Vec<PathBuf> {
        if let Some(folder) = &self.elsewhere.ollama_models {
            return vec![self.working_folder.join(folder)];
        }
        let own = self.home.as_ref().map(|home| home.join(".ollama/models"));
        let service = "/usr/share/ollama/.ollama/models";
        let service = own.as_ref().map(|_| PathBuf::from(service));
        let service = service.filter(|_| cfg!(target_os = "linux"));
        own.into_iter().chain(service).collect()
    }

    fn lm_studio(&self) -> Vec<PathBuf> {
        let folders = [".lmstudio/models", ".cache/lm-studio/models"];
        let home = self.home.iter();
        home.flat_map(|home| folders.map(|folder| home.join(folder)))
            .collect()
    }

    /// The folders that Python environments keep their packages in: the one that is active, and the
    /// one that this program was installed into.
    fn python_packages(&self) -> Vec<PathBuf> {
        let own = self.program.as_deref().and_then(prefix_of);
        let prefixes = self.elsewhere.virtual_env.as_deref().into_iter().chain(own);
        let mut folders: Vec<PathBuf> = prefixes.flat_map(site_packages).collect();
        folders.dedup();
        folders
    }
}

/// The folder that a program is installed under, if it is one of a Python environment.
fn prefix_of(program: &Path) -> Option<&Path> {
    let folder = program.parent()?;
    let is_bin = folder.ends_with("bin") || folder.ends_with("Scripts");
    is_bin.then(|| folder.parent()).flatten()
}

/// `lib/python3.*/site-packages` below a prefix, or Windows' `Lib/site-packages`; there are few.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let windows = prefix.join("Lib").join("site-packages");
    if cfg!(windows) {
        return vec![windows];
    }
    let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else {
        return Vec::new();
    };
    let is_python = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"python3")
    };
    let mut folders: Vec<PathBuf> = entries
        .take(MAX_LIBRARIES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_python)
        .map(|path| path.join("site-packages"))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// How many entries of a `lib` folder are looked at for Python's: `/usr/lib` has thousands.
const MAX_LIBRARIES: usize = 10_000;

/// One folder to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// The folders to search, in order: a file that is in several belongs to the first.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    pub(crate) folders: Vec<Root>,
    /// The file in which what was read is remembered.
    pub(crate) header_cache: Option<PathBuf>,
    /// The folder with the file of the names that users gave.
    pub(crate) store: Option<PathBuf>,
}

impl Roots {
    /// No folders, and nothing is remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// The folders that the settings name. None need exist. Blocks on the disk for a moment, to
    /// find Python's packages.
    pub fn from_settings(settings: &RootSettings) -> Self {
        let mut roots = Self {
            header_cache: settings.header_cache(),
            store: settings.store(),
            ..Self::new()
        };
        let lists = [
            (&settings.model_dirs, Source::ModelDirs),
            (&settings.model_paths, Source::ModelPaths),
        ];
        for (list, source) in lists {
            for folder in split_list(list.as_deref().unwrap_or_default()) {
                roots.add(settings.working_folder.join(folder), source);
            }
        }
        roots.add(
            settings.working_folder.join("models"),
            Source::WorkingFolder,
        );
        let home = settings.home.as_ref().map(|home| home.join("models"));
        // The last one after the others, so that a folder that is also one of them is searched
        // whole.
        let base = settings.base_gguf.as_deref().and_then(Path::parent);
        let base = base.map(|folder| settings.working_folder.join(folder));
        roots
            .add_all(settings.store(), Source::Store)
            .add_all(home, Source::Home)
            .add_all(settings.hugging_face(), Source::HuggingFace)
            .add_all(settings.llama_cpp(), Source::LlamaCpp)
            .add_all(settings.ollama(), Source::Ollama)
            .add_all(settings.lm_studio(), Source::LmStudio)
            .add_all(settings.python_packages(), Source::PythonPackage)
            .add_all(base, Source::BaseFolder)
            // Last: a file that a package has from elsewhere is listed for itself, too.
            .add_all(settings.packages(), Source::Store);
        roots
    }

    /// The folders, in the order of searching.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(|root| root.path.as_path())
    }

    /// Adds a folder after the others.
    pub fn add(&mut self, path: impl Into<PathBuf>, source: Source) -> &mut Self {
        self.folders.push(Root {
            path: path.into(),
            source,
        });
        self
    }

    /// Remembers what headers say in this file, from one search to the next.
    pub fn remember_in(&mut self, file: impl Into<PathBuf>) -> &mut Self {
        self.header_cache = Some(file.into());
        self
    }

    fn add_all(&mut self, paths: impl IntoIterator<Item = PathBuf>, source: Source) -> &mut Self {
        for path in paths {
            self.add(path, source);
        }
        self
    }
}

fn split_list(list: &str) -> impl Iterator<Item = &str> {
    // On Windows a colon belongs to the drive.
    let is_separator = |letter| letter == ';' || (letter == ':' && !cfg!(windows));
    list.split(is_separator)
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(settings: &RootSettings, source: Source) -> Vec<PathBuf> {
        let roots = Roots::from_settings(settings).folders;
        let of_source = roots.into_iter().filter(|root| root.source == source);
        of_source.map(|root| root.path).collect()
    }

    fn at_home(elsewhere: Elsewhere) -> RootSettings {
        RootSettings {
            working_folder: "/here".into(),
            home: Some("/home/me".into()),
            elsewhere,
            ..RootSettings::default()
        }
    }

    #[test]
    fn lists_take_either_separator() {
        let entries: Vec<_> = split_list(" /a ;/b;;").collect();
        assert_eq!(entries, ["/a", "/b"]);
        #[cfg(unix)]
        assert_eq!(split_list("/a:/b").collect::<Vec<_>>(), ["/a", "/b"]);
    }

    #[test]
    fn relative_folders_start_at_the_working_folder() {
        let settings = RootSettings {
            working_folder: PathBuf::from("/here"),
            base_gguf: Some(PathBuf::from("base.gguf")),
            model_paths: Some("more;/else".to_owned()),
            model_dirs: Some("extra".to_owned()),
            elsewhere: Elsewhere {
                ollama_models: Some("ollama".into()),
                hf_home: Some("hf".into()),
                llama_cache: Some("llama".into()),
                ..Elsewhere::default()
            },
            ..RootSettings::default()
        };
        let roots = Roots::from_settings(&settings).folders;
        let found: Vec<_> = roots.iter().map(|r| (r.path.as_path(), r.source)).collect();
        assert_eq!(
            found,
            [
                (Path::new("/here/extra"), Source::ModelDirs),
                (Path::new("/here/more"), Source::ModelPaths),
                (Path::new("/else"), Source::ModelPaths),
                (Path::new("/here/models"), Source::WorkingFolder),
                (Path::new("/here/hf/hub"), Source::HuggingFace),
                (Path::new("/here/llama"), Source::LlamaCpp),
                (Path::new("/here/ollama"), Source::Ollama),
                (Path::new("/here/"), Source::BaseFolder),
            ]
        );
    }

    #[test]
    fn the_hugging_face_cache_is_where_its_tools_look() {
        let mut elsewhere = Elsewhere::default();
        let cache = |elsewhere: &Elsewhere| at_home(elsewhere.clone()).hub_cache().unwrap();
        assert_eq!(
            cache(&elsewhere),
            Path::new("/home/me/.cache/huggingface/hub")
        );
        elsewhere.xdg_cache_home = Some("/xdg".into());
        assert_eq!(cache(&elsewhere), Path::new("/xdg/huggingface/hub"));
        elsewhere.hf_home = Some("/hf".into());
        assert_eq!(cache(&elsewhere), Path::new("/hf/hub"));
        elsewhere.hf_hub_cache = Some("/hub".into());
        assert_eq!(cache(&elsewhere), Path::new("/hub"));
        // It moves what llama.cpp downloads; what other tools have is still found.
        elsewhere.llama_cache = Some("/llama".into());
        assert_eq!(cache(&elsewhere), Path::new("/llama"));
        let settings = at_home(elsewhere);
        assert_eq!(folders(&settings, Source::HuggingFace), [Path::new("/hub")]);
        assert_eq!(folders(&settings, Source::LlamaCpp), [Path::new("/llama")]);
    }

    #[test]
    fn homes_have_the_stores_of_all_programs() {
        let settings = at_home(Elsewhere::default());
        let home = Path::new("/home/me");
        for (source, folder) in [
            (Source::Store, ".local/share/shimmy/models"),
            (Source::Home, "models"),
            (Source::Ollama, ".ollama/models"),
            (Source::LmStudio, ".lmstudio/models"),
        ] {
            assert_eq!(folders(&settings, source)[0], home.join(folder));
        }
    }

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

    #[cfg(unix)]
    #[test]
    fn the_programs_own_python_environment_is_searched() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(&packages).unwrap();
        std::fs::create_dir_all(folder.path().join("lib/other")).unwrap();
        let by_program = RootSettings {
            program: Some(folder.path().join("bin/shimmy")),
            ..RootSettings::default()
        };
        assert_eq!(folders(&by_program, Source::PythonPackage), [&*packages]);
        let both = RootSettings {
            elsewhere: Elsewhere {
                virtual_env: Some(folder.path().to_owned()),
                ..Elsewhere::default()
            },
            ..by_program
        };
        assert_eq!(folders(&both, Source::PythonPackage), [&*packages]);
        let elsewhere = RootSettings {
            program: Some(folder.path().join("target/shimmy")),
            ..RootSettings::default()
        };
        assert!(folders(&elsewhere, Source::PythonPackage).is_empty());
    }
}
