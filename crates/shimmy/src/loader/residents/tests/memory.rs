//! Who stays in memory, who goes, and who waits for it.

use std::path::PathBuf;

use super::*;

/// A model of so many bytes, loaded by a request that keeps it in use.
async fn take(residents: &Arc<Residents>, name: &str, bytes: u64) -> Outcome {
    take_with(residents, name, bytes, (STAY, KeepAlive::Default)).await
}

async fn take_with(
    residents: &Arc<Residents>,
    name: &str,
    bytes: u64,
    how: (Stay, KeepAlive),
) -> Outcome {
    let opened = name.to_owned();
    let opening = opening(bytes, move |_| Ok(model(&opened)));
    residents.load(&key(name), name, how, opening).await
}

fn key(name: &str) -> PathBuf {
    PathBuf::from("/models").join(name)
}

fn names(residents: &Arc<Residents>) -> Vec<String> {
    let mut names: Vec<String> = residents
        .all()
        .iter()
        .map(|resident| resident.model.name.clone())
        .collect();
    names.sort();
    names
}

/// Waits until something is so, which an engine's end or a timer brings about.
async fn until(residents: &Arc<Residents>, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(HANG, waiting).await;
    assert!(outcome.is_ok(), "never; there are {:?}", names(residents));
}

#[test]
fn the_model_that_was_used_longest_ago_makes_room() {
    let residents = with_budget(Some(100), 9, HANG);
    runtime().block_on(async {
        drop(take(&residents, "a", 40).await.unwrap());
        drop(take(&residents, "b", 40).await.unwrap());
        drop(take(&residents, "a", 40).await.unwrap());
        drop(take(&residents, "c", 40).await.unwrap());
        assert_eq!(names(&residents), ["a", "c"]);
        drop(take(&residents, "d", 90).await.unwrap());
        assert_eq!(names(&residents), ["d"]);
        let in_memory: Vec<_> = residents.all();
        assert_eq!(in_memory[0].memory_bytes, 90);
    });
}

#[test]
fn no_more_models_than_may_be() {
    let residents = with_budget(None, 2, Duration::ZERO);
    runtime().block_on(async {
        drop(take(&residents, "a", 1).await.unwrap());
        let used = take(&residents, "b", 1).await.unwrap();
        drop(take(&residents, "c", 1).await.unwrap());
        assert_eq!(names(&residents), ["b", "c"]);
        drop(used);
    });
}

