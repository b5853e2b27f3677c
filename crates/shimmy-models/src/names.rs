//! Names of models: made from file names, found again from what a user types. Owns both
//! directions; must not know files, so that no name can reach the file system.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::text::quoted;

/// The longest name in bytes, of a model and in a question.
const MAX_NAME: usize = 512;
/// How many names an error suggests.
const SUGGESTIONS: usize = 3;
/// How many names an error lists that all fit.
const CANDIDATES: usize = 10;

/// Why a name led to no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No model has the name or one that contains it.
    #[error("no model named {query}{}", suggestion(closest))]
    NotFound {
        /// What was asked for, quoted and shortened.
        query: String,
        /// The most similar names, the best first; none if the question was no name at all.
        closest: Vec<String>,
    },
    /// Several models fit.
    #[error("{query} fits {count} models: {}{}", candidates.join(", "), rest(candidates, *count))]
    Ambiguous {
        /// What was asked for, quoted and shortened.
        query: String,
        /// The first names that fit, in the order of the list.
        candidates: Vec<String>,
        /// How many fit in all.
        count: usize,
    },
}

fn suggestion(closest: &[String]) -> String {
    match closest {
        [] => String::new(),
        names => format!("; the closest are {}", names.join(", ")),
    }
}

fn rest(candidates: &[String], count: usize) -> &'static str {
    if candidates.len() < count {
        ", …"
    } else {
        ""
    }
}

/// Finds the model that `query` means among `names`, and returns its index. Upper and lower case,
/// `_` and `-`, the endings `.gguf` and `:latest` make no difference. The whole name comes first,
/// then the only name that begins with the query, then the only one that contains it.
pub fn resolve(query: &str, names: &[impl AsRef<str>]) -> Result<usize, NameError> {
    let not_found = |closest| NameError::NotFound {
        query: quoted(query),
        closest,
    };
    if !is_plausible(query) {
        return Err(not_found(Vec::new()));
    }
    let names: Vec<String> = names.iter().map(|name| fold(name.as_ref())).collect();
    let exact = fold(query);
    let bare = fold(query.strip_suffix(":latest").unwrap_or(query));
    let bare = bare.strip_suffix(".gguf").unwrap_or(&bare);
    let find = |wanted: &str| names.iter().position(|name| name == wanted);
    if let Some(index) = find(&exact).or_else(|| find(bare)) {
        return Ok(index);
    }
    if bare.is_empty() {
        return Err(not_found(Vec::new()));
    }
    let fits: [fn(&str, &str) -> bool; 2] = [
        |name, part| name.starts_with(part),
        |name, part| name.contains(part),
    ];
    for fits in fits {
        let matches = names
            .iter()
            .enumerate()
            .filter(|(_, name)| fits(name, bare));
        match matches.collect::<Vec<_>>().as_slice() {
            [] => {}
            [(index, _)] => return Ok(*index),
            several => {
                let listed = several.iter().take(CANDIDATES);
                return Err(NameError::Ambiguous {
                    query: quoted(query),
                    candidates: listed.map(|(_, name)| (*name).clone()).collect(),
                    count: several.len(),
                });
            }
        }
    }
    Err(not_found(closest(bare, names)))
}

/// Finds the model that `query` means among models that have further names. Those count as a whole
/// only, and less than the models' own.
pub fn resolve_among<'a>(
    query: &str,
    models: impl IntoIterator<Item = (&'a str, &'a [String])>,
) -> Result<usize, NameError> {
    let (names, aliases): (Vec<&str>, Vec<&[String]>) = models.into_iter().unzip();
    let bare = fold(query.strip_suffix(":latest").unwrap_or(query));
    if !names.iter().any(|name| fold(name) == bare) {
        let has_it = |aliases: &&[String]| aliases.iter().any(|alias| fold(alias) == bare);
        if let Some(index) = aliases.iter().position(has_it) {
            return Ok(index);
        }
    }
    resolve(query, &names)
}

