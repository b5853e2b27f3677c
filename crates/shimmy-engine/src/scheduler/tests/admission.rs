//! Who joins, whom nobody has to wait for, and what is found in the cache.

use super::world::{World, limits, numbers, policy, prompt};
use crate::prefix::{CacheAction, Key};
use crate::runner::SequenceId;

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
