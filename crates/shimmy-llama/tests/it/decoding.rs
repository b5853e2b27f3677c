//! Batches, sequences and the cache.

use shimmy_engine::{Batch, Row, Runner, RunnerError, SequenceId, Token};
use shimmy_llama::{
    AbortFlag, Context, ContextOptions, DecodeError, InvalidBatch, LlamaRunner, Pool, RunnerOptions,
};

use crate::support::{A, B, Files, answer, bytes, generate, greedy, options, prefill, push};

#[test]
fn two_sequences_in_one_batch_say_what_each_says_alone() {
    let files = Files::new();
    let prompts = [bytes("the first prompt"), bytes("another, longer")];
    let alone: Vec<Vec<Token>> = ["the first prompt", "another, longer"]
        .map(|prompt| answer(&mut files.runner(), A, prompt))
        .into();

    let mut runner = files.runner();
    let mut held = [prompts[0].len(), prompts[1].len()];
    let mut batch = Batch::default();
    let mut rows = [
        push(&mut batch, A, 0, &prompts[0]),
        push(&mut batch, B, 0, &prompts[1]),
    ];
    let mut together = vec![Vec::new(), Vec::new()];
    for _ in 0..12 {
        runner.decode(&batch).unwrap();
        batch.clear();
        for (index, sequence) in [A, B].into_iter().enumerate() {
            let next = greedy(&mut runner, rows[index]);
            together[index].push(next);
            rows[index] = push(&mut batch, sequence, held[index], &[next]);
            held[index] += 1;
        }
    }
    assert_eq!(together, alone);
}

#[test]
fn rows_of_two_sequences_may_alternate() {
    let files = Files::new();
    let mut runner = files.runner();
    let expected = prefill(&mut runner, A, 0, &bytes("abcd"));
    let other = prefill(&mut runner, B, 0, &bytes("wxyz"));
    runner.reset().unwrap();
    let mut batch = Batch::default();
    let mut last = [0, 0];
    for (position, (a, b)) in "abcd".bytes().zip("wxyz".bytes()).enumerate() {
        for (index, (sequence, byte)) in [(A, a), (B, b)].into_iter().enumerate() {
            let (token, position) = (byte.into(), position as u32);
            last[index] = batch.push(Row {
                token,
                position,
                sequence,
                output: position == 3,
            });
        }
    }
    runner.decode(&batch).unwrap();
    assert_eq!(last.map(|row| greedy(&mut runner, row)), [expected, other]);
}

#[test]
fn a_prompt_longer_than_a_batch_goes_in_chunks() {
    let files = Files::new();
    let prompt = bytes(&"a long story. ".repeat(12));
    let mut small = files.runner();
    let mut large = LlamaRunner::new(
        files.model(),
        RunnerOptions {
            context: ContextOptions {
                batch: 256,
                micro_batch: 256,
                ..options().context
            },
            ..options()
        },
    )
    .unwrap();
    assert_eq!(small.limits().batch, 32);
    assert_eq!(
        prefill(&mut small, A, 0, &prompt),
        prefill(&mut large, A, 0, &prompt)
    );
}

#[test]
fn a_copied_prefix_continues_like_a_computed_one() {
    let files = Files::new();
    let mut runner = files.runner();
    let expected = answer(&mut runner, A, "shared prefix, own end");
    runner.truncate(A, 0);

    prefill(&mut runner, A, 0, &bytes("shared prefix, other"));
    // What the target held before is forgotten.
    prefill(&mut runner, B, 0, &bytes("something else"));
    runner.copy(A, B, 15);
    let next = prefill(&mut runner, B, 15, &bytes("own end"));
    assert_eq!(generate(&mut runner, B, 22, next, 12), expected);
}

#[test]
fn a_truncated_sequence_continues_like_a_computed_one() {
    let files = Files::new();
    let mut runner = files.runner();
    let expected = answer(&mut runner, A, "shared prefix, own end");
    assert!(runner.truncate(A, 15));
    assert!(
        runner.truncate(A, 15),
        "there is nothing to cut, so it can be cut"
    );
    let next = prefill(&mut runner, A, 15, &bytes("own end"));
    assert_eq!(generate(&mut runner, A, 22, next, 12), expected);
    assert!(runner.truncate(A, 0));
    assert_eq!(answer(&mut runner, A, "shared prefix, own end"), expected);
}

