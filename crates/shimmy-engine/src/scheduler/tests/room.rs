//! What is given up when cells run short, and what is kept.

use super::super::Policy;
use super::world::{World, limits, numbers, policy};
use crate::prefix::{CacheAction, Key};

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
