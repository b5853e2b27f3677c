//! Models that read texts as a whole: the same vectors in any company, and nothing else of them.

use proptest::prelude::*;
use shimmy_engine::{Batch, Pooling, Runner, RunnerError, Token};
use shimmy_native::{CacheType, NativeRunner, RunnerOptions};
use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny::Encoder;

use crate::support::{A, Files, options, push};

/// Tokens of the longest text.
const LONGEST: usize = 128;

/// Texts of any lengths.
fn texts() -> impl Strategy<Value = Vec<Vec<Token>>> {
    let length = prop_oneof![1..8_usize, 1..=LONGEST, Just(LONGEST)];
    let text = length.prop_flat_map(|length| prop::collection::vec(0..77_u32, length));
    prop::collection::vec(text, 1..9)
}

fn encoder() -> impl Strategy<Value = Encoder> {
    let families = vec![Encoder::new(), Encoder::nomic()];
    let family = prop::sample::select(families);
    let kinds = vec![TensorType::F32, TensorType::F16, TensorType::Q8_0];
    (family, 1..4_u32, prop::sample::select(kinds))
        .prop_map(|(encoder, pooling, kind)| encoder.pooling(pooling).weights(kind))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_text_has_the_same_bits_in_any_company_and_on_any_number_of_threads(
        encoder in encoder(),
        texts in texts(),
        threads in 1..4_usize,
        batch in 1..300_usize,
    ) {
        let files = Files::of_encoder(&encoder);
        let (model, _) = files.open();
        let runner = |threads, batch| {
            let options = RunnerOptions { threads: Some(threads), batch, ..options() };
            NativeRunner::new(model.clone(), options).unwrap()
        };
        let mut one = runner(1, 512);
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .map(|text| one.embed(std::slice::from_ref(text)).unwrap().remove(0))
            .collect();
        prop_assert!(alone.iter().flatten().all(|value| value.is_finite()));
        prop_assert_eq!(runner(threads, batch).embed(&texts).unwrap(), alone);
    }
}

#[test]
fn an_encoder_makes_vectors_and_says_that_it_does_nothing_else() {
    let files = Files::of_encoder(&Encoder::new().pooling(2));
    let mut runner = files.runner();
    assert!(!runner.limits().generates);
    assert!(!runner.embeds_in_parts(), "every token sees all others");
    assert_eq!(runner.embedding(), Some((Pooling::Cls, LONGEST)));
    let (model, _) = files.open();
    assert_eq!(model.bytes_per_cell(CacheType::F16), 0);
    let mut batch = Batch::default();
    push(&mut batch, A, 0, &[1, 2]);
    assert_eq!(runner.decode(&batch), Err(RunnerError::InvalidBatch));
    assert_eq!(runner.logits(0), None);
    let part = runner.embed_part(&[1, 2], 0..1);
    assert_eq!(part, Err(RunnerError::InvalidBatch));
}

#[test]
fn every_token_counts_in_its_place_and_a_text_that_is_too_long_is_refused() {
    for pooling in [1, 2, 3] {
        for encoder in [Encoder::new(), Encoder::nomic()] {
            let mut runner = Files::of_encoder(&encoder.pooling(pooling)).runner();
            let text: Vec<Token> = (0..LONGEST as u32).map(|place| 5 + place % 70).collect();
            let vector = runner.embed(std::slice::from_ref(&text)).unwrap();
            for place in [0, 1, 63, 64, LONGEST - 1] {
                let mut other = text.clone();
                other[place] = 76;
                assert_ne!(runner.embed(&[other]).unwrap(), vector, "{place}");
            }
            let mut turned = text.clone();
            turned.swap(20, 21);
            assert_ne!(runner.embed(&[turned]).unwrap(), vector);
            let longer = [&text[..], &[5]].concat();
            assert_eq!(runner.embed(&[longer]), Err(RunnerError::InvalidBatch));
            assert_eq!(runner.embed(&[text]).unwrap(), vector);
        }
    }
}

#[test]
fn a_head_makes_one_score_of_a_text() {
    let mut runner = Files::of_encoder(&Encoder::new().pooling(4)).runner();
    assert_eq!(runner.embedding(), Some((Pooling::Rank, LONGEST)));
    let scores = runner.embed(&[vec![2, 9, 3], vec![2, 8, 7, 3]]).unwrap();
    assert!(scores.iter().all(|score| score.len() == 1), "{scores:?}");
    assert_ne!(scores[0], scores[1]);
    assert_eq!(runner.embed(&[vec![2, 8, 7, 3]]).unwrap()[0], scores[1]);
}
