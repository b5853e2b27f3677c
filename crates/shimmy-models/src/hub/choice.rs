//! Which files of a repository are the model that is wanted. Owns the order of quantisations; must
//! not know where files come from.

use std::collections::BTreeMap;
use std::path::Path;

use super::PullError;
use super::listing::HubFile;
use crate::shards::ShardName;

/// What is taken if it fits, the best first: four to five bits cost little quality, fewer much.
const ORDER: [&str; 26] = [
    "Q4_K_M",
    "Q4_K_XL",
    "Q4_K_S",
    "Q4_K",
    "IQ4_XS",
    "IQ4_NL",
    "Q4_0",
    "Q4_1",
    "MXFP4",
    "MXFP4_MOE",
    "Q5_K_M",
    "Q5_K_S",
    "Q5_0",
    "Q6_K",
    "Q8_0",
    "Q3_K_L",
    "Q3_K_M",
    "IQ3_M",
    "IQ3_XS",
    "Q3_K_S",
    "IQ3_XXS",
    "Q2_K",
    "IQ2_M",
    "BF16",
    "F16",
    "F32",
];
/// What a model takes beside its file: a cache and buffers for a short context.
const BESIDE_BYTES: u64 = 512 << 20;

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The quantisation, as the files' names say.
    pub(super) label: Option<String>,
    pub(super) files: Vec<HubFile>,
}

impl Choice {
    fn size(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.size)
            .fold(0, u64::saturating_add)
    }

    /// The memory that it takes, about.
    fn needed(&self) -> u64 {
        let size = self.size();
        size.saturating_add(size / 10).saturating_add(BESIDE_BYTES)
    }

    fn title(&self) -> String {
        let name = || self.files[0].name.clone();
        self.label.clone().unwrap_or_else(name)
    }

    /// Its place in the order; what is not in it comes last.
    fn rank(&self) -> usize {
        let known = |label: &String| ORDER.iter().position(|known| known == label);
        self.label.as_ref().and_then(known).unwrap_or(ORDER.len())
    }
}

/// Picks the model that is wanted, or the best one that fits into `memory`.
pub(super) fn choose(
    files: &[HubFile],
    wanted: Option<&str>,
    memory: Option<u64>,
) -> Result<Choice, PullError> {
    let mut models = group(files);
    if let Some(wanted) = wanted {
        let found = models.iter().position(|model| is_wanted(model, wanted));
        return match found {
            Some(at) => Ok(models.swap_remove(at)),
            None => Err(PullError::NoSuchQuant {
                wanted: wanted.to_owned(),
                available: models.iter().map(Choice::title).collect(),
            }),
        };
    }
    models.sort_by_key(|model| (model.rank(), model.size()));
    let fits = |model: &Choice| memory.is_none_or(|memory| model.needed() <= memory);
    if let Some(at) = models.iter().position(fits) {
        return Ok(models.swap_remove(at));
    }
    match models.iter().min_by_key(|model| model.size()) {
        Some(smallest) => Err(PullError::TooBig {
            label: smallest.title(),
            needed: smallest.needed(),
            memory: memory.unwrap_or(0),
        }),
        None => Err(PullError::NoModel {
            what: "the repository".to_owned(),
        }),
    }
}

/// The models that files are, complete split ones as one; projectors and the like are none.
fn group(files: &[HubFile]) -> Vec<Choice> {
    let mut groups: BTreeMap<String, (usize, Vec<HubFile>)> = BTreeMap::new();
    for file in files {
        let name = file
            .name
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if name.contains("mmproj") || name.contains("imatrix") {
            continue;
        }
        let path = Path::new(&file.name);
        let (key, count) = match ShardName::parse(path) {
            Some(shard) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let key = folder.join(shard.stem()).to_string_lossy().into_owned();
                (format!("{key}/{}", shard.count()), shard.count() as usize)
            }
            None => (file.name.clone(), 1),
        };
        let group = groups.entry(key).or_insert((count, Vec::new()));
        group.1.push(file.clone());
    }
    let whole = groups
        .into_values()
        .filter(|(count, files)| files.len() == *count);
    whole
        .map(|(_, mut files)| {
            files.sort_by(|left, right| left.name.cmp(&right.name));
            Choice {
                label: label(&files[0].name),
                files,
            }
        })
        .collect()
}

fn is_wanted(model: &Choice, wanted: &str) -> bool {
    let plain = |text: &str| text.to_ascii_uppercase().replace('-', "_");
    let by_label = model
        .label
        .as_ref()
        .is_some_and(|label| *label == plain(wanted));
    let is_file = |file: &HubFile| {
        let last = file.name.rsplit('/').next().unwrap_or_default();
        file.name == wanted || last == wanted || last.strip_suffix(".gguf") == Some(wanted)
    };
    by_label || model.files.iter().any(is_file)
}

