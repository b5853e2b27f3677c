//! File names of models that are split into parts, `NAME-00001-of-00003.gguf`. Owns the pattern;
//! must not know what is in the files.

use std::path::{Path, PathBuf};

/// The most parts of a model. A name that claims more is a name like any other.
const MAX_PARTS: u32 = 1000;

/// A file name that follows the pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardName {
    folder: PathBuf,
    stem: String,
    count: u32,
    number: u32,
}

impl ShardName {
    /// Takes a path apart; none if its name does not follow the pattern.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        let is_possible = (1..=count).contains(&number) && count <= MAX_PARTS;
        is_possible.then(|| Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            stem: stem.to_owned(),
            count,
            number,
        })
    }

    /// The model's name without the part's number.
    pub(crate) fn stem(&self) -> &str {
        &self.stem
    }

    /// How many parts there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The path of every part, in order.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let Self { stem, count, .. } = self;
        (1..=self.count)
            .map(|number| {
                self.folder
                    .join(format!("{stem}-{number:05}-of-{count:05}.gguf"))
            })
            .collect()
    }
}

fn five_digits(text: &str) -> Option<u32> {
    let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::ShardName;

    #[test]
    fn the_parts_of_a_name_lead_to_its_siblings() {
        let shard = ShardName::parse(Path::new("m/a-of-b-00002-of-00003.gguf")).unwrap();
        assert_eq!((shard.stem(), shard.count()), ("a-of-b", 3));
        assert_eq!(shard.parts()[0], Path::new("m/a-of-b-00001-of-00003.gguf"));
        assert_eq!(shard.parts()[1], Path::new("m/a-of-b-00002-of-00003.gguf"));
    }

    #[test]
    fn other_names_are_no_shards() {
        for name in [
            "a.gguf",
            "a-00001-of-00003.bin",
            "a-1-of-3.gguf",
            "a-00000-of-00003.gguf",
            "a-00004-of-00003.gguf",
            "a-00001-of-99999.gguf",
            "a-+0001-of-00003.gguf",
            "00001-of-00003.gguf",
        ] {
            assert_eq!(ShardName::parse(Path::new(name)), None, "{name}");
        }
    }
}
