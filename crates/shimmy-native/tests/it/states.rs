//! Sequences as bytes, and back.

use shimmy_engine::Runner;
use shimmy_testkit::tiny::{Architecture, Model};

use crate::support::{A, B, C, CACHE_TYPES, Files, bytes, prefill};

#[test]
fn a_restored_sequence_goes_on_with_the_same_bits() {
    let files = Files::new();
    for cache_type in CACHE_TYPES {
        let mut runner = files.runner_with(cache_type);
        let text = bytes(&"the hello user ".repeat(9));
        prefill(&mut runner, A, 0, &text, 32);
        let state = runner.save(A).unwrap();
        let expected = prefill(&mut runner, A, text.len(), &bytes("what"), 8);

        let mut other = files.runner_with(cache_type);
        prefill(&mut other, B, 0, &bytes("something else"), 8);
        assert!(other.restore(C, &state));
        assert_eq!(
            prefill(&mut other, C, text.len(), &bytes("what"), 8),
            expected
        );
        // A restored sequence is one like others: it can be forked and cut.
        assert!(other.copy(C, A, 50));
        prefill(&mut other, A, 50, &text[50..], 32);
        assert_eq!(
            prefill(&mut other, A, text.len(), &bytes("what"), 8),
            expected
        );
    }
}

#[test]
fn a_state_is_of_one_type_of_cache() {
    let files = Files::of(&Model::of(Architecture::wide()));
    let [mut halves, mut in_eight] = CACHE_TYPES.map(|cache_type| files.runner_with(cache_type));
    let text = bytes(&"the hello user ".repeat(9));
    let in_halves = prefill(&mut halves, A, 0, &text, 32);
    let in_bytes = prefill(&mut in_eight, A, 0, &text, 32);
    // They are other numbers, and nearly the same.
    assert_ne!(in_halves, in_bytes);
    let largest = in_halves.iter().fold(0.0_f32, |all, x| all.max(x.abs()));
    for (half, byte) in in_halves.iter().zip(&in_bytes) {
        assert!((half - byte).abs() < 0.02 * largest, "{half} {byte}");
    }
    let [of_halves, of_bytes] = [halves.save(A).unwrap(), in_eight.save(A).unwrap()];
    assert!(!halves.restore(B, &of_bytes));
    assert!(!in_eight.restore(B, &of_halves));
    assert!(of_bytes.len() * 10 < of_halves.len() * 7);
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let files = Files::new();
    let mut runner = files.runner();
    prefill(&mut runner, A, 0, &bytes("hello"), 8);
    let state = runner.save(A).unwrap();
    assert!(!runner.restore(A, &state));
    assert!(!runner.restore(B, &state[1..]));
    assert!(!runner.restore(B, b""));
    assert!(runner.restore(B, &state));
    assert_eq!(runner.save(shimmy_engine::SequenceId(99)), None);
}
