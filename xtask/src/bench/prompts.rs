//! Prompts of a wanted length that are the same in every run: words from a list, drawn by a
//! generator with a seed. How many tokens a word is, the model's own tokenizer is asked.

use anyhow::{Result, ensure};

/// Common words, which most vocabularies have as one token each.
const WORDS: [&str; 96] = [
    "time", "water", "house", "light", "river", "stone", "garden", "window", "paper", "music",
    "summer", "winter", "morning", "evening", "mountain", "forest", "bridge", "market", "village",
    "island", "ocean", "machine", "engine", "travel", "story", "letter", "number", "family",
    "friend", "teacher", "student", "doctor", "kitchen", "table", "chair", "bottle", "glass",
    "metal", "wood", "silver", "gold", "green", "yellow", "white", "black", "early", "late",
    "quick", "slow", "heavy", "small", "large", "simple", "strong", "quiet", "bright", "dark",
    "warm", "cold", "north", "south", "east", "west", "field", "animal", "horse", "bird", "fish",
    "tree", "flower", "grass", "road", "train", "ship", "city", "street", "door", "wall", "roof",
    "floor", "bread", "milk", "fruit", "sugar", "salt", "coffee", "science", "history", "nature",
    "language", "picture", "color", "sound", "voice", "dream", "memory",
];

/// An endless row of words.
#[derive(Debug)]
pub(super) struct Words {
    state: u64,
}

impl Words {
    /// Different words for every different list of numbers.
    pub(super) fn new(seeds: &[u64]) -> Self {
        let mut words = Self { state: 0 };
        for &seed in seeds {
            words.state = words.next_random() ^ seed;
        }
        words
    }

    /// The next `count` words as one text.
    pub(super) fn text(&mut self, count: usize) -> String {
        let words: Vec<&str> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }

    fn word(&mut self) -> &'static str {
        WORDS[(self.next_random() % WORDS.len() as u64) as usize]
    }

    /// Source: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
    /// Generators", 2014).
    fn next_random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What a model's tokenizer and template make of words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ruler {
    tokens_per_word: f64,
    /// Tokens of a chat prompt beside its words.
    around: f64,
}

impl Ruler {
    /// From two chat prompts: how many words each had, and how many tokens it was.
    pub(super) fn fit(short: (usize, u64), long: (usize, u64)) -> Result<Self> {
        let words = long.0 as f64 - short.0 as f64;
        let tokens_per_word = (long.1 as f64 - short.1 as f64) / words;
        ensure!(
            words > 0.0 && tokens_per_word > 0.0,
            "prompts of {short:?} and {long:?} words and tokens give no measure"
        );
        Ok(Self {
            tokens_per_word,
            around: short.1 as f64 - short.0 as f64 * tokens_per_word,
        })
    }

    /// The words of a chat prompt that has so many tokens in all.
    pub(super) fn words_of_prompt(&self, tokens: u64) -> usize {
        self.words_of_text((tokens as f64 - self.around).max(1.0))
    }

    /// The words of a text of so many tokens, without a template.
    pub(super) fn words_of_text(&self, tokens: f64) -> usize {
        (tokens / self.tokens_per_word).round().max(1.0) as usize
    }
}

/// Whether a prompt has the length that its workload is named for, as the server counted it.
pub(super) fn check_length(tokens: f64, wanted: u64) -> Result<()> {
    let slack = wanted as f64 * 0.05 + 4.0;
    ensure!(
        (tokens - wanted as f64).abs() <= slack,
        "a prompt of {tokens} tokens where {wanted} were meant"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seeds_give_the_same_text_and_others_another() {
        let text = |seeds: &[u64]| Words::new(seeds).text(12);
        assert_eq!(text(&[1, 2]), text(&[1, 2]));
        let texts = [&[1, 2], &[2, 1], &[0, 0], &[1, 3], &[0, 1]];
        let different: HashSet<String> = texts.into_iter().map(|seeds| text(seeds)).collect();
        assert_eq!(different.len(), texts.len());
        assert_eq!(text(&[5]).split(' ').count(), 12);
    }

    #[test]
    fn no_word_comes_twice_in_the_list() {
        let different: HashSet<&str> = WORDS.into_iter().collect();
        assert_eq!(different.len(), WORDS.len());
    }

    #[test]
    fn a_length_in_tokens_is_found_from_two_prompts() {
        // 1.5 tokens a word, 20 around them.
        let ruler = Ruler::fit((40, 80), (240, 380)).expect("a measure");
        assert_eq!(ruler.words_of_prompt(1520), 1000);
        assert_eq!(ruler.words_of_text(33.0), 22);
        assert_eq!(ruler.words_of_prompt(5), 1);
        assert!(Ruler::fit((40, 80), (40, 380)).is_err());
        assert!(Ruler::fit((40, 80), (240, 80)).is_err());
    }

    #[test]
    fn a_prompt_of_another_length_is_refused() {
        assert!(check_length(1500.0, 1536).is_ok());
        assert!(check_length(1400.0, 1536).is_err());
        assert!(check_length(1700.0, 1536).is_err());
    }
}
