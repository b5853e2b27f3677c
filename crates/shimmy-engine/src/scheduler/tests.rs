//! Everyone finishes with the answer it would have alone, whatever shares the steps and the cache.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::params::AdapterScale;
use crate::prefix::CacheAction;

fn limits(cells: usize, sequences: usize, batch: usize) -> RunnerLimits {
    RunnerLimits {
        cells,
        sequences,
        batch,
        outputs: batch.max(sequences),
        vocabulary: 1000,
        can_truncate: true,
        generates: true,
    }
}

fn policy(parallel: usize) -> Policy {
    Policy {
        parallel,
        parked_cells: usize::MAX,
        offloads: false,
        longest_gap: Duration::from_millis(10),
    }
}

/// Runs every request to its end and checks, at each step, what must always hold.
struct World {
    scheduler: Scheduler,
    limits: RunnerLimits,
    /// What the cache holds, per slot: numbered cells with their tokens.
    cache: HashMap<SequenceId, Vec<(usize, Token)>>,
    next_cell: usize,
    /// What each request has said, and how much it will say.
    said: HashMap<RequestId, (Vec<Token>, usize)>,
    prompts: HashMap<RequestId, Vec<Token>>,
    /// Rows computed in all.
    rows: usize,
    /// How many tokens each request found in the cache.
    found: HashMap<RequestId, usize>,
    /// Every n-th fork fails.
    failing_forks: Option<usize>,
    forks: usize,
    /// Drafts every answer's next tokens, some of them wrong.
    drafts: bool,
    /// Forces tokens after sampled ones.
    forces: bool,
}

impl World {
    fn new(limits: RunnerLimits, policy: Policy) -> Self {
        Self {
            scheduler: Scheduler::new(limits, policy),
            limits,
            cache: HashMap::new(),
            next_cell: 0,
            said: HashMap::new(),
            prompts: HashMap::new(),
            rows: 0,
            found: HashMap::new(),
            failing_forks: None,
            forks: 0,
            drafts: false,
            forces: false,
        }
    }

    fn add(&mut self, id: RequestId, prompt: Vec<Token>, answer: usize, adapters: u32) {
        let adapters = (0..adapters).map(|n| AdapterScale {
            id: AdapterId(n),
            scale: 1.0,
        });
        let key = Key {
            adapters: adapters.collect(),
            scope: 0,
        };
        self.scheduler.add(id, prompt.clone(), key);
        self.said.insert(id, (Vec::new(), answer));
        self.prompts.insert(id, prompt);
    }

    /// A "model" whose next token depends on everything the cache holds.
    fn next(held: impl Iterator<Item = Token>) -> Token {
        held.fold(7, |hash: u32, token| {
            hash.wrapping_mul(31).wrapping_add(token)
        }) % 997
    }

    fn draft(&mut self) {
        for id in self.scheduler.drafting().unwrap_or_default() {
            let mut held = self.scheduler.tokens(id).to_vec();
            let known = held.len();
            for n in 0..4 {
                let token = Self::next(held.iter().copied());
                // A wrong one now and then, at a place that differs.
                let wrong = (known + n) % 5 == 3;
                held.push(if wrong { 998 } else { token });
            }
            self.scheduler.draft(id, held[known..].to_vec());
        }
    }

    fn arrange(&mut self, actions: Vec<CacheAction>) -> bool {
        let mut lost = Vec::new();
        for action in actions {
            match action {
                CacheAction::Free(slot) => {
                    self.cache.remove(&slot);
                }
                CacheAction::Offload(parked) => {
                    let held = self.cache.remove(&parked.sequence).unwrap_or_default();
                    let held: Vec<Token> = held.iter().map(|cell| cell.1).collect();
                    assert_eq!(held, parked.tokens, "what is kept is what it says");
                }
                CacheAction::Fork { from, to, length } => {
                    self.forks += 1;
                    let fails = self
                        .failing_forks
                        .is_some_and(|n| self.forks.is_multiple_of(n));
                    if fails || lost.contains(&from) {
                        lost.push(to);
                        continue;
                    }
                    let held = self.cache.get(&from).cloned().unwrap_or_default();
                    assert!(length <= held.len(), "a fork of more than there is");
                    assert!(self.limits.can_truncate || length == held.len());
                    assert!(self.cache.get(&to).is_none_or(Vec::is_empty), "in use");
                    self.cache.insert(to, held[..length].to_vec());
                }
                CacheAction::Cut { sequence, length } => {
                    assert!(self.limits.can_truncate);
                    self.cache.entry(sequence).or_default().truncate(length);
                }
            }
        }
        for &sequence in &lost {
            self.scheduler.lost(sequence);
        }
        lost.is_empty()
    }

    fn used(&self) -> usize {
        let cells = self.cache.values().flatten().map(|&(cell, _)| cell);
        cells.collect::<std::collections::HashSet<_>>().len()
    }

