//! White space before the first word of a text.
//!
//! Models put line breaks between their thoughts, their words and their calls. Said by itself,
//! such a break would be a part of the answer that holds nothing.

/// Holds back the white space that a text begins with until it is known whether a word follows.
#[derive(Debug, Default)]
pub(crate) struct Lead(String);

impl Lead {
    /// What can be said now that more has come; `None` as long as there is no word.
    pub(crate) fn admit(&mut self, text: &str) -> Option<String> {
        self.0.push_str(text);
        (!self.0.trim().is_empty()).then(|| std::mem::take(&mut self.0))
    }

    /// What is held back, given up.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}