#[test]
fn a_model_that_can_never_fit_is_refused_with_both_numbers() {
    let residents = with_budget(Some(100), 9, HANG);
    runtime().block_on(async {
        drop(take(&residents, "a", 40).await.unwrap());
        let error = take(&residents, "big", 101).await.unwrap_err();
        assert!(
            matches!(
                error,
                LoadError::TooBig {
                    needed_bytes: 101,
                    budget_bytes: 100,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(names(&residents), ["a"], "nobody went for it");
    });
}

#[test]
fn a_pinned_model_stays_and_takes_its_part_of_the_budget() {
    let residents = with_budget(Some(100), 9, HANG);
    let pinned = Stay {
        keep: Keep::For(Duration::ZERO),
        is_pinned: true,
    };
    runtime().block_on(async {
        let how = (pinned, KeepAlive::For(Duration::ZERO));
        drop(take_with(&residents, "a", 40, how).await.unwrap());
        drop(take(&residents, "b", 60).await.unwrap());
        drop(take(&residents, "c", 60).await.unwrap());
        assert_eq!(names(&residents), ["a", "c"]);
        let error = take(&residents, "d", 61).await.unwrap_err();
        let LoadError::TooBig { budget_bytes, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(budget_bytes, 60);
        assert!(residents.unload(&key("a")), "by hand it goes");
    });
}

#[test]
fn while_all_are_in_use_a_load_waits_and_gives_up_in_time() {
    let residents = with_budget(Some(100), 9, Duration::ZERO);
    runtime().block_on(async {
        let used = take(&residents, "a", 60).await.unwrap();
        let clone = Arc::clone(&used);
        drop(used);
        let error = take(&residents, "b", 60).await.unwrap_err();
        assert_eq!(error, LoadError::Busy { name: "b".into() });
        assert_eq!(residents.glance(&key("b")).failure, None);
        drop(clone);
        drop(take(&residents, "b", 60).await.unwrap());
        assert_eq!(names(&residents), ["b"]);
    });
}

#[test]
fn a_load_that_waits_goes_on_when_the_last_use_ends() {
    let residents = with_budget(Some(100), 9, HANG);
    runtime().block_on(async {
        let used = take(&residents, "a", 60).await.unwrap();
        let mut next = {
            let residents = Arc::clone(&residents);
            async move { take(&residents, "b", 60).await }.boxed()
        };
        begin(&mut next);
        assert_eq!(names(&residents), ["a"]);
        drop(used);
        assert_eq!(next.await.unwrap().name, "b");
        assert_eq!(names(&residents), ["b"]);
    });
}

#[test]
fn two_loads_at_once_never_take_more_than_there_is() {
    let residents = with_budget(Some(100), 9, HANG);
    let taken = Arc::new(AtomicUsize::new(0));
    runtime().block_on(async {
        let loads = (0..16).map(|index| {
            let (residents, taken) = (Arc::clone(&residents), Arc::clone(&taken));
            tokio::spawn(async move {
                let name = format!("m{}", index % 8);
                let opening = {
                    let (name, taken) = (name.clone(), Arc::clone(&taken));
                    opening(60, move |_| {
                        assert_eq!(taken.fetch_add(60, Ordering::SeqCst), 0);
                        // From here on it is the residents' that nothing else loads.
                        taken.fetch_sub(60, Ordering::SeqCst);
                        Ok(model(&name))
                    })
                };
                let how = (STAY, KeepAlive::Default);
                let model = residents.load(&key(&name), &name, how, opening).await;
                let table = residents.table();
                let all: u64 = table.held().iter().map(|held| held.footprint.total()).sum();
                assert!(all <= 100, "{all} bytes taken");
                drop(table);
                model.unwrap().name.clone()
            })
        });
        let loads: Vec<_> = loads.collect();
        for load in loads {
            load.await.unwrap();
        }
        assert_eq!(names(&residents).len(), 1);
    });
}

#[test]
fn an_idle_model_goes_when_its_time_is_over_and_not_while_it_is_used() {
    let residents = residents();
    let brief = Stay {
        keep: Keep::For(Duration::from_millis(5)),
        is_pinned: false,
    };
    runtime().block_on(async {
        let used = take_with(&residents, "a", 1, (brief, KeepAlive::Default)).await;
        let other = take_with(&residents, "b", 1, (brief, KeepAlive::Forever)).await;
        drop(other.unwrap());
        drop(
            take_with(&residents, "c", 1, (brief, KeepAlive::Default))
                .await
                .unwrap(),
        );
        until(&residents, || names(&residents) == ["a", "b"]).await;
        let residence = |name: &str| residents.glance(&key(name)).residence.unwrap();
        assert_eq!(residence("b").expires_at, None);
        // In use, it would have its whole time from now on.
        assert!(residence("a").expires_at.unwrap() > jiff::Timestamp::now());
        drop(used.unwrap());
        until(&residents, || names(&residents) == ["b"]).await;
    });
}

#[test]
fn a_request_that_keeps_nothing_unloads_with_its_end() {
    let residents = residents();
    runtime().block_on(async {
        let at_once = (STAY, KeepAlive::For(Duration::ZERO));
        let first = take_with(&residents, "a", 1, at_once).await.unwrap();
        let second = take(&residents, "a", 1).await.unwrap();
        drop(first);
        tokio::task::yield_now().await;
        assert_eq!(names(&residents), ["a"], "the second still uses it");
        let engine = second.session.engine().clone();
        drop(second);
        until(&residents, || names(&residents).is_empty()).await;
        until(&residents, || !engine.status().alive).await;
    });
}

#[test]
fn an_unload_leaves_the_model_to_whoever_uses_it_and_counts_it_until_then() {
    let residents = with_budget(Some(100), 9, Duration::ZERO);
    runtime().block_on(async {
        let used = take(&residents, "a", 60).await.unwrap();
        assert!(residents.unload(&key("a")));
        assert!(!residents.unload(&key("a")));
        assert!(names(&residents).is_empty());
        assert!(used.session.engine().status().alive);
        let error = take(&residents, "b", 60).await.unwrap_err();
        assert_eq!(error, LoadError::Busy { name: "b".into() });
        drop(used);
        until(&residents, || residents.table().held().is_empty()).await;
        drop(take(&residents, "b", 60).await.unwrap());
    });
}

#[test]
fn an_engine_that_ended_by_itself_is_replaced() {
    let residents = with_budget(Some(100), 9, HANG);
    runtime().block_on(async {
        let dead = take(&residents, "a", 60).await.unwrap();
        dead.session.engine().shutdown();
        let mut again = {
            let residents = Arc::clone(&residents);
            async move { take(&residents, "a", 60).await }.boxed()
        };
        // There is no room beside the old one while somebody has it.
        begin(&mut again);
        drop(dead);
        assert!(again.await.unwrap().session.engine().status().alive);
    });
}

#[test]
fn a_load_that_waits_for_room_hears_of_the_shutdown() {
    let residents = with_budget(Some(100), 9, HANG);
    runtime().block_on(async {
        let used = take(&residents, "a", 60).await.unwrap();
        let mut next = {
            let residents = Arc::clone(&residents);
            async move { take(&residents, "b", 60).await }.boxed()
        };
        begin(&mut next);
        residents.shutdown();
        let expected = failed("b", "the server is shutting down");
        assert_eq!(next.await.unwrap_err(), expected);
        drop(used);
    });
}
