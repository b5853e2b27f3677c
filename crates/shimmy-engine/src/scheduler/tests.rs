//! Everyone finishes with the answer it would have alone, whatever shares the steps and the cache.

mod admission;
mod plan;
mod room;
mod world;

use proptest::prelude::*;

use self::world::{World, limits, policy, prompt};
use super::{Policy, RequestId};
use crate::runner::RunnerLimits;

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
        0_u32..3,
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
        (can_truncate, mixes_adapters) in any::<(bool, bool)>(),
        failing_forks in prop::option::of(1_usize..4),
        (drafts, forces) in any::<(bool, bool)>(),
        parked_cells in 0_usize..100,
        offloads in any::<bool>(),
    ) {
        let limits = RunnerLimits { can_truncate, mixes_adapters, ..limits(cells, sequences, batch) };
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