    fn step(&mut self) -> Plan {
        if self.drafts {
            self.draft();
        }
        let plan = self.scheduler.plan();
        for &(id, found) in &plan.started {
            self.found.entry(id).or_insert(found);
        }
        if !self.arrange(plan.actions.clone()) {
            return self.step();
        }
        assert!(plan.batch.len() <= self.limits.batch);
        let mut outputs = HashMap::new();
        for (index, row) in plan.batch.rows().iter().enumerate() {
            let held = self.cache.entry(row.sequence).or_default();
            assert_eq!(held.len(), row.position as usize, "consecutive positions");
            held.push((self.next_cell, row.token));
            self.next_cell += 1;
            self.rows += 1;
            if row.output {
                let tokens = held.iter().map(|&(_, token)| token);
                outputs.insert(index, Self::next(tokens));
            }
        }
        assert!(self.used() <= self.limits.cells, "{} cells", self.used());
        self.scheduler.apply(&plan);
        assert_eq!(self.used(), self.scheduler.cells_used());
        for part in &plan.parts {
            if let Some(output) = part.output {
                self.take(part, output, &outputs);
            }
        }
        plan
    }

    fn take(&mut self, part: &Part, first: usize, outputs: &HashMap<usize, Token>) {
        let draft = self.scheduler.drafted(part.request).to_vec();
        let (said, answer) = self.said.get_mut(&part.request).expect("known");
        let mut came_true = 0;
        loop {
            let mut tokens = vec![outputs[&(first + came_true)]];
            let mut held = self.scheduler.tokens(part.request).to_vec();
            held.push(tokens[0]);
            // A constraint that forces what the model would have said, so that nobody can tell.
            let forced = if self.forces {
                tokens[0] as usize % 4
            } else {
                0
            };
            for _ in 0..forced {
                let token = Self::next(held.iter().copied());
                held.push(token);
                tokens.push(token);
            }
            said.extend(&tokens);
            if said.len() >= *answer {
                said.truncate(*answer);
                return self.scheduler.remove(part.request);
            }
            self.scheduler.push(part.request, &tokens);
            let drafted = tokens.iter().zip(&draft[came_true..]);
            let same = drafted.take_while(|(a, b)| a == b).count();
            came_true += same;
            if same < tokens.len() {
                break;
            }
        }
        self.scheduler.settle(part.request, came_true);
    }

    fn run(&mut self) {
        let mut steps = 0;
        while !self.scheduler.is_idle() {
            let plan = self.step();
            assert!(!plan.batch.is_empty(), "a step without work");
            steps += 1;
            assert!(steps < 20_000, "no end");
        }
        for (id, (said, answer)) in &self.said {
            assert_eq!(said, &alone(&self.prompts[id], *answer), "request {id}");
        }
    }
}

fn alone(prompt: &[Token], answer: usize) -> Vec<Token> {
    let mut held = prompt.to_vec();
    (0..answer)
        .map(|_| {
            let token = World::next(held.iter().copied());
            held.push(token);
            token
        })
        .collect()
}

fn numbers(first: Token, count: usize) -> Vec<Token> {
    (first..).take(count).collect()
}

/// A prompt of a shared beginning and an end of its own.
fn prompt(common: usize, which: u32, own: usize, id: u32) -> Vec<Token> {
    let beginning = numbers(which * 100, common);
    beginning
        .into_iter()
        .chain(numbers(500 + id, own))
        .collect()
}

