//! A request's logits do not depend on what else is computed: neither on the rows beside it, nor on
//! how its prompt is cut, nor on forks, nor on threads.

use proptest::prelude::*;
use shimmy_engine::{Batch, Runner, SequenceId, Token};
use shimmy_native::{NativeRunner, RunnerOptions};
use shimmy_testkit::tiny::{Architecture, Model};

use crate::support::{A, B, C, CACHE_TYPES, Files, options, prefill, push};

fn tokens(most: usize) -> impl Strategy<Value = Vec<Token>> {
    prop::collection::vec(0..256_u32, 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_request_gets_the_same_bits_in_any_company(
        prompt in tokens(150),
        other in tokens(60),
        chunk in 1..32_usize,
        shared in 0..150_usize,
        threads in 1..4_usize,
        has_experts in any::<bool>(),
        cache_type in prop::sample::select(CACHE_TYPES.to_vec()),
    ) {
        let files = Files::of(&match has_experts {
            true => Model::of(Architecture::qwen3moe()),
            false => Model::new(),
        });
        let (model, _) = files.open();
        let runner = |threads| {
            let options = RunnerOptions { threads: Some(threads), cache_type, ..options() };
            NativeRunner::new(model.clone(), options).unwrap()
        };
        let expected = prefill(&mut runner(1), A, 0, &prompt, 1);

        // In chunks, on other threads.
        let mut runner = runner(threads);
        prop_assert_eq!(&prefill(&mut runner, A, 0, &prompt, chunk), &expected);

        // Forked from another sequence, which goes on in its own way.
        let shared = shared.min(prompt.len() - 1);
        runner.copy(A, B, shared as u32);
        prefill(&mut runner, A, prompt.len(), &other, 32);
        prop_assert_eq!(&prefill(&mut runner, B, shared, &prompt[shared..], chunk), &expected);

        // Cut and computed again.
        runner.truncate(A, shared as u32);
        prop_assert_eq!(&prefill(&mut runner, A, shared, &prompt[shared..], 32), &expected);

        // The last token in one batch with the rows of others, in between them.
        runner.truncate(A, prompt.len() as u32 - 1);
        runner.truncate(C, 0);
        runner.truncate(SequenceId(3), 0);
        let mut batch = Batch::default();
        let count = other.len().min(15);
        push(&mut batch, SequenceId(3), 0, &other[..count]);
        let last = prompt.len() - 1;
        let row = push(&mut batch, A, last, &prompt[last..]);
        push(&mut batch, C, 0, &other[..count]);
        runner.decode(&batch).unwrap();
        prop_assert_eq!(runner.logits(row).unwrap(), &expected[..]);
    }
}
