//! Sums of models, and random ones: whoever goes is idle, enough, and not too many.

use std::time::Duration;

use super::*;

fn footprint(host: u64) -> Footprint {
    Footprint {
        weights: host,
        ..Footprint::default()
    }
}

fn held(name: &str, host: u64, tie: Tie) -> Held {
    Held {
        key: name.into(),
        footprint: footprint(host),
        tie,
    }
}

fn limits(host: u64, models: usize) -> Limits {
    Limits {
        host: Some(host),
        gpu: None,
        models,
    }
}

fn after(names: &[&str]) -> Room {
    Room::After(names.iter().map(PathBuf::from).collect())
}

#[test]
fn the_longest_idle_goes_first_and_none_in_vain() {
    let start = Instant::now();
    let idle = |seconds| Tie::IdleSince(start + Duration::from_secs(seconds));
    let models = [
        held("new", 30, idle(9)),
        held("old", 10, idle(1)),
        held("older", 10, idle(0)),
        held("busy", 40, Tie::Busy),
    ];
    let room = |need, limits| room(&footprint(need), &models, &limits);
    assert_eq!(room(10, limits(100, 9)), after(&[]));
    assert_eq!(room(20, limits(100, 9)), after(&["older"]));
    assert_eq!(room(30, limits(100, 9)), after(&["older", "old"]));
    // The new one alone is enough, and needed.
    assert_eq!(room(40, limits(100, 9)), after(&["new"]));
    assert_eq!(room(60, limits(100, 9)), after(&["older", "old", "new"]));
    assert_eq!(room(61, limits(100, 9)), Room::Later);
    assert_eq!(room(101, limits(100, 9)), Room::Never { budget_bytes: 100 });
    // Places count as bytes do.
    assert_eq!(room(1, limits(100, 4)), after(&["older"]));
    assert_eq!(room(1, limits(100, 1)), Room::Later);
}

#[test]
fn what_is_pinned_never_goes_and_what_is_not_checked_always_fits() {
    let pinned = [held("pinned", 60, Tie::Pinned)];
    assert_eq!(
        room(&footprint(50), &pinned, &limits(100, 9)),
        Room::Never { budget_bytes: 40 }
    );
    assert_eq!(
        room(&footprint(1), &pinned, &limits(100, 1)),
        Room::Never { budget_bytes: 0 }
    );
    let unchecked = Limits {
        host: None,
        gpu: None,
        models: 9,
    };
    assert_eq!(room(&footprint(u64::MAX), &pinned, &unchecked), after(&[]));
}

#[test]
fn a_gpus_memory_is_counted_for_itself() {
    let on_gpu = |gpu| Footprint {
        weights: 50,
        gpu,
        ..Footprint::default()
    };
    let idle = Held {
        footprint: on_gpu(40),
        ..held("idle", 0, Tie::IdleSince(Instant::now()))
    };
    let limits = Limits {
        host: Some(100),
        gpu: Some(60),
        models: 9,
    };
    assert_eq!(
        room(&on_gpu(20), std::slice::from_ref(&idle), &limits),
        after(&[])
    );
    assert_eq!(
        room(&on_gpu(30), std::slice::from_ref(&idle), &limits),
        after(&["idle"])
    );
}

#[test]
fn whoever_goes_is_idle_and_enough_and_needed() {
    // A generator of its own: what matters is many different cases, not which.
    let mut state = 1_u64;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let start = Instant::now();
    for _ in 0..20_000 {
        let models: Vec<Held> = (0..draw(6))
            .map(|index| {
                let tie = match draw(4) {
                    0 => Tie::Busy,
                    1 => Tie::Pinned,
                    _ => Tie::IdleSince(start + Duration::from_secs(draw(100))),
                };
                held(&index.to_string(), draw(50), tie)
            })
            .collect();
        let need = footprint(draw(120));
        let limits = limits(draw(150), 1 + draw(6) as usize);
        let fits = |gone: &dyn Fn(&Held) -> bool| {
            let left = models.iter().filter(|held| !gone(held));
            Sum::of(left).lacks(&need, &limits).is_none()
        };
        match room(&need, &models, &limits) {
            Room::After(leaving) => {
                let goes = |held: &Held| leaving.contains(&held.key);
                assert!(fits(&goes));
                for key in &leaving {
                    assert!(!fits(&|held: &Held| goes(held) && held.key != *key));
                    let one = models.iter().find(|held| held.key == *key).unwrap();
                    assert!(matches!(one.tie, Tie::IdleSince(_)));
                }
            }
            Room::Later => {
                assert!(!fits(&|held: &Held| matches!(held.tie, Tie::IdleSince(_))));
                assert!(fits(&|held: &Held| held.tie != Tie::Pinned));
            }
            Room::Never { .. } => assert!(!fits(&|held: &Held| held.tie != Tie::Pinned)),
        }
    }
}
