//! The marks of a notation, found in text that comes in pieces.
//!
//! It must not know what the marks mean.

/// Looks for the first of some marks, and holds back what may still become one.
#[derive(Debug, Clone, Default)]
pub(super) struct Finder {
    held: String,
}

impl Finder {
    /// What may still become a mark.
    pub(super) fn held(&self) -> &str {
        &self.held
    }

    /// Gives up what was held.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Takes one character. Appends to `released` what is no part of any mark, and returns the
    /// index of a mark that has become complete.
    ///
    /// The marks must be the same as long as something is held, none empty, and none the end of
    /// a beginning of another.
    pub(super) fn push<'m>(
        &mut self,
        c: char,
        marks: impl IntoIterator<Item = &'m str, IntoIter: Clone>,
        released: &mut String,
    ) -> Option<usize> {
        let marks = marks.into_iter();
        if self.held.is_empty() && !marks.clone().any(|mark| mark.starts_with(c)) {
            released.push(c);
            return None;
        }
        self.held.push(c);
        let mut from = 0;
        let fits = |held: &str| marks.clone().any(|mark| mark.starts_with(held));
        while from < self.held.len() && !fits(&self.held[from..]) {
            from += self.held[from..].chars().next().map_or(1, char::len_utf8);
        }
        released.extend(self.held.drain(..from));
        let found = marks.clone().position(|mark| self.held == mark);
        if found.is_some() {
            self.held.clear();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, marks: &[&str]) -> (String, Option<usize>, String) {
        let mut finder = Finder::default();
        let mut released = String::new();
        let found = text
            .chars()
            .find_map(|c| finder.push(c, marks.iter().copied(), &mut released));
        (released, found, finder.take())
    }

    #[test]
    fn a_mark_is_found_after_false_beginnings() {
        let marks = ["<tool>", "<<end"];
        assert_eq!(
            find("a <t<<tool>", &marks),
            ("a <t<".into(), Some(0), String::new())
        );
        assert_eq!(find("<<<end", &marks), ("<".into(), Some(1), String::new()));
        assert_eq!(find("é<é", &marks), ("é<é".into(), None, String::new()));
        assert_eq!(find("x<<e", &marks), ("x".into(), None, "<<e".into()));
    }
}
