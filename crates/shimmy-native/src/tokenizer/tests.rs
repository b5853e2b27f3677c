//! What becomes of texts where no llama.cpp is needed to know it, and how quickly.

use std::time::Instant;

use shimmy_engine::{Specials, Tokenizer as _};
use shimmy_models::Metadata;
use shimmy_testkit::gguf::{Value, Writer};
use shimmy_testkit::tiny::encoder::{CLASS, SEPARATOR};
use shimmy_testkit::tiny::{Encoder, Model, Vocabulary};

use super::NativeTokenizer;

fn open(write: impl FnOnce(&std::path::Path) -> std::io::Result<()>) -> NativeTokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    write(&path).unwrap();
    let (metadata, bytes) = (
        Metadata::open(&path).unwrap(),
        std::fs::read(&path).unwrap(),
    );
    NativeTokenizer::new(&metadata, &bytes).unwrap()
}

#[test]
fn an_encoder_reads_letters_and_puts_marks_around_them() {
    let tokenizer = open(|path| Encoder::new().write(path));
    // Five special tokens, then letters and digits at the beginning of a word, then within one.
    let (begins, within) = (5, 5 + 36);
    let tokens = |text| tokenizer.tokenize(text, Specials::Parse).unwrap();
    assert_eq!(
        tokens("Ça b1"),
        [begins + 2, within, begins + 1, within + 27]
    );
    assert_eq!(tokens("a! a"), [begins, 1, begins]);
    assert_eq!(tokens("a[MASK]"), [begins, 4]);
    assert_eq!(tokenizer.beginning_of_sequence(), Some(CLASS));
    assert_eq!(tokenizer.end_of_sequence(), None);
    assert_eq!(tokenizer.text_marks().end, Some(SEPARATOR));
    assert_eq!(tokenizer.text_marks().between, [SEPARATOR]);
}

#[test]
fn a_word_without_tokens_is_an_error_where_none_is_for_it() {
    let letters = ["▁a", "b"].map(ToOwned::to_owned).to_vec();
    let mut file = Writer::new();
    file.metadata("general.architecture", "bert")
        .metadata("tokenizer.ggml.model", "bert")
        .metadata("tokenizer.ggml.tokens", Value::Strings(letters));
    let tokenizer = open(|path| file.write(path));
    let tokens = |text| tokenizer.tokenize(text, Specials::Parse);
    assert_eq!(tokens("abb").unwrap(), [0, 1, 1]);
    assert!(tokens("abc").is_err());
}

/// Milliseconds until a vocabulary of 150,000 tokens is ready, and for 10 MB of texts, the worst among them.
#[test]
#[ignore = "measures"]
fn figures_of_word_pieces() {
    let model = Model::new().vocabulary(Vocabulary::many_word_pieces(150_000));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.gguf");
    model.write(&path).unwrap();
    let metadata = Metadata::open(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let best = |work: &mut dyn FnMut()| {
        let times = (0..5).map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let mut tokenizer = None;
    let ready = best(&mut || tokenizer = Some(NativeTokenizer::new(&metadata, &bytes).unwrap()));
    let tokenizer = tokenizer.unwrap();
    println!("{} tokens: ready in {ready:.1} ms", tokenizer.vocabulary());
    let prose = include_str!("../../tests/reference/prose.txt");
    for (name, part) in [
        ("prose", prose),
        ("one word of a letter", "a"),
        (
            "one word of all letters",
            "thequickbrownfoxjumpsoverthelazydog",
        ),
        ("one word that ends unknown", "un"),
        ("accents", "É"),
        ("Chinese", "中文"),
        ("special tokens", "[MASK]"),
        ("beginnings of special tokens", "["),
    ] {
        let text = part.repeat(10_000_000 / part.len());
        let time = best(&mut || {
            tokenizer.tokenize(&text, Specials::Parse).unwrap();
        });
        println!("10 MB of {name}: {time:.0} ms");
    }
}
