//! Everyone finishes with the answer it would have alone, whatever shares the steps.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::runner::AdapterId;

fn limits(cells: usize, sequences: usize, batch: usize) -> RunnerLimits {
    RunnerLimits {
        cells,
        sequences,
        batch,
        vocabulary: 1000,
        can_truncate: true,
    }
}

/// Runs every request to its end and checks, at each step, what must always hold.
struct World {
    scheduler: Scheduler,
    limits: RunnerLimits,
    /// What the cache holds, per slot.
    cache: HashMap<SequenceId, Vec<Token>>,
    /// What each request has said, and how much it will say.
    said: HashMap<RequestId, (Vec<Token>, usize)>,
}

impl World {
    fn new(limits: RunnerLimits) -> Self {
        let scheduler = Scheduler::new(limits, 3);
        Self {
            scheduler,
            limits,
            cache: HashMap::new(),
            said: HashMap::new(),
        }
    }

    fn add(&mut self, id: RequestId, prompt: usize, answer: usize, adapters: u32) {
        let prompt = (0..prompt as u32).map(|n| n + id as u32 * 7).collect();
        let adapters = (0..adapters)
            .map(|n| AdapterScale {
                id: AdapterId(n),
                scale: 1.0,
            })
            .collect();
        self.scheduler.add(id, prompt, adapters);
        self.said.insert(id, (Vec::new(), answer));
    }

    /// A "model" whose next token depends on everything the cache holds.
    fn next(held: &[Token]) -> Token {
        held.iter().fold(7, |hash: u32, &token| {
            hash.wrapping_mul(31).wrapping_add(token)
        }) % 997
    }

    fn step(&mut self) -> Plan {
        let plan = self.scheduler.plan();
        for slot in &plan.free {
            self.cache.remove(slot);
        }
        assert!(plan.batch.len() <= self.limits.batch);
        let mut outputs = HashMap::new();
        for (index, row) in plan.batch.rows().iter().enumerate() {
            let held = self.cache.entry(row.sequence).or_default();
            assert_eq!(
                held.len(),
                row.position as usize,
                "positions are consecutive"
            );
            held.push(row.token);
            if row.output {
                outputs.insert(index, Self::next(held));
            }
        }
        let used: usize = self.cache.values().map(Vec::len).sum();
        assert!(used <= self.limits.cells, "{used} cells used");
        self.scheduler.apply(&plan);
        assert_eq!(used, self.scheduler.cells_used());
        for part in &plan.parts {
            let Some(output) = part.output else { continue };
            let (said, answer) = self.said.get_mut(&part.request).expect("known");
            said.push(outputs[&output]);
            if said.len() == *answer {
                self.scheduler.remove(part.request);
            } else {
                self.scheduler.push(part.request, outputs[&output]);
            }
        }
        plan
    }
}

fn alone(id: RequestId, prompt: usize, answer: usize) -> Vec<Token> {
    let mut held: Vec<Token> = (0..prompt as u32).map(|n| n + id as u32 * 7).collect();
    (0..answer)
        .map(|_| {
            let token = World::next(&held);
            held.push(token);
            token
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn everyone_finishes_with_the_answer_it_would_have_alone(
        requests in prop::collection::vec((1_usize..30, 1_usize..20, 0_u32..3), 1..12),
        cells in 50_usize..90,
        sequences in 1_usize..5,
        batch in 4_usize..20,
    ) {
        let mut world = World::new(limits(cells, sequences, batch));
        for (id, &(prompt, answer, adapters)) in (0..).zip(&requests) {
            world.add(id, prompt, answer, adapters);
        }
        let mut steps = 0;
        while !world.scheduler.is_idle() {
            let plan = world.step();
            prop_assert!(!plan.batch.is_empty(), "a step without work");
            steps += 1;
            prop_assert!(steps < 20_000, "no end");
        }
        for (id, &(prompt, answer, _)) in (0..).zip(&requests) {
            prop_assert_eq!(&world.said[&id].0, &alone(id, prompt, answer));
        }
    }
}

#[test]
fn a_request_joins_while_another_runs() {
    let mut world = World::new(limits(100, 4, 16));
    world.add(0, 4, 10, 0);
    world.step();
    world.add(1, 4, 10, 0);
    let plan = world.step();
    assert_eq!(
        plan.parts
            .iter()
            .map(|part| part.request)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn a_long_prompt_beside_an_answer_comes_in_small_chunks() {
    let mut world = World::new(limits(100, 4, 16));
    world.add(0, 4, 10, 0);
    world.step();
    world.add(1, 40, 1, 0);
    let plan = world.step();
    assert_eq!(
        plan.parts[0],
        Part {
            request: 0,
            rows: 1,
            output: Some(0)
        }
    );
    assert_eq!(
        plan.parts[1],
        Part {
            request: 1,
            rows: 3,
            output: None
        }
    );
}

#[test]
fn a_lone_prompt_takes_the_whole_batch() {
    let mut world = World::new(limits(100, 4, 16));
    world.add(0, 40, 1, 0);
    assert_eq!(world.step().batch.len(), 16);
}

#[test]
fn adapter_sets_take_turns() {
    let mut world = World::new(limits(100, 4, 16));
    world.add(0, 2, 10, 0);
    world.add(1, 2, 10, 1);
    world.add(2, 2, 10, 0);
    let turns: Vec<Vec<RequestId>> = (0..4)
        .map(|_| world.step().parts.iter().map(|part| part.request).collect())
        .collect();
    assert_eq!(turns, [vec![0, 2], vec![1], vec![0, 2], vec![1]]);
}

#[test]
fn newcomers_with_another_adapter_do_not_starve_a_running_answer() {
    let mut world = World::new(limits(100, 4, 16));
    world.add(0, 2, 100, 0);
    world.step();
    for id in 1..=10 {
        world.add(id, 2, 1, 1);
        world.step();
    }
    let said = world.said[&0].0.len();
    assert!(said >= 5, "only {said} tokens in 11 steps");
}

#[test]
fn a_removed_request_gives_its_slot_back_by_the_next_step() {
    let mut world = World::new(limits(100, 1, 16));
    world.add(0, 4, 10, 0);
    world.add(1, 4, 10, 0);
    world.step();
    world.scheduler.remove(0);
    let plan = world.step();
    assert_eq!(plan.free, [SequenceId(0)]);
    assert_eq!(plan.parts[0].request, 1);
}