/// Whether a question is a whole name and not only a part of one, as [`resolve`] compares them.
pub fn is_called(query: &str, name: &str) -> bool {
    let bare = query.strip_suffix(":latest").unwrap_or(query);
    fold(bare) == fold(name) || fold(query) == fold(name)
}

/// The name of a file: its stem in lower case, `_` and blanks as `-`. `stem` has no shard suffix.
pub(crate) fn from_stem(stem: &str) -> String {
    let mut name = String::with_capacity(stem.len());
    for letter in fold(stem).chars() {
        let is_separator = letter.is_whitespace() || letter.is_control() || "/\\".contains(letter);
        name.push(if is_separator { '-' } else { letter });
    }
    // A leading dash would make the name look like a command-line flag.
    let name = name.trim_start_matches(['-', '.']);
    if name.is_empty() {
        return "model".to_owned();
    }
    // Less than half the limit: room for a folder in front and a number behind.
    name[..name.floor_char_boundary(MAX_NAME / 2 - 8)].to_owned()
}

/// Makes names unique: where several are the same, each gets its group in front (a folder, a
/// repository); what is still the same gets a number, in the order given.
pub(crate) fn disambiguate(files: &[(String, String)]) -> Vec<String> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for (name, _) in files {
        *uses.entry(name).or_default() += 1;
    }
    let in_group = |(name, group): &(String, String)| match group.as_str() {
        "" => name.clone(),
        group if uses[name.as_str()] > 1 => format!("{}-{name}", from_stem(group)),
        _ => name.clone(),
    };
    let mut names: Vec<String> = files.iter().map(in_group).collect();
    let mut taken = HashSet::with_capacity(names.len());
    for name in &mut names {
        let wanted = name.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            *name = format!("{wanted}-{number}");
            number += 1;
        }
    }
    names
}

/// What is compared: lower case, `_` as `-`.
fn fold(text: &str) -> String {
    text.to_lowercase().replace('_', "-")
}

/// Whether a question can be a name at all. Anything else gets no suggestions: it is a mistake or
/// an attack, and its answer should be short and cheap.
pub(crate) fn is_plausible(query: &str) -> bool {
    !query.is_empty()
        && query.len() <= MAX_NAME
        && !query.starts_with(['-', '/', '\\'])
        && !query.contains(char::is_control)
        && !query.split(['/', '\\']).any(|part| part == "..")
}