#[derive(Debug, Clone)]
struct Arrival {
    /// Steps after the one before it.
    pause: usize,
    common: usize,
    which: u32,
    own: usize,
    answer: usize,
    adapters: u32,
    /// Steps after which it is cancelled.
    patience: Option<usize>,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    (
        (0_usize..6, 0_usize..25, 0_u32..2, 1_usize..8, 1_usize..20),
        0_u32..2,
        prop::option::weighted(0.2, 0_usize..10),
    )
        .prop_map(
            |((pause, common, which, own, answer), adapters, patience)| Arrival {
                pause,
                common,
                which,
                own,
                answer,
                adapters,
                patience,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn everyone_finishes_with_the_answer_it_would_have_alone(
        arrivals in prop::collection::vec(arrival(), 1..14),
        cells in 50_usize..120,
        sequences in 1_usize..8,
        parallel in 1_usize..5,
        batch in 4_usize..20,
        can_truncate in any::<bool>(),
        failing_forks in prop::option::of(1_usize..4),
        (drafts, forces) in any::<(bool, bool)>(),
        parked_cells in 0_usize..100,
        offloads in any::<bool>(),
    ) {
        let limits = RunnerLimits { can_truncate, ..limits(cells, sequences, batch) };
        let policy = Policy { parked_cells, offloads, ..policy(parallel.min(sequences)) };
        let mut world = World::new(limits, policy);
        world.failing_forks = failing_forks;
        world.drafts = drafts;
        world.forces = forces;
        let mut patience: Vec<(RequestId, usize)> = Vec::new();
        for (id, arrival) in (0..).zip(&arrivals) {
            for _ in 0..arrival.pause {
                if !world.scheduler.is_idle() {
                    world.step();
                }
                patience.retain_mut(|(id, left)| {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        world.scheduler.remove(*id);
                        world.said.remove(id);
                    }
                    *left > 0
                });
            }
            let prompt = prompt(arrival.common, arrival.which, arrival.own, id as u32);
            world.add(id, prompt, arrival.answer, arrival.adapters);
            patience.extend(arrival.patience.map(|steps| (id, steps + 1)));
        }
        world.run();
    }
}

#[test]
fn a_request_joins_while_another_runs() {
    let mut world = World::new(limits(100, 4, 16), policy(4));
    world.add(0, numbers(0, 4), 10, 0);
    world.step();
    world.add(1, numbers(9, 4), 10, 0);
    let plan = world.step();
    let requests: Vec<_> = plan.parts.iter().map(|part| part.request).collect();
    assert_eq!(requests, [0, 1]);
}

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
fn a_lone_prompt_takes_the_whole_batch() {
    let mut world = World::new(limits(100, 4, 16), policy(4));
    world.add(0, numbers(0, 40), 1, 0);
    assert_eq!(world.step().batch.len(), 16);
}

#[test]
fn adapter_sets_take_turns() {
    let mut world = World::new(limits(100, 4, 16), policy(4));
    world.add(0, numbers(0, 2), 10, 0);
    world.add(1, numbers(10, 2), 10, 1);
    world.add(2, numbers(20, 2), 10, 0);
    let turns: Vec<Vec<RequestId>> = (0..4)
        .map(|_| world.step().parts.iter().map(|part| part.request).collect())
        .collect();
    assert_eq!(turns, [vec![0, 2], vec![1], vec![0, 2], vec![1]]);
}

#[test]
fn newcomers_with_another_adapter_do_not_starve_a_running_answer() {
    let mut world = World::new(limits(150, 4, 16), policy(4));
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
fn a_removed_request_gives_its_slot_back_by_the_next_step() {
    let mut world = World::new(limits(100, 1, 16), policy(1));
    world.add(0, numbers(0, 4), 10, 0);
    world.add(1, numbers(50, 4), 10, 0);
    world.step();
    world.scheduler.remove(0);
    let plan = world.step();
    assert_eq!(plan.actions, [CacheAction::Free(SequenceId(0))]);
    assert_eq!(plan.parts[0].request, 1);
}

#[test]
fn requests_that_come_together_compute_their_prefix_once() {
    let mut world = World::new(limits(1000, 16, 64), policy(8));
    for id in 0..8 {
        world.add(id, prompt(90, 0, 10, id as u32), 1, 0);
    }
    world.run();
    assert_eq!(world.rows, 90 + 8 * 10);
    let found: Vec<usize> = (0..8).map(|id| world.found[&id]).collect();
    assert_eq!(found, [0, 90, 90, 90, 90, 90, 90, 90]);
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let mut world = World::new(limits(1000, 8, 64), policy(2));
    world.add(0, numbers(0, 50), 20, 0);
    world.run();
    let rows = world.rows;
    let mut next = numbers(0, 50);
    next.extend(&world.said[&0].0);
    next.extend(numbers(600, 10));
    world.add(1, next, 5, 0);
    world.run();
    // The last token that was said was never computed.
    assert_eq!(world.found[&1], 69);
    assert_eq!(world.rows - rows, 11 + 4);
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
fn other_scopes_and_adapters_share_nothing() {
    let mut world = World::new(limits(1000, 16, 64), policy(8));
    world.add(0, numbers(0, 50), 1, 0);
    world.run();
    world.add(1, numbers(0, 50), 1, 1);
    let key = Key {
        scope: 9,
        ..Key::default()
    };
    assert_eq!(world.scheduler.longest_known(&numbers(0, 50), &key), 0);
    world.run();
    assert_eq!(world.found[&1], 0);
}

#[test]
fn what_leaves_the_cache_is_kept_elsewhere_but_for_the_one_used_last() {
    let bounded = Policy {
        parked_cells: 30,
        offloads: true,
        ..policy(2)
    };
    let mut world = World::new(limits(1000, 16, 64), bounded);
    for id in 0..3 {
        world.add(id, numbers(id as u32 * 60, 40), 1, 0);
        world.run();
    }
    let parked = world.scheduler.prefixes().parked();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].tokens[0], 120);
    assert_eq!(world.scheduler.prefixes().evictions(), 0);
    let actions = world.scheduler.prefixes_mut().take_actions();
    let offloaded = actions.iter().filter_map(|action| match action {
        CacheAction::Offload(parked) => Some(parked.tokens[0]),
        _ => None,
    });
    // The first has left with the second's steps.
    assert_eq!(offloaded.collect::<Vec<_>>(), [60]);
}

#[test]
fn parked_prefixes_keep_to_their_cells_and_the_oldest_goes_first() {
    let bounded = Policy {
        parked_cells: 100,
        ..policy(2)
    };
    let mut world = World::new(limits(1000, 16, 64), bounded);
    for id in 0..4 {
        world.add(id, numbers(id as u32 * 60, 40), 1, 0);
        world.run();
    }
    assert_eq!(world.scheduler.prefixes().parked_cells(), 80);
    let known = |first| {
        world
            .scheduler
            .longest_known(&numbers(first, 40), &Key::default())
    };
    assert_eq!(
        [known(0), known(60), known(120), known(180)],
        [0, 0, 39, 39]
    );
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
