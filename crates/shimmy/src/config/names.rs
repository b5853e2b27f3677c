//! Names that the configuration file gives to models, for clients that ask for a fixed one.
//!
//! Owns how such a name is told from others, `*` in it included; must not know which models there
//! are.

use serde_json::Value;

/// Names and what they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(Vec<(String, String)>);

impl Names {
    /// The table of a configuration file.
    pub(super) fn read(table: Value) -> Result<Self, String> {
        let Value::Object(table) = table else {
            return Err("aliases is a table: [aliases], then NAME = \"MODEL\"".to_owned());
        };
        let entry = |(name, model): (String, Value)| match model {
            Value::String(model) if !model.is_empty() && !name.is_empty() => Ok((name, model)),
            other => Err(format!(
                "the alias {name:?} stands for {other}, which is no model"
            )),
        };
        let mut names: Vec<_> = table.into_iter().map(entry).collect::<Result<_, _>>()?;
        // The more of a name is written out, the better it is known.
        names.sort_by_key(|(name, _): &(String, String)| {
            let fixed = name.chars().filter(|&letter| letter != '*').count();
            (name.contains('*'), std::cmp::Reverse(fixed))
        });
        Ok(Self(names))
    }

    /// The model that a name stands for, if it is one of these.
    pub(crate) fn meaning(&self, name: &str) -> Option<&str> {
        let bare = name.strip_suffix(":latest").unwrap_or(name);
        let is_it = |(pattern, _): &&(String, String)| {
            fits(&pattern.to_lowercase(), &name.to_lowercase())
                || fits(&pattern.to_lowercase(), &bare.to_lowercase())
        };
        Some(self.0.iter().find(is_it)?.1.as_str())
    }

    /// All of them, the best known first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, model)| (name.as_str(), model.as_str()))
    }
}

/// Whether a text is a pattern's, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, is_it) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("claude-*", "claude-sonnet-4-5", true),
            ("claude-*", "claude", false),
            ("*-mini", "gpt-4o-mini", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), is_it, "{pattern} {text}");
        }
    }

    #[test]
    fn a_whole_name_goes_before_a_pattern_and_a_long_one_before_a_short_one() {
        let names = json!({ "*": "any", "gpt-*": "small", "GPT-4o": "big", "gpt-4*": "fair" });
        let names = Names::read(names).unwrap();
        assert_eq!(names.meaning("gpt-4o:latest"), Some("big"));
        assert_eq!(names.meaning("gpt-4-turbo"), Some("fair"));
        assert_eq!(names.meaning("gpt-3"), Some("small"));
        assert_eq!(names.meaning("llama"), Some("any"));
        assert!(Names::read(json!({ "a": 1 })).is_err());
        assert!(Names::read(json!("a")).is_err());
    }
}
