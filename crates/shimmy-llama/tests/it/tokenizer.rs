//! Text to tokens and back.

use shimmy_engine::{Specials, Token, Tokenizer};
use shimmy_llama::LlamaTokenizer;
use shimmy_testkit::tiny;

use crate::support::Files;

fn tokenizer() -> LlamaTokenizer {
    LlamaTokenizer::new(Files::new().model()).unwrap()
}

fn text(tokenizer: &LlamaTokenizer, tokens: &[Token], specials: Specials) -> String {
    let mut out = Vec::new();
    for &token in tokens {
        tokenizer.append_piece(token, specials, &mut out);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn text_comes_back_as_it_went_in() {
    let tokenizer = tokenizer();
    let long = "the hello \u{1f600} ".repeat(5000);
    for original in [
        "",
        " ",
        "hello the user",
        "Grüße, é, 😀, 漢字\n\n\t",
        "a\0b\0",
        &long,
    ] {
        for specials in [Specials::Literal, Specials::Parse] {
            let tokens = tokenizer.tokenize(original, specials).unwrap();
            assert_eq!(text(&tokenizer, &tokens, specials), original);
        }
    }
}

#[test]
fn merges_are_applied() {
    let tokens = tokenizer().tokenize("hello", Specials::Literal).unwrap();
    assert_eq!(tokens.len(), 1);
}

#[test]
fn special_text_is_a_token_only_when_it_is_parsed() {
    let tokenizer = tokenizer();
    let original = "<|im_start|>user";
    let parsed = tokenizer.tokenize(original, Specials::Parse).unwrap();
    assert_eq!(parsed[0], tiny::IM_START);
    assert!(tokenizer.is_control(parsed[0]));
    assert_eq!(text(&tokenizer, &parsed, Specials::Parse), original);
    assert_eq!(text(&tokenizer, &parsed, Specials::Literal), "user");

    let literal = tokenizer.tokenize(original, Specials::Literal).unwrap();
    assert!(literal.iter().all(|&token| !tokenizer.is_control(token)));
    assert_eq!(text(&tokenizer, &literal, Specials::Literal), original);
}

#[test]
fn special_texts_are_those_that_parsing_turns_into_tokens() {
    let tokenizer = tokenizer();
    assert_eq!(
        tokenizer.special_texts(),
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    );
    for special in tokenizer.special_texts() {
        assert_eq!(
            tokenizer.tokenize(special, Specials::Parse).unwrap().len(),
            1
        );
    }
}

#[test]
fn special_tokens_are_the_vocabularys_own() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.vocabulary(), tiny::VOCABULARY_SIZE as usize);
    assert_eq!(tokenizer.end_of_sequence(), Some(tiny::EOS));
    assert!(tokenizer.is_end_of_generation(tiny::EOS));
    assert!(!tokenizer.is_end_of_generation(0));
    assert_eq!(tokenizer.beginning_of_sequence(), None);

    let files = Files::new();
    tiny::Model::new()
        .add_bos(true)
        .write(&files.path("tiny.gguf"))
        .unwrap();
    let tokenizer = LlamaTokenizer::new(files.model()).unwrap();
    assert_eq!(tokenizer.beginning_of_sequence(), Some(tiny::BOS));
    // Not added by itself.
    assert_eq!(tokenizer.tokenize("x", Specials::Parse).unwrap().len(), 1);
}

#[test]
fn a_token_out_of_the_vocabulary_is_nothing() {
    let tokenizer = tokenizer();
    for token in [tiny::VOCABULARY_SIZE, Token::MAX] {
        let mut out = b"kept".to_vec();
        tokenizer.append_piece(token, Specials::Parse, &mut out);
        assert_eq!(out, b"kept");
        assert!(!tokenizer.is_control(token) && !tokenizer.is_end_of_generation(token));
    }
}
