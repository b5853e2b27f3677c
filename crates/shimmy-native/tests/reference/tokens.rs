//! Texts to tokens and back.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shimmy_engine::{Specials, Tokenizer};
use shimmy_llama::LlamaTokenizer;
use shimmy_native::{NativeTokenizer, Options};

use super::{TEXT, models, reference_model};

fn tokenizers() -> Vec<(String, NativeTokenizer, LlamaTokenizer)> {
    let (_dir, paths) = models();
    let of = |path: &std::path::PathBuf| {
        let (_, native) = shimmy_native::open(path, &Options::default()).unwrap();
        let llama = LlamaTokenizer::new(reference_model(path)).unwrap();
        (path.display().to_string(), native, llama)
    };
    paths.iter().map(of).collect()
}

pub(super) fn same(name: &str, native: &NativeTokenizer, llama: &LlamaTokenizer, text: &str) {
    for specials in [Specials::Parse, Specials::Literal] {
        let expected = llama.tokenize(text, specials).unwrap();
        let tokens = native.tokenize(text, specials).unwrap();
        assert_eq!(tokens, expected, "{name} {specials:?}: {text:?}");
    }
}

/// Texts of what tokenizers treat differently, next to each other.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z]{1,8}",
        "[0-9]{1,5}",
        "[ \t\n\r\u{a0}\u{2003}]{1,5}",
        "[.,;:!?'\"(){}<>|_#$%&*+=~^`@\\[\\]/\\\\-]{1,4}",
        "'(s|t|re|ve|m|ll|d|S|T|RE|Ve|LL|x)",
        "[äöüßéèñçøåÄÖÜ]{1,4}",
        "[\u{4e00}-\u{4e40}\u{3040}-\u{3060}\u{ac00}-\u{ac20}]{1,4}",
        "[😀🎉👍\u{200d}\u{fe0f}\u{301}\u{345}½Ⅳ٣]{1,3}",
        prop::sample::select(vec![
            "<|im_start|>",
            "<|im_end|>",
            "<|endoftext|>",
            "<start_of_turn>",
            "<end_of_turn>",
            "<bos>",
            "<eos>",
            "<unused5>",
            "<s>",
            "</s>",
            "<h1>",
            "<table>",
            "\n\n\n",
            "▁▁",
            "  ",
            "<|im_",
            "<0x41>",
            "\0",
        ])
        .prop_map(ToOwned::to_owned),
        // Characters that every version of Unicode's tables calls the same.
        "[\u{1}-\u{52f}\u{900}-\u{c00}\u{1f00}-\u{1fff}\u{2000}-\u{2bff}\u{3040}-\u{9ff0}]",
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

#[test]
fn texts_become_the_same_tokens() {
    for (name, native, llama) in tokenizers() {
        same(&name, &native, &llama, "");
        same(&name, &native, &llama, TEXT);
        same(&name, &native, &llama, &TEXT.repeat(20));
        same(&name, &native, &llama, &"a".repeat(3000));
        same(&name, &native, &llama, &" ".repeat(3000));
        let mut runner = TestRunner::new(Config::with_cases(3000));
        runner
            .run(&text(), |text| {
                same(&name, &native, &llama, &text);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn tokens_mean_the_same() {
    for (name, native, llama) in tokenizers() {
        same_meaning(&name, &native, &llama);
    }
}

/// Every token has the same meaning.
pub(super) fn same_meaning(name: &str, native: &NativeTokenizer, llama: &LlamaTokenizer) {
    assert_eq!(native.vocabulary(), llama.vocabulary());
    assert_eq!(
        native.beginning_of_sequence(),
        llama.beginning_of_sequence(),
        "{name}"
    );
    assert_eq!(native.end_of_sequence(), llama.end_of_sequence(), "{name}");
    assert_eq!(native.text_marks(), llama.text_marks(), "{name}");
    assert_eq!(
        native.fill_in_the_middle(),
        llama.fill_in_the_middle(),
        "{name}"
    );
    let sorted = |texts: &[String]| {
        let mut texts = texts.to_vec();
        texts.sort();
        texts
    };
    assert_eq!(
        sorted(native.special_texts()),
        sorted(llama.special_texts()),
        "{name}"
    );
    for token in 0..native.vocabulary() as u32 {
        let ends = (
            native.is_end_of_generation(token),
            llama.is_end_of_generation(token),
        );
        assert_eq!(ends.0, ends.1, "{name}: does {token} end an answer?");
        assert_eq!(
            native.is_control(token),
            llama.is_control(token),
            "{name}: {token}"
        );
        for specials in [Specials::Parse, Specials::Literal] {
            let (mut piece, mut expected) = (Vec::new(), Vec::new());
            native.append_piece(token, specials, &mut piece);
            llama.append_piece(token, specials, &mut expected);
            assert_eq!(piece, expected, "{name}: {token} {specials:?}");
        }
    }
}
