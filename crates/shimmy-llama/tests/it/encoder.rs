//! A model that reads texts as a whole: it makes vectors, and nothing else.

use std::sync::Arc;

use shimmy_engine::{Pooling, Runner, Specials, TextMarks, Token, Tokenizer};
use shimmy_llama::{LlamaRunner, LlamaTokenizer, LoadOptions, Model, RunnerOptions};
use shimmy_testkit::tiny::{Encoder, encoder};

use crate::support::Files;

fn open(encoder: &Encoder) -> (LlamaRunner, LlamaTokenizer) {
    let files = Files::new();
    let path = files.path("encoder.gguf");
    encoder.write(&path).unwrap();
    let model = Model::load(&path, &LoadOptions::default()).unwrap();
    let runner = LlamaRunner::new(Arc::clone(&model), RunnerOptions::default()).unwrap();
    (runner, LlamaTokenizer::new(model).unwrap())
}

/// A text as the model was trained to find it.
fn marked(tokenizer: &LlamaTokenizer, text: &str) -> Vec<Token> {
    let mut tokens = tokenizer.tokenize(text, Specials::Literal).unwrap();
    tokens.insert(0, tokenizer.beginning_of_sequence().unwrap());
    tokens.extend(tokenizer.text_marks().end);
    tokens
}

#[test]
fn an_encoder_makes_vectors_and_says_that_it_does_nothing_else() {
    let (mut runner, tokenizer) = open(&Encoder::new());
    assert!(!runner.limits().generates);
    assert!(!runner.embeds_in_parts(), "every token sees all others");
    assert_eq!(runner.embedding(), Some((Pooling::Mean, 128)));
    let texts = ["one text", "another", "one text"].map(|text| marked(&tokenizer, text));
    let vectors = runner.embed(&texts).unwrap();
    assert_eq!(vectors[0].len(), 64);
    assert_ne!(vectors[0], vectors[1]);
    assert_eq!(vectors[0], vectors[2]);
    // Nothing is left of them, and a failure elsewhere changes nothing.
    runner.reset().unwrap();
    let alone = runner.embed(&texts[1..2]).unwrap();
    let distance = alone[0].iter().zip(&vectors[1]).map(|(a, b)| (a - b).abs());
    assert!(distance.sum::<f32>() < 1e-3);
}

#[test]
fn a_text_of_the_longest_length_is_read_whole() {
    let (mut runner, tokenizer) = open(&Encoder::new().pooling(2));
    assert_eq!(runner.embedding(), Some((Pooling::Cls, 128)));
    let text = marked(&tokenizer, &"a ".repeat(126));
    assert_eq!(text.len(), 128);
    let mut other = text.clone();
    other[126] = marked(&tokenizer, "z")[1];
    let vectors = |texts: &[Vec<Token>], runner: &mut LlamaRunner| runner.embed(texts).unwrap();
    let (one, two) = (
        vectors(&[text], &mut runner),
        vectors(&[other], &mut runner),
    );
    assert_ne!(one, two, "the last word counts");
}

#[test]
fn texts_and_pairs_have_the_marks_of_the_vocabulary() {
    let (_, tokenizer) = open(&Encoder::new());
    assert_eq!(tokenizer.beginning_of_sequence(), Some(encoder::CLASS));
    let marks = TextMarks {
        between: vec![encoder::SEPARATOR],
        end: Some(encoder::SEPARATOR),
    };
    assert_eq!(tokenizer.text_marks(), marks);
}