#[test]
fn sequences_that_do_not_exist_are_ignored() {
    let mut runner = Files::new().runner();
    prefill(&mut runner, A, 0, &bytes("here"));
    let nowhere = SequenceId(4);
    assert!(runner.truncate(nowhere, 0));
    runner.copy(A, nowhere, 4);
    runner.copy(nowhere, A, 4);
    runner.copy(A, A, 2);
    prefill(&mut runner, A, 2, &bytes("x"));
}

#[test]
fn a_malformed_batch_is_refused_and_harms_nothing() {
    let files = Files::new();
    let mut runner = files.runner();
    let expected = answer(&mut runner, A, "unharmed");
    runner.truncate(A, 0);
    let next = prefill(&mut runner, A, 0, &bytes("unharmed"));

    let row = |token, position, sequence| Row {
        token,
        position,
        sequence: SequenceId(sequence),
        output: true,
    };
    let malformed: [Vec<Row>; 6] = [
        vec![],
        (0..33).map(|position| row(1, position, 1)).collect(),
        (0..5).map(|position| row(1, position, 1)).collect(),
        vec![row(275, 0, 1)],
        vec![row(1, 0, 4)],
        // Position 8 is left out.
        vec![row(1, 9, 0)],
    ];
    for rows in malformed {
        let mut batch = Batch::default();
        for &row in &rows {
            batch.push(row);
        }
        assert_eq!(
            runner.decode(&batch),
            Err(RunnerError::InvalidBatch),
            "{rows:?}"
        );
        assert!(
            runner.logits(0).is_none(),
            "there is no output after an error"
        );
    }
    assert_eq!(generate(&mut runner, A, 8, next, 12), expected);
}

