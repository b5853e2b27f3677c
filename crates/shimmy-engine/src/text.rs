//! Bytes of tokens to text that may be shown: whole characters, never part of a stop text.
//!
//! Pure. The result does not depend on how the bytes were cut into tokens.

/// Assembles one answer.
#[derive(Debug, Default)]
pub struct TextAssembler {
    /// The beginning of a character whose other bytes have not come yet.
    partial: Vec<u8>,
    /// Text that may still turn out to be the beginning of a stop text.
    held: String,
    stops: Vec<String>,
}

/// What one token made of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Text that nothing can take back; may be empty.
    pub text: String,
    /// The stop text that was met; nothing after it is text of the answer.
    pub stop: Option<String>,
}

impl TextAssembler {
    /// An answer that ends before the first of `stops`, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Takes the bytes of one token.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        decode(&mut self.partial, bytes, &mut self.held);
        self.release()
    }

    /// Takes the end of the answer: what was held back is text after all, and a character that
    /// was never completed is shown as U+FFFD.
    pub fn finish(&mut self) -> Piece {
        let partial = std::mem::take(&mut self.partial);
        self.held.push_str(&String::from_utf8_lossy(&partial));
        let mut piece = self.release();
        if piece.stop.is_none() {
            piece.text.push_str(&std::mem::take(&mut self.held));
        }
        piece
    }

    fn release(&mut self) -> Piece {
        if let Some((start, stop)) = self.first_stop() {
            let stop = self.stops[stop].clone();
            self.held.truncate(start);
            return Piece {
                text: std::mem::take(&mut self.held),
                stop: Some(stop),
            };
        }
        let keep = self.longest_beginning_of_a_stop();
        let kept = self.held.split_off(self.held.len() - keep);
        Piece {
            text: std::mem::replace(&mut self.held, kept),
            stop: None,
        }
    }

    /// Where the stop text that is complete first begins, and which it is. Of two that end
    /// together, the longer.
    fn first_stop(&self) -> Option<(usize, usize)> {
        let matches = self.stops.iter().enumerate().filter_map(|(index, stop)| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, index))
        });
        matches.min().map(|(_, start, index)| (start, index))
    }

    /// Length of the longest end of the held text that a stop text begins with.
    fn longest_beginning_of_a_stop(&self) -> usize {
        let held = self.held.as_bytes();
        let longest = |stop: &String| {
            let most = held.len().min(stop.len() - 1);
            (1..=most)
                .rev()
                .find(|&n| held.ends_with(&stop.as_bytes()[..n]))
                .unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

/// Appends to `text` what is decided of `partial` followed by `bytes`, and leaves in `partial` an
/// incomplete character at the end. Bytes that can begin no character become U+FFFD, in the same
/// places as [`String::from_utf8_lossy`] puts it.
fn decode(partial: &mut Vec<u8>, bytes: &[u8], text: &mut String) {
    partial.extend_from_slice(bytes);
    let mut rest = partial.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                partial.clear();
                return;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(bad) = error.error_len() else {
                    *partial = after.to_vec();
                    return;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &after[bad..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assemble(chunks: &[&[u8]], stops: &[&str]) -> (String, Option<String>, Vec<String>) {
        let mut assembler = TextAssembler::new(stops.iter().map(|&s| s.to_owned()).collect());
        let mut events = Vec::new();
        for chunk in chunks {
            let piece = assembler.push(chunk);
            events.push(piece.text.clone());
            if piece.stop.is_some() {
                return (events.concat(), piece.stop, events);
            }
        }
        let piece = assembler.finish();
        events.push(piece.text);
        (events.concat(), piece.stop, events)
    }

    /// The answer's definition: feed one character at a time and end at the first stop text that
    /// is complete.
    fn expected(bytes: &[u8], stops: &[&str]) -> (String, Option<String>) {
        let whole = String::from_utf8_lossy(bytes);
        let mut seen = String::new();
        for character in whole.chars() {
            seen.push(character);
            let ended = stops
                .iter()
                .filter(|stop| seen.ends_with(**stop))
                .max_by_key(|s| s.len());
            if let Some(stop) = ended {
                seen.truncate(seen.len() - stop.len());
                return (seen, Some((*stop).to_owned()));
            }
        }
        (seen, None)
    }

    #[test]
    fn a_character_split_over_tokens_comes_whole() {
        let (text, _, events) = assemble(&[b"a\xf0\x9f", b"\x98", b"\x80b"], &[]);
        assert_eq!(text, "a😀b");
        assert_eq!(events, ["a", "", "😀b", ""]);
    }

    #[test]
    fn a_stop_split_over_tokens_never_leaks() {
        let (text, stop, events) = assemble(&[b"one EN", b"D", b" two"], &["END"]);
        assert_eq!((text.as_str(), stop.as_deref()), ("one ", Some("END")));
        assert_eq!(events, ["one ", ""]);
    }

    #[test]
    fn a_false_beginning_is_given_back() {
        let (text, stop, _) = assemble(&[b"EN", b"EN", b"E"], &["END"]);
        assert_eq!((text.as_str(), stop), ("ENENE", None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn text_does_not_depend_on_the_cuts(
            bytes in prop::collection::vec(
                prop_oneof![4 => Just(b'a'), 4 => Just(b'b'), 2 => Just(0xc3), 2 => Just(0xbc), 1 => any::<u8>()],
                0..40,
            ),
            cuts in prop::collection::vec(1_usize..5, 40),
            stops in prop::sample::subsequence(vec!["ab", "aab", "abab", "b\u{fc}", "\u{fc}a", "bbb"], 0..4),
        ) {
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let (text, stop, _) = assemble(&chunks, &stops);
            prop_assert_eq!((text, stop), expected(&bytes, &stops));
        }
    }
}
