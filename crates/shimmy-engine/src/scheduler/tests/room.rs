//! What is given up when cells run short, and what is kept.

use std::time::Duration;

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
fn a_prefix_comes_back_only_if_it_may_stay() {
    let place = |offloads, running, tokens| {
        let bounded = Policy {
            parked_cells: 30,
            offloads,
            ..policy(2)
        };
        let mut world = World::new(limits(100, 16, 64), bounded);
        if running > 0 {
            world.add(0, numbers(0, running), 8, 0);
            world.step();
        }
        world.scheduler.make_place(tokens).is_some()
    };
    // What is longer than all parked prefixes may be would have to leave at once.
    assert!(place(false, 0, 30));
    assert!(!place(false, 0, 31));
    // Where it is kept elsewhere when it leaves, it may be as long as the cache.
    assert!(place(true, 0, 100));
    assert!(!place(true, 0, 101));
    // What running requests hold and will need is not to be had.
    assert!(place(true, 40, 55));
    assert!(!place(true, 40, 60));
}

#[test]
fn after_a_refusal_fewer_run_together_until_steps_have_gone_well() {
    let mut world = World::new(limits(100, 16, 64), policy(2));
    let mut together = |refused: Option<usize>, steps: usize| {
        if let Some(room) = refused {
            world.scheduler.refuse_cells(room);
        }
        for _ in 0..steps {
            world.scheduler.observe(1, Duration::from_millis(1));
        }
        for id in 0..2 {
            world.add(id, numbers(id as u32 * 60, 40), 4, 0);
        }
        world.step();
        let running = world.scheduler.running();
        world.run();
        running
    };
    assert_eq!(together(None, 0), 2);
    assert_eq!(together(Some(50), 0), 1);
    assert_eq!(together(None, 10), 1);
    assert_eq!(together(None, 1000), 2);
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
