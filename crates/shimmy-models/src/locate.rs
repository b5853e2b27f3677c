//! A path that a stranger wrote: which file inside the model folders it means, if any. Owns the
//! refusal of everything outside; must not tell what is there.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::Roots;
use crate::walk::holds;

/// The path means no file in the folders. That is all that is said of what lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no file in the folders that are searched for models")]
pub struct OutsideFolders;

/// Bytes of a path at most.
const MOST_BYTES: usize = 4096;

impl Roots {
    /// The file that a path means, without links: an absolute path, or one from any of the folders
    /// on. Neither may go up, and the file must be one that a search of the folders may come to,
    /// wherever links lead. Blocks on the disk.
    pub fn locate(&self, text: &str) -> Result<PathBuf, OutsideFolders> {
        let path = Path::new(text);
        let is_plain = path.components().all(|part| {
            matches!(
                part,
                Component::Normal(_) | Component::RootDir | Component::CurDir
            )
        });
        // A URL is a relative path to the system, and a drive's letter a plain name.
        let is_foreign = text.contains("://") || text.contains('\\') || text.contains('\0');
        if text.is_empty() || text.len() > MOST_BYTES || !is_plain || is_foreign {
            return Err(OutsideFolders);
        }
        let folders: Vec<_> = self
            .folders
            .iter()
            .filter_map(|root| Some((fs::canonicalize(&root.path).ok()?, root.source)))
            .collect();
        // An absolute path replaces the folder that it is joined to.
        let mut candidates = folders.iter().map(|(folder, _)| folder.join(path));
        let inside = candidates.find_map(|candidate| {
            let file = fs::canonicalize(candidate).ok()?;
            let may_be_found = folders.iter().any(|folder| holds(folder, &file));
            (may_be_found && file.is_file()).then_some(file)
        });
        inside.ok_or(OutsideFolders)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Source;

    #[test]
    fn only_files_inside_the_folders_are_found_however_they_are_written() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let at = |name: &str| root.join(name);
        for folder in ["models/sub", "base/sub", "outside"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in [
            "models/a.gguf",
            "models/sub/b.gguf",
            "base/c.gguf",
            "base/sub/d.gguf",
            "outside/secret.gguf",
        ] {
            fs::write(at(file), "").unwrap();
        }
        symlink(at("outside/secret.gguf"), at("models/out.gguf")).unwrap();
        symlink(at("outside"), at("models/out")).unwrap();
        symlink(at("models/a.gguf"), at("models/in.gguf")).unwrap();
        let mut roots = Roots::new();
        roots.add(at("models"), Source::ModelDirs);
        roots.add(at("base"), Source::BaseFolder);
        roots.add(at("missing"), Source::Home);

        let text = |name: &str| at(name).to_str().unwrap().to_owned();
        for (path, file) in [
            ("a.gguf".to_owned(), "models/a.gguf"),
            ("./sub/b.gguf".to_owned(), "models/sub/b.gguf"),
            ("c.gguf".to_owned(), "base/c.gguf"),
            ("in.gguf".to_owned(), "models/a.gguf"),
            (text("models/sub/b.gguf"), "models/sub/b.gguf"),
            (text("base/c.gguf"), "base/c.gguf"),
        ] {
            assert_eq!(roots.locate(&path), Ok(at(file)), "{path}");
        }
        for path in [
            String::new(),
            "sub".to_owned(),
            "missing.gguf".to_owned(),
            "../outside/secret.gguf".to_owned(),
            "sub/../a.gguf".to_owned(),
            "out.gguf".to_owned(),
            "out/secret.gguf".to_owned(),
            // The base model's folder may be a whole home folder.
            "sub/d.gguf".to_owned(),
            text("base/sub/d.gguf"),
            text("outside/secret.gguf"),
            text("models/../outside/secret.gguf"),
            text("models/out.gguf"),
            format!("file://{}", text("models/a.gguf")),
            "http://127.0.0.1/a.gguf".to_owned(),
            "C:\\a.gguf".to_owned(),
            "a.gguf\0".to_owned(),
            "/etc/passwd".to_owned(),
            "a".repeat(MOST_BYTES + 1),
        ] {
            assert_eq!(roots.locate(&path), Err(OutsideFolders), "{path:?}");
        }
    }
}