/// The quantisation that a file's name says, or else its folder's: `Q4_K_M`.
fn label(name: &str) -> Option<String> {
    let path = Path::new(name);
    let shard = ShardName::parse(path).map(|shard| shard.stem().to_owned());
    let stem = shard.or_else(|| Some(path.file_stem()?.to_str()?.to_owned()))?;
    let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
    [stem.as_str(), folder].into_iter().find_map(|text| {
        let parts = text.rsplit(['-', '.', '/']).map(str::to_ascii_uppercase);
        parts
            .map(|part| part.replace("FP", "F").replace("MXF4", "MXFP4"))
            .find(|part| is_label(part))
    })
}

fn is_label(part: &str) -> bool {
    let is_known = ORDER.contains(&part);
    let quant = part.strip_prefix("IQ").or_else(|| part.strip_prefix("TQ"));
    let quant = quant.or_else(|| part.strip_prefix('Q'));
    is_known
        || quant.is_some_and(|rest| {
            let mut letters = rest.chars();
            letters.next().is_some_and(|letter| letter.is_ascii_digit())
                && letters.next() == Some('_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[(&str, u64)]) -> Vec<HubFile> {
        let file = |&(name, size): &(&str, u64)| HubFile {
            name: name.to_owned(),
            size,
            hash: None,
        };
        names.iter().map(file).collect()
    }

    const GB: u64 = 1_000_000_000;

    fn repository() -> Vec<HubFile> {
        files(&[
            ("M-Q8_0.gguf", 8 * GB),
            ("M-Q4_K_M.gguf", 5 * GB),
            ("M-Q2_K.gguf", 3 * GB),
            ("M.Q3_K_M.gguf", 4 * GB),
            ("F16/M-f16-00001-of-00002.gguf", 9 * GB),
            ("F16/M-f16-00002-of-00002.gguf", 8 * GB),
            ("M-Q6_K-00001-of-00002.gguf", GB),
            ("mmproj-M-F16.gguf", GB),
        ])
    }

    fn label_of(wanted: Option<&str>, memory: Option<u64>) -> Option<String> {
        choose(&repository(), wanted, memory).unwrap().label
    }

    #[test]
    fn the_best_that_fits_is_taken() {
        assert_eq!(label_of(None, None).as_deref(), Some("Q4_K_M"));
        assert_eq!(label_of(None, Some(32 * GB)).as_deref(), Some("Q4_K_M"));
        assert_eq!(label_of(None, Some(5 * GB)).as_deref(), Some("Q3_K_M"));
        assert_eq!(label_of(None, Some(4 * GB)).as_deref(), Some("Q2_K"));
        let error = choose(&repository(), None, Some(GB)).unwrap_err();
        assert!(matches!(error, PullError::TooBig { label, .. } if label == "Q2_K"));
    }

    #[test]
    fn what_is_wanted_is_taken_whether_it_fits_or_not() {
        for wanted in ["Q8_0", "q8_0", "q8-0", "M-Q8_0.gguf", "M-Q8_0"] {
            assert_eq!(
                label_of(Some(wanted), Some(GB)).as_deref(),
                Some("Q8_0"),
                "{wanted}"
            );
        }
        let split = choose(&repository(), Some("F16"), None).unwrap();
        assert_eq!((split.files.len(), split.size()), (2, 17 * GB));
        // A part is missing of it.
        let error = choose(&repository(), Some("Q6_K"), None)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("there is no Q6_K; there are "), "{error}");
        assert!(
            error.contains("Q4_K_M") && !error.contains("mmproj"),
            "{error}"
        );
    }

    #[test]
    fn names_say_quantisations_in_many_ways() {
        for (name, expected) in [
            ("m.Q4_K_M.gguf", Some("Q4_K_M")),
            ("M-q5_k_s.gguf", Some("Q5_K_S")),
            ("m-UD-IQ2_XXS.gguf", Some("IQ2_XXS")),
            ("m-fp16.gguf", Some("F16")),
            ("gpt-oss-20b-mxfp4.gguf", Some("MXFP4")),
            ("Q4_K_M/m-00001-of-00002.gguf", Some("Q4_K_M")),
            ("Qwen3-0.6B.gguf", None),
        ] {
            assert_eq!(label(name).as_deref(), expected, "{name}");
        }
        let only = choose(&files(&[("odd.gguf", 1)]), None, None).unwrap();
        assert_eq!(only.label, None);
    }
}
