//! Conversations that outlive the command: where `/save` puts them and what is in the file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shimmy_chat::Message;

use crate::failure::Failure;

/// The longest file that is read.
const MAX_BYTES: u64 = 64 << 20;

/// A conversation in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The model it was held with.
    pub(super) model: String,
    #[serde(default)]
    pub(super) system: Option<String>,
    pub(super) messages: Vec<Said>,
}

/// A message in a file, in the shape that every API takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Said {
    role: String,
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
}

impl From<&Message> for Said {
    fn from(message: &Message) -> Self {
        let thoughts = message.reasoning_content.as_ref();
        Self {
            role: message.role.clone(),
            content: message.content.clone(),
            reasoning_content: thoughts.and_then(|text| text.as_str()).map(str::to_owned),
        }
    }
}

impl From<Said> for Message {
    fn from(said: Said) -> Self {
        Self {
            reasoning_content: said.reasoning_content.map(Into::into),
            ..Self::new(said.role, said.content)
        }
    }
}

impl Kept {
    /// Writes the file, for its owner's eyes only. One that is there is replaced if it is a
    /// conversation, and left alone if it is anything else.
    pub(super) fn save(&self, path: &Path) -> Result<(), Failure> {
        if path.exists() && Self::load(path).is_err() {
            return Err(Failure::usage(format!(
                "{} is there and is no conversation",
                path.display()
            ))
            .hint("choose another name"));
        }
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write(path, &text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }

    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let read = || match fs::metadata(path)?.len() {
            0..=MAX_BYTES => fs::read(path),
            _ => Err(io::Error::other("it is too long to be a conversation")),
        };
        let bytes = read().map_err(|error| {
            Failure::new(format!("cannot read {}: {error}", path.display()))
                .hint("/save NAME keeps a conversation, and /load NAME goes on with it")
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(format!("{} is no conversation: {error}", path.display()))
                .hint("it is a file that /save has written")
        })
    }
}

/// The file that a name stands for, in the user's data folder unless the name is a path.
pub(super) fn path(name: &str, data: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_. ".contains(letter);
    if !name.chars().all(is_plain) || name.starts_with('.') {
        return Err(
            Failure::usage(format!("{name:?} cannot be a conversation's name"))
                .hint("letters, digits, spaces, `-`, `_` and `.` can; a path has a slash in it"),
        );
    }
    let data = data.ok_or_else(|| {
        Failure::new("there is no folder for conversations")
            .hint("set HOME, or give a path with a slash in it")
    })?;
    Ok(data.join("chats").join(format!("{name}.json")))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    // A file that is cut short must not take a whole one's place.
    let new = path.with_extension("json.new");
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.inspect_err(|_| {
        // What counts is the first error; a file that could not be made is not there to remove.
        let _ = fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let mut answer = Message::new("assistant", "ü");
        answer.reasoning_content = Some("hm".into());
        Kept {
            model: "tiny".to_owned(),
            system: None,
            messages: vec![Said::from(&Message::new("user", "a")), Said::from(&answer)],
        }
    }

    #[test]
    fn what_is_saved_comes_back_and_nothing_else_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = path("a talk", Some(folder.path().to_owned())).unwrap();
        kept().save(&path).unwrap();
        kept().save(&path).unwrap();
        let back = Kept::load(&path).unwrap();
        let answer = Message::from(back.messages[1].clone());
        assert_eq!(answer.content, "ü");
        assert_eq!(answer.reasoning_content, Some("hm".into()));
        let other = folder.path().join("notes.json");
        fs::write(&other, "mine").unwrap();
        assert!(kept().save(&other).is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    }

    #[test]
    fn names_stay_in_their_folder() {
        let data = Some(PathBuf::from("/data"));
        assert_eq!(
            path("talk", data.clone()).unwrap(),
            Path::new("/data/chats/talk.json")
        );
        assert_eq!(
            path("./talk.json", data.clone()).unwrap(),
            Path::new("./talk.json")
        );
        assert!(path("..", data.clone()).is_err());
        assert!(path("a\0", data).is_err());
    }
}