fn closest(query: &str, mut names: Vec<String>) -> Vec<String> {
    // A similarity is in [0, 1]: as a whole number it has a total order. The sort is stable.
    names.sort_by_cached_key(|name| {
        let similarity = strsim::jaro_winkler(query, name);
        Reverse((similarity * 1e9) as u64)
    });
    names.truncate(SUGGESTIONS);
    names
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{NameError, disambiguate, from_stem, resolve, resolve_among};

    const NAMES: [&str; 5] = [
        "qwen2.5-0.5b-instruct-q4-k-m",
        "qwen2.5-7b-instruct-q4-k-m",
        "smollm2-135m-instruct.q4-1",
        "llama-3.2-1b",
        "llama-3.2-1b-instruct",
    ];

    fn find(query: &str) -> Result<&'static str, NameError> {
        resolve(query, &NAMES).map(|index| NAMES[index])
    }

    #[test]
    fn a_whole_name_wins_over_longer_ones() {
        assert_eq!(find("llama-3.2-1b"), Ok("llama-3.2-1b"));
        assert_eq!(find("Llama-3.2-1B.gguf"), Ok("llama-3.2-1b"));
        assert_eq!(find("LLAMA_3.2_1b:latest"), Ok("llama-3.2-1b"));
        let twice_ended = ["x-a", "x-a.gguf"];
        assert_eq!(resolve("X_A.GGUF", &twice_ended), Ok(1));
    }

    #[test]
    fn a_part_that_fits_one_is_enough() {
        assert_eq!(find("smol"), Ok("smollm2-135m-instruct.q4-1"));
        assert_eq!(find("0.5b"), Ok("qwen2.5-0.5b-instruct-q4-k-m"));
        assert_eq!(
            resolve("b", &["ab", "bc"]),
            Ok(1),
            "a beginning wins over a middle"
        );
    }

    #[test]
    fn other_names_count_as_a_whole_and_after_the_models_own() {
        let aliases = [vec![], vec!["gpt-4o".to_owned(), "one".to_owned()]];
        let models = || {
            ["one", "two"]
                .into_iter()
                .zip(aliases.iter().map(Vec::as_slice))
        };
        let find = |query| resolve_among(query, models()).ok();
        assert_eq!(find("GPT-4o:latest"), Some(1));
        assert_eq!(find("one"), Some(0));
        assert_eq!(find("tw"), Some(1));
        assert_eq!(find("gpt"), None);
    }

    #[test]
    fn a_part_that_fits_several_lists_them() {
        let error = find("qwen").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"qwen\" fits 2 models: qwen2.5-0.5b-instruct-q4-k-m, qwen2.5-7b-instruct-q4-k-m"
        );
        let many: Vec<_> = (0..30).map(|index| format!("m{index}")).collect();
        let text = resolve("m", &many).unwrap_err().to_string();
        assert!(text.starts_with("\"m\" fits 30 models: m0, ") && text.ends_with("m9, …"));
    }

    #[test]
    fn a_wrong_name_gets_the_closest_three() {
        let NameError::NotFound { query, closest } = find("lama3.2-1b").unwrap_err() else {
            panic!("not an unknown name");
        };
        assert_eq!(query, "\"lama3.2-1b\"");
        assert_eq!(closest.len(), 3);
        assert_eq!(closest[0], "llama-3.2-1b");
    }

    #[test]
    fn absurd_names_get_a_short_answer_without_suggestions() {
        let long = "a".repeat(513);
        for query in [
            "",
            "\0",
            "a\nb",
            "-rf",
            "../../etc/passwd",
            "/etc",
            ".gguf",
            &long,
        ] {
            let error = find(query).unwrap_err();
            let is_bare =
                matches!(&error, NameError::NotFound { closest, .. } if closest.is_empty());
            assert!(
                is_bare && error.to_string().len() < 100,
                "{query:?}: {error}"
            );
        }
    }

    #[test]
    fn names_of_files_are_lower_case_with_dashes() {
        assert_eq!(from_stem("My_Model v2.Q4_K_M"), "my-model-v2.q4-k-m");
        assert_eq!(from_stem("-rf"), "rf");
        assert_eq!(from_stem("..."), "model");
    }

    #[test]
    fn equal_names_get_their_groups_and_then_numbers() {
        let files = [
            ("x", "a"),
            ("x", "b"),
            ("x", "b"),
            ("y", "a"),
            ("z", ""),
            ("z", ""),
        ];
        let files = files.map(|(name, group)| (name.to_owned(), group.to_owned()));
        assert_eq!(
            disambiguate(&files),
            ["a-x", "b-x", "b-x-2", "y", "z", "z-2"]
        );
    }

    proptest! {
        #[test]
        fn any_question_gets_an_answer_that_is_short(query in "\\PC{0,600}|[ -~\0]{0,40}") {
            if let Err(error) = find(&query) {
                prop_assert!(error.to_string().len() < 1000);
            }
        }

        #[test]
        fn a_name_made_from_a_file_finds_it_again(
            stems in prop::collection::hash_set("[a-zA-Z0-9._ -]{1,20}", 1..6)
        ) {
            let files: Vec<_> = stems.iter().map(|s| (from_stem(s), "m".to_owned())).collect();
            let names = disambiguate(&files);
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
            for (index, name) in names.iter().enumerate() {
                prop_assert_eq!(resolve(name, &names), Ok(index));
                prop_assert_eq!(resolve(&name.to_uppercase(), &names), Ok(index));
            }
        }

        #[test]
        fn an_index_is_always_one_whose_name_contains_the_question(query in "[a-z0-9.-]{1,6}") {
            if let Ok(name) = find(&query) {
                prop_assert!(name.contains(query.trim_end_matches(".gguf")));
            }
        }
    }
}
