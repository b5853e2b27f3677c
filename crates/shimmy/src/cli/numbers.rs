//! Numbers with limits, and those of which -1 means something, as it does to llama.cpp's tools.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// The sizes that a context may be asked to have.
pub(crate) const CONTEXT: RangeInclusive<i64> = 16..=16_777_216;

/// The number of tokens that no answer comes to.
pub(crate) const NO_LIMIT: u32 = u32::MAX;

/// Where the random numbers of an answer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seed {
    /// The same each time.
    Fixed(u64),
    /// Others each time, whatever the model's own settings say.
    Random,
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-1" {
            return Ok(Self::Random);
        }
        let seed = text.parse().map(Self::Fixed);
        seed.map_err(|_| format!("it is a whole number from 0 to {}, or -1 for any", u64::MAX))
    }
}

/// A number of tokens, or -1 for no limit.
pub(crate) fn tokens(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(1..) => text.parse().map_err(|_| expected_tokens()),
        Ok(-1_i64) => Ok(NO_LIMIT),
        _ => Err(expected_tokens()),
    }
}

fn expected_tokens() -> String {
    format!(
        "it is a whole number from 1 to {}, or -1 for no limit",
        u32::MAX
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_has_its_meaning_and_no_other_negative_number_has_one() {
        assert_eq!(tokens("-1"), Ok(NO_LIMIT));
        assert_eq!(tokens("7"), Ok(7));
        assert_eq!("-1".parse(), Ok(Seed::Random));
        assert_eq!("0".parse(), Ok(Seed::Fixed(0)));
        for text in ["0", "-2", "4294967296", "many", ""] {
            assert!(tokens(text).unwrap_err().contains("from 1 to"), "{text}");
        }
        for text in ["-2", "1.5", "18446744073709551616"] {
            assert!(
                text.parse::<Seed>().unwrap_err().contains("from 0 to"),
                "{text}"
            );
        }
    }
}