#[test]
fn what_llama_refuses_comes_with_its_reason() {
    let files = Files::new();
    let mut context =
        Context::new(files.model(), &options().context, AbortFlag::default()).unwrap();
    let row = |position| Row {
        token: 1,
        position,
        sequence: A,
        output: true,
    };
    context.decode(&[row(0)]).unwrap();
    match context.decode(&[row(2)]) {
        Err(DecodeError::Invalid(InvalidBatch::Refused(reason))) => {
            assert!(reason.contains("consecutive"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_cache_is_said_so_and_keeps_its_state() {
    let files = Files::new();
    let mut runner = files.runner();
    let prompt = bytes(&"x".repeat(240));
    let next = prefill(&mut runner, A, 0, &prompt);
    let expected = generate(&mut runner, A, 240, next, 12);
    runner.truncate(A, 240);

    let mut batch = Batch::default();
    push(&mut batch, B, 0, &bytes("this is longer than 16 rows"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::CacheFull));
    assert_eq!(generate(&mut runner, A, 240, next, 12), expected);
    runner.truncate(A, 0);
    runner.decode(&batch).unwrap();
}

#[test]
fn logits_are_there_for_rows_with_output_only_and_can_be_changed() {
    let mut runner = Files::new().runner();
    let mut batch = Batch::default();
    let a = push(&mut batch, A, 0, &bytes("ab"));
    let b = push(&mut batch, B, 0, &bytes("cd"));
    assert!(runner.logits(0).is_none());
    runner.decode(&batch).unwrap();
    assert!(runner.logits(0).is_none() && runner.logits(4).is_none());
    let before = runner.logits(b).unwrap().to_vec();
    assert_eq!(before.len(), runner.limits().vocabulary);
    runner.logits(a).unwrap().fill(7.0);
    assert_eq!(runner.logits(b).unwrap(), before);
    assert!(runner.logits(a).unwrap().iter().all(|&logit| logit == 7.0));
}

#[test]
fn an_abort_ends_the_computation_until_it_is_cleared() {
    let files = Files::new();
    let abort = AbortFlag::default();
    let mut runner = LlamaRunner::new(
        files.model(),
        RunnerOptions {
            abort: abort.clone(),
            ..options()
        },
    )
    .unwrap();
    let expected = answer(&mut runner, A, "abort me");
    abort.set();
    let mut batch = Batch::default();
    push(&mut batch, B, 0, &bytes("abort me"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::Aborted));
    abort.clear();
    runner.reset().unwrap();
    assert_eq!(answer(&mut runner, B, "abort me"), expected);
}

#[test]
fn embeddings_are_as_long_as_the_model_says() {
    let files = Files::new();
    let options = ContextOptions {
        embeddings: Some(Pool::Model),
        ..options().context
    };
    let mut context = Context::new(files.model(), &options, AbortFlag::default()).unwrap();
    let row = |position| Row {
        token: 1,
        position,
        sequence: A,
        output: false,
    };
    context.decode(&[row(0), row(1)]).unwrap();
    let length = context.model().embedding_length();
    let embedding = context.embedding(1).unwrap();
    assert_eq!(embedding.len(), length);
    assert!(embedding.iter().any(|&value| value != 0.0));
    assert!(
        context.sequence_embedding(0).is_none(),
        "a model for text does not pool"
    );
}

#[test]
fn an_interrupter_ends_every_step_from_another_thread() {
    let files = Files::new();
    let mut runner = files.runner();
    let interrupt = runner.interrupter().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(interrupt);
    });
    let mut batch = Batch::default();
    push(&mut batch, A, 0, &bytes("abc"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::Aborted));
}

#[test]
fn a_sequence_that_was_saved_goes_on_in_another_context_as_if_nothing_had_happened() {
    let files = Files::new();
    let mut runner = files.runner();
    let prompt = bytes("a saved prompt");
    let next = prefill(&mut runner, A, 0, &prompt);
    let state = runner.save(A).expect("a state");
    let expected = generate(&mut runner, A, prompt.len(), next, 12);

    let mut other = files.runner();
    prefill(&mut other, A, 0, &bytes("something else"));
    assert!(other.restore(B, &state));
    let restored = generate(&mut other, B, prompt.len(), next, 12);
    assert_eq!(restored, expected);
    for damaged in [
        &state[..state.len() - 1],
        &state[..9],
        b"nothing of the kind",
    ] {
        assert!(!other.restore(SequenceId(2), damaged));
        // And it is as empty as it was.
        let next = prefill(&mut other, SequenceId(2), 0, &prompt);
        assert_eq!(next, expected[0]);
        other.truncate(SequenceId(2), 0);
    }
}

#[test]
fn texts_embedded_together_have_the_vectors_they_have_alone() {
    let files = Files::new();
    let mut runner = files.runner();
    let (_, most) = runner.embedding().expect("vectors");
    assert!(most >= 512);
    let texts: Vec<Vec<Token>> = ["one", "another text", "and a third one, longer"]
        .iter()
        .map(|text| text.bytes().map(Token::from).collect())
        .collect();
    let together = runner.embed(&texts).expect("vectors");
    for (text, vector) in texts.iter().zip(&together) {
        let alone = runner.embed(std::slice::from_ref(text)).expect("a vector");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let norms = dot(vector, vector).sqrt() * dot(&alone[0], &alone[0]).sqrt();
        assert!(dot(vector, &alone[0]) / norms > 0.9999);
    }
    assert_ne!(together[0], together[1]);
    // More texts than one computation takes.
    let many = vec![texts[0].clone(); 130];
    assert_eq!(runner.embed(&many).expect("vectors").len(), 130);
}

#[test]
fn a_text_in_parts_has_the_vector_it_has_as_a_whole() {
    let files = Files::new();
    let mut runner = files.runner();
    assert!(runner.embeds_in_parts());
    let text: Vec<Token> = "a text of some length".bytes().map(Token::from).collect();
    let whole = runner.embed(std::slice::from_ref(&text)).expect("a vector");
    // One that is not finished leaves nothing behind.
    assert_eq!(runner.embed_part(&text, 0..7), Ok(None));
    assert_eq!(runner.embed_part(&text, 0..9), Ok(None));
    assert_eq!(runner.embed_part(&text, 9..10), Ok(None));
    let vector = runner.embed_part(&text, 10..text.len()).expect("computed");
    let vector = vector.expect("a vector with the last part");
    let most = whole[0].iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    for (part, whole) in vector.iter().zip(&whole[0]) {
        assert!((part - whole).abs() < most * 1e-2, "{part} {whole}");
    }
    assert!(runner.embed_part(&text, 3..5).is_err(), "a gap");
}
