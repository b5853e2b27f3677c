//! Batches, sequences and what is refused.

use std::sync::atomic::Ordering;

use shimmy_engine::{Batch, Row, Runner, RunnerError};
use shimmy_native::{NativeRunner, RunnerOptions};

use crate::support::{A, B, C, Files, bytes, options, prefill, push};

#[test]
fn only_rows_that_asked_have_logits() {
    let mut runner = Files::new().runner();
    let mut batch = Batch::default();
    let last = push(&mut batch, A, 0, &bytes("abc"));
    runner.decode(&batch).unwrap();
    assert!(runner.logits(0).is_none());
    assert_eq!(
        runner.logits(last).unwrap().len(),
        runner.limits().vocabulary
    );
    assert!(runner.logits(99).is_none());
}

#[test]
fn malformed_batches_are_refused_and_change_nothing() {
    let mut runner = Files::new().runner();
    let expected = prefill(&mut runner, A, 0, &bytes("hello"), 8);
    runner.truncate(A, 4);
    let vocabulary = runner.limits().vocabulary as u32;
    let row = |token, position, sequence| Row {
        token,
        position,
        sequence: shimmy_engine::SequenceId(sequence),
        output: true,
    };
    for bad in [
        row(vocabulary, 4, 0),
        row(1, 5, 0),
        row(1, 3, 0),
        row(1, 1, 1),
        row(1, 0, 4),
        row(1, 0, u32::MAX),
    ] {
        let mut batch = Batch::default();
        push(&mut batch, A, 4, &bytes("x"));
        batch.push(bad);
        // The first row makes the position after it the right one.
        if bad.position == 5 && bad.sequence == A {
            batch.clear();
            batch.push(bad);
        }
        assert_eq!(
            runner.decode(&batch),
            Err(RunnerError::InvalidBatch),
            "{bad:?}"
        );
        assert!(runner.logits(0).is_none());
    }
    let mut batch = Batch::default();
    push(&mut batch, B, 0, &[1; 33]);
    assert_eq!(runner.decode(&batch), Err(RunnerError::InvalidBatch));
    assert_eq!(prefill(&mut runner, A, 4, &bytes("o"), 8), expected);
}

#[test]
fn a_full_cache_refuses_the_batch_and_stays_as_it_was() {
    let files = Files::new();
    let options = RunnerOptions {
        cells: Some(64),
        sequences: 2,
        ..options()
    };
    let mut runner = NativeRunner::new(files.open().0, options).unwrap();
    // A block of sixty-four is promised; each sequence may part from the other and end in one more.
    for chunk in 0..10 {
        prefill(&mut runner, A, chunk * 32, &[7; 32], 32);
    }
    let mut batch = Batch::default();
    push(&mut batch, B, 0, &bytes("x"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::CacheFull));
    assert!(runner.truncate(A, 100));
    runner.decode(&batch).unwrap();
    assert!(runner.logits(0).is_some());
}

#[test]
fn a_reset_forgets_everything() {
    let mut runner = Files::new().runner();
    let expected = prefill(&mut runner, A, 0, &bytes("hello"), 8);
    prefill(&mut runner, B, 0, &bytes("other"), 8);
    runner.reset().unwrap();
    assert!(runner.logits(0).is_none());
    assert_eq!(prefill(&mut runner, A, 0, &bytes("hello"), 8), expected);
}

#[test]
fn an_interrupted_runner_computes_nothing_more() {
    let files = Files::new();
    let options = options();
    let abort = std::sync::Arc::clone(&options.abort);
    let mut runner = NativeRunner::new(files.open().0, options).unwrap();
    prefill(&mut runner, C, 0, &bytes("abc"), 8);
    runner.interrupter().unwrap()();
    assert!(abort.load(Ordering::Relaxed));
    let mut batch = Batch::default();
    push(&mut batch, A, 0, &bytes("x"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::Aborted));
    assert!(runner.logits(0).is_none());
}
