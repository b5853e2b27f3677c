//! A cache and a "model" of the simplest kind, and requests that are run on them to their end. It
//! checks in each step what must always hold, whatever a test is about.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::super::{Part, Plan, Policy, RequestId, Scheduler};
use crate::prefix::{CacheAction, Key};
use crate::runner::{AdapterId, AdapterScale, RunnerLimits, SequenceId, Token};

/// Runs every request to its end and checks, at each step, what must always hold.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    limits: RunnerLimits,
    /// What the cache holds, per slot: numbered cells with their tokens.
    cache: HashMap<SequenceId, Vec<(usize, Token)>>,
    next_cell: usize,
    /// What each request has said, and how much it will say.
    pub(super) said: HashMap<RequestId, (Vec<Token>, usize)>,
    prompts: HashMap<RequestId, Vec<Token>>,
    adapters: HashMap<RequestId, Vec<AdapterScale>>,
    /// Rows computed in all.
    pub(super) rows: usize,
    /// How many tokens each request found in the cache.
    pub(super) found: HashMap<RequestId, usize>,
    /// Every n-th fork fails.
    pub(super) failing_forks: Option<usize>,
    forks: usize,
    /// Drafts every answer's next tokens, some of them wrong.
    pub(super) drafts: bool,
    /// Forces tokens after sampled ones.
    pub(super) forces: bool,
}

impl World {
    pub(super) fn new(limits: RunnerLimits, policy: Policy) -> Self {
        Self {
            scheduler: Scheduler::new(limits, policy),
            limits,
            cache: HashMap::new(),
            next_cell: 0,
            said: HashMap::new(),
            prompts: HashMap::new(),
            adapters: HashMap::new(),
            rows: 0,
            found: HashMap::new(),
            failing_forks: None,
            forks: 0,
            drafts: false,
            forces: false,
        }
    }

    pub(super) fn add(&mut self, id: RequestId, prompt: Vec<Token>, answer: usize, adapters: u32) {
        let adapters = (0..adapters).map(|n| AdapterScale {
            id: AdapterId(n),
            scale: 1.0,
        });
        let key = Key {
            adapters: adapters.collect(),
            scope: 0,
        };
        self.adapters.insert(id, key.adapters.clone());
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

    /// As after a step that failed: the cache is empty.
    pub(super) fn start_over(&mut self) {
        self.cache.clear();
        self.scheduler.forget_cache();
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
        cells.collect::<HashSet<_>>().len()
    }

    pub(super) fn step(&mut self) -> Plan {
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
        self.check_adapters(&plan);
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

    /// Every row has the adapters of its request, and all rows the same where they must.
    fn check_adapters(&self, plan: &Plan) {
        let mut rows = 0..plan.batch.len();
        for part in &plan.parts {
            for row in rows.by_ref().take(part.rows) {
                let adapters = plan.batch.adapters(plan.batch.adapter_set(row));
                assert_eq!(adapters, self.adapters[&part.request]);
            }
        }
        assert!(rows.is_empty(), "rows of nobody");
        assert!(self.limits.mixes_adapters || plan.batch.common_adapters().is_some());
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

    pub(super) fn run(&mut self) {
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

pub(super) fn limits(cells: usize, sequences: usize, batch: usize) -> RunnerLimits {
    RunnerLimits {
        cells,
        sequences,
        batch,
        outputs: batch.max(sequences),
        vocabulary: 1000,
        can_truncate: true,
        mixes_adapters: true,
        generates: true,
    }
}

pub(super) fn policy(parallel: usize) -> Policy {
    Policy {
        parallel,
        parked_cells: usize::MAX,
        offloads: false,
        longest_gap: Duration::from_millis(10),
    }
}

pub(super) fn alone(prompt: &[Token], answer: usize) -> Vec<Token> {
    let mut held = prompt.to_vec();
    (0..answer)
        .map(|_| {
            let token = World::next(held.iter().copied());
            held.push(token);
            token
        })
        .collect()
}

pub(super) fn numbers(first: Token, count: usize) -> Vec<Token> {
    (first..).take(count).collect()
}

/// A prompt of a shared beginning and an end of its own.
pub(super) fn prompt(common: usize, which: u32, own: usize, id: u32) -> Vec<Token> {
    let beginning = numbers(which * 100, common);
    beginning
        .into_iter()
        .chain(numbers(500 + id, own))
        .collect()
}
