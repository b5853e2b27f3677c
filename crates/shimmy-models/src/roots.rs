//! Which folders are searched for models, and whose they are. Owns the places where this program
//! and others keep models; must not know environment variables (the caller reads them) or how a
//! folder is searched.

mod python;
mod settings;
mod source;

use std::path::{Path, PathBuf};

pub use self::settings::{Elsewhere, RootSettings};
pub(crate) use self::source::Layout;
pub use self::source::Source;

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
