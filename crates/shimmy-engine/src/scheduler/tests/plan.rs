//! Whose rows are in a step: the gap of answers, the turns of adapters, drafts and forced tokens.

use std::time::Duration;

use super::super::{RequestId, Scheduler};
use super::world::{World, alone, limits, numbers, policy, prompt};
use crate::prefix::Key;
use crate::runner::RunnerLimits;

#[test]
fn a_long_prompt_beside_an_answer_comes_in_chunks_that_fit_the_gap() {
    let mut world = World::new(limits(1000, 4, 512), policy(4));
    // A millisecond a row: ten rows are what 10 ms allow.
    for rows in [1, 8, 64, 512] {
        world
            .scheduler
            .observe(rows, Duration::from_millis(rows as u64));
    }
    world.add(0, numbers(0, 4), 50, 0);
    world.step();
    world.add(1, numbers(300, 400), 1, 0);
    let plan = world.step();
    assert_eq!((plan.parts[0].request, plan.parts[0].rows), (0, 1));
    assert!((8..=10).contains(&plan.batch.len()), "{}", plan.batch.len());
}

#[test]
fn more_requests_than_sequences_wait_for_one() {
    let mut world = World::new(limits(100, 2, 16), policy(8));
    for id in 0..6 {
        world.add(id, numbers(id as u32 * 50, 4), 5, 0);
    }
    world.run();
}

#[test]
fn a_lone_prompt_takes_the_whole_batch() {
    let mut world = World::new(limits(100, 4, 16), policy(4));
    world.add(0, numbers(0, 40), 1, 0);
    assert_eq!(world.step().batch.len(), 16);
}

/// Who has rows in the first steps of three requests, of which the second has an adapter.
fn turns(mixes_adapters: bool) -> Vec<Vec<RequestId>> {
    let limits = RunnerLimits {
        mixes_adapters,
        ..limits(100, 4, 16)
    };
    let mut world = World::new(limits, policy(4));
    world.add(0, numbers(0, 2), 10, 0);
    world.add(1, numbers(10, 2), 10, 1);
    world.add(2, numbers(20, 2), 10, 0);
    (0..4)
        .map(|_| world.step().parts.iter().map(|part| part.request).collect())
        .collect()
}

#[test]
fn adapter_sets_take_turns_where_a_step_has_one() {
    assert_eq!(turns(false), [vec![0, 2], vec![1], vec![0, 2], vec![1]]);
}

#[test]
fn a_draft_does_not_outlive_the_cache_that_it_stood_behind() {
    let limits = RunnerLimits {
        mixes_adapters: false,
        ..limits(400, 4, 16)
    };
    let mut world = World::new(limits, policy(4));
    world.drafts = true;
    // Both prompts are longer than a batch.
    world.add(0, numbers(0, 40), 40, 0);
    world.add(1, numbers(300, 40), 40, 1);
    while world.scheduler.drafting().is_none() {
        world.step();
    }
    // Each step drafts for both and computes one.
    world.step();
    assert!((0..2).any(|id| !world.scheduler.drafted(id).is_empty()));
    world.start_over();
    world.run();
}

#[test]
fn adapter_sets_share_a_step_where_a_backend_mixes_them() {
    let turns = turns(true);
    assert!(turns.iter().flatten().eq(&[0, 1, 2].repeat(4)), "{turns:?}");
}

#[test]
fn newcomers_with_another_adapter_do_not_starve_a_running_answer() {
    let limits = RunnerLimits {
        mixes_adapters: false,
        ..limits(150, 4, 16)
    };
    let mut world = World::new(limits, policy(4));
    world.add(0, numbers(0, 2), 100, 0);
    world.step();
    for id in 1..=10 {
        world.add(id, numbers(id as u32 * 10, 2), 1, 1);
        world.step();
    }
    let said = world.said[&0].0.len();
    assert!(said >= 5, "only {said} tokens in 11 steps");
}

#[test]
fn where_a_cache_cannot_be_cut_a_leader_halts_for_its_followers() {
    let limits = RunnerLimits {
        can_truncate: false,
        ..limits(1000, 16, 64)
    };
    let mut world = World::new(limits, policy(8));
    for id in 0..4 {
        world.add(id, prompt(90, 0, 10, id as u32), 3, 0);
    }
    world.run();
    assert_eq!(world.rows, 90 + 4 * 10 + 4 * 2);
}

#[test]
fn drafts_that_come_true_save_steps() {
    let run = |drafts| {
        let mut world = World::new(limits(1000, 4, 64), policy(1));
        world.drafts = drafts;
        world.add(0, numbers(0, 4), 50, 0);
        let mut steps = 0;
        while !world.scheduler.is_idle() {
            world.step();
            steps += 1;
        }
        assert_eq!(world.said[&0].0, alone(&numbers(0, 4), 50));
        steps
    };
    let (plain, drafted) = (run(false), run(true));
    assert!(drafted * 2 < plain, "{drafted} steps against {plain}");
}

#[test]
fn forced_tokens_are_computed_together_and_not_behind_a_long_prompt() {
    let mut scheduler = Scheduler::new(limits(1000, 4, 16), policy(4));
    scheduler.add(1, numbers(0, 300), Key::default());
    scheduler.add(2, numbers(500, 4), Key::default());
    let both = scheduler.plan();
    scheduler.apply(&both);
    while scheduler.tokens(2).len() == 4 {
        let plan = scheduler.plan();
        scheduler.apply(&plan);
        if plan
            .parts
            .iter()
            .any(|part| part.request == 2 && part.output.is_some())
        {
            scheduler.push(2, &[7, 8, 9]);
        }
    }
    let plan = scheduler.plan();
    let part = plan.parts.iter().find(|part| part.request == 2);
    let part = part.expect("an answer has its rows in every step");
    assert_eq!(part.rows, 3);
    let rows = plan.batch.rows();
    let output = part.output.expect("the last of them asks for logits");
    assert_eq!((rows[output].token, rows[output].position), (9, 6));
    assert!(rows[output - 2..output].iter().all(|row| !row.output));
}
