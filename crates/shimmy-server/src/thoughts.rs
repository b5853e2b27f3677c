//! Thoughts in a client's keeping: text in a field that clients hand back without reading it.
//!
//! Agents that keep the conversation themselves return a model's thoughts only in the field that
//! holds the vendor's encrypted ones. Here nothing is hidden: the client may read what it carries.
//! The mark tells our texts from those of other servers, which nobody here could read.

/// What our texts begin with.
const MARK: &str = "shimmy-thoughts:";

/// The text for a client to carry; never empty.
pub(crate) fn seal(thoughts: &str) -> String {
    format!("{MARK}{thoughts}")
}

/// The thoughts in a text that came back, if it is one of ours and holds any.
pub(crate) fn unseal(carried: &str) -> Option<&str> {
    carried.strip_prefix(MARK).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_comes_back_and_nothing_else() {
        assert_eq!(unseal(&seal("a: b")), Some("a: b"));
        assert_eq!(unseal(&seal("")), None);
        assert_eq!(unseal("gAAAAABo…"), None);
    }
}
