//! Sequences as bytes, and back.

use shimmy_engine::Runner;

use crate::support::{A, B, C, Files, bytes, prefill};

#[test]
fn a_restored_sequence_goes_on_with_the_same_bits() {
    let files = Files::new();
    let mut runner = files.runner();
    let text = bytes(&"the hello user ".repeat(9));
    prefill(&mut runner, A, 0, &text, 32);
    let state = runner.save(A).unwrap();
    let expected = prefill(&mut runner, A, text.len(), &bytes("what"), 8);

    let mut other = files.runner();
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
