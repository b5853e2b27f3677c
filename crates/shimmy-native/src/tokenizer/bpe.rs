//! Byte-level byte-pair encoding. Owns GPT-2's alphabet, in which every byte is a character, and the
//! merging of pairs by rank.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use shimmy_engine::Token;
use shimmy_models::Metadata;

use super::arrays::{self, Texts};
use super::classes::Classes;
use super::symbols::Symbols;
use super::table::{Table, hash_pair};
use super::vocabulary::Vocabulary;
use super::words::Rule;
use crate::error::Fault;

/// Merges and the rule of splitting.
#[derive(Debug)]
pub(super) struct BytePairs {
    rule: Rule,
    classes: Classes,
    /// `left right`, by rank.
    merges: Texts,
    by_pair: Table,
    alphabet: Alphabet,
}

impl BytePairs {
    pub(super) fn read(metadata: &Metadata, file: &[u8], rule: Rule) -> Result<Self, Fault> {
        let key = "tokenizer.ggml.merges";
        let merges = arrays::texts(metadata, file, key)?;
        let merges = merges.ok_or_else(|| Fault::Key(key.to_owned()))?;
        let mut by_pair = Table::new(merges.len());
        for rank in 0..merges.len() {
            if let Some((left, right)) = pair(merges.get(rank)) {
                let hash = hash_pair(left, right);
                let is_same = |other: usize| merges.get(other) == merges.get(rank);
                // Of equal ones the first counts.
                if by_pair.find(hash, is_same).is_none() {
                    by_pair.replace(hash, rank, is_same);
                }
            }
        }
        Ok(Self {
            rule,
            classes: Classes::new(),
            merges,
            by_pair,
            alphabet: Alphabet::new(),
        })
    }

    /// Appends the tokens of a text without special tokens.
    pub(super) fn tokenize(&self, vocabulary: &Vocabulary, text: &str, out: &mut Vec<Token>) {
        let mut scratch = Scratch::default();
        self.rule.split(&self.classes, text, |word| {
            scratch.word.clear();
            for &byte in word.as_bytes() {
                self.alphabet.push(byte, &mut scratch.word);
            }
            self.merge(vocabulary, &mut scratch, out);
        });
    }

    /// Appends the bytes that a token's text stands for; characters beyond the alphabet as they are.
    pub(super) fn decode(&self, text: &[u8], out: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(text) else {
            return out.extend_from_slice(text);
        };
        for character in text.chars() {
            match self.alphabet.byte(character) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn merge(&self, vocabulary: &Vocabulary, scratch: &mut Scratch, out: &mut Vec<Token>) {
        let Scratch {
            word,
            symbols,
            heap,
        } = scratch;
        // Most words of a text are tokens; where merging is asked for, it leads there only if every
        // part of the way is a merge, so it has to be gone.
        if self.rule.whole_words
            && let Some(token) = vocabulary.token(word)
        {
            return out.push(token);
        }
        symbols.fill(word);
        heap.clear();
        for left in 0..symbols.len().saturating_sub(1) {
            self.offer(word, symbols, left, heap);
        }
        while let Some(Reverse((_, left, size))) = heap.pop() {
            let (left, size) = (left as usize, size as usize);
            if !symbols.merge(left, size) {
                continue;
            }
            if let Some(before) = symbols.before(left) {
                self.offer(word, symbols, before, heap);
            }
            self.offer(word, symbols, left, heap);
        }
        for range in symbols.ranges() {
            match vocabulary.token(&word[range.clone()]) {
                Some(token) => out.push(token),
                // As llama.cpp: bytes of the text, those of them that are tokens.
                None => out.extend(
                    word[range]
                        .chunks(1)
                        .filter_map(|byte| vocabulary.token(byte)),
                ),
            }
        }
    }

    /// Adds the pair that begins with a symbol, if it can be merged.
    fn offer(&self, word: &[u8], symbols: &Symbols, left: usize, heap: &mut Heap) {
        let Some((left_range, right_range)) = symbols.pair(left) else {
            return;
        };
        let size = left_range.len() + right_range.len();
        let (first, second) = (&word[left_range], &word[right_range]);
        let is_same = |rank: usize| pair(self.merges.get(rank)) == Some((first, second));
        if let Some(rank) = self.by_pair.find(hash_pair(first, second), is_same) {
            heap.push(Reverse((rank as u32, left as u32, size as u32)));
        }
    }
}

/// Pairs by rank, then by place, with their size.
type Heap = BinaryHeap<Reverse<(u32, u32, u32)>>;

#[derive(Debug, Default)]
struct Scratch {
    word: Vec<u8>,
    symbols: Symbols,
    heap: Heap,
}

/// The halves of a merge, which a space divides; the first has a character at least.
fn pair(merge: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = merge.iter().skip(1).position(|&byte| byte == b' ')? + 1;
    Some((&merge[..at], &merge[at + 1..]))
}

/// GPT-2's characters for bytes: printable ones of Latin-1 stand for themselves, the others for
/// those from U+0100 on.
#[derive(Debug)]
struct Alphabet {
    characters: [char; 256],
    bytes: [Option<u8>; 512],
}

impl Alphabet {
    fn new() -> Self {
        let mut others = '\u{100}'..;
        let characters: [char; 256] = std::array::from_fn(|byte| match byte as u8 {
            byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(byte),
            _ => others.next().unwrap_or_default(),
        });
        let mut bytes = [None; 512];
        for (byte, &character) in (0..=u8::MAX).zip(&characters) {
            bytes[character as usize] = Some(byte);
        }
        Self { characters, bytes }
    }

    fn push(&self, byte: u8, out: &mut Vec<u8>) {
        let character = self.characters[usize::from(byte)];
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn byte(&self, character: char) -> Option<u8> {
        self.bytes.get(character as usize).copied().flatten()
    }
}
