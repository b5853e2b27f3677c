//! Vectors of texts.

use shimmy_engine::{AdapterId, AdapterScale, Pooling, Runner, RunnerError};
use shimmy_native::{NativeRunner, RunnerOptions};
use shimmy_testkit::tiny;

use crate::support::{A, Files, bytes, options, prefill, prefill_with};

#[test]
fn a_text_has_the_same_vector_in_any_company_and_the_cache_stays() {
    let files = Files::new();
    let mut runner = files.runner();
    assert_eq!(runner.embedding().unwrap().0, Pooling::Mean);
    let expected = prefill(&mut files.runner(), A, 0, &bytes("hello you"), 8);
    prefill(&mut runner, A, 0, &bytes("hello y"), 8);
    // Longer than a batch of 32 rows.
    let texts = [bytes("abc"), bytes(&"long ".repeat(20)), bytes("b")];
    let together = runner.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        assert_eq!(
            &runner.embed(std::slice::from_ref(text)).unwrap()[0],
            vector
        );
        assert!(vector.iter().any(|&value| value != 0.0));
    }
    assert_ne!(together[0], together[2]);
    assert_eq!(prefill(&mut runner, A, 7, &bytes("ou"), 8), expected);
    assert_eq!(runner.embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
    let unknown = vec![runner.limits().vocabulary as u32];
    assert_eq!(runner.embed(&[unknown]), Err(RunnerError::InvalidBatch));
}

#[test]
fn a_text_in_parts_has_the_very_vector_it_has_as_a_whole() {
    let files = Files::new();
    let mut runner = files.runner();
    assert!(runner.embeds_in_parts());
    let text = bytes(&"long ".repeat(30));
    let whole = runner.embed(std::slice::from_ref(&text)).unwrap().remove(0);
    // One that is not finished leaves nothing behind.
    assert_eq!(runner.embed_part(&text, 0..7), Ok(None));
    assert_eq!(runner.embed_part(&text, 0..65), Ok(None));
    prefill(&mut runner, A, 0, &bytes("in between"), 8);
    assert_eq!(runner.embed_part(&text, 65..66), Ok(None));
    assert_eq!(runner.embed_part(&text, 66..text.len()), Ok(Some(whole)));
    let gap = runner.embed_part(&text, 3..5);
    assert_eq!(gap, Err(RunnerError::InvalidBatch));
}

#[test]
fn adapters_do_not_change_vectors() {
    let files = Files::new();
    let path = files.path("adapter.gguf");
    tiny::Adapter::new().write(&path).unwrap();
    let options = RunnerOptions {
        adapters: vec![path],
        ..options()
    };
    let mut runner = NativeRunner::new(files.open().0, options).unwrap();
    let plain = runner.embed(&[bytes("hello")]).unwrap();
    let adapters = [AdapterScale {
        id: AdapterId(0),
        scale: 1.0,
    }];
    let mut spoken = |adapters: &[AdapterScale]| {
        runner.truncate(A, 0);
        let logits = prefill_with(
            &mut runner,
            adapters,
            A,
            0,
            [&bytes("hello")[..]].into_iter(),
        );
        (logits, runner.embed(&[bytes("hello")]).unwrap())
    };
    let (without, with) = (spoken(&[]), spoken(&adapters));
    assert_ne!(with.0, without.0);
    assert_eq!(with.1, plain);
}
