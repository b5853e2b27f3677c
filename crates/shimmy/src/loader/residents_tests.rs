//! Loads that are held at a gate, so that everything else happens meanwhile.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;

const KEY: &str = "/models/a.gguf";

/// Polls a load once, so that it has started or joined one.
fn begin(load: &mut BoxFuture<'static, Outcome>) {
    assert!(load.as_mut().now_or_never().is_none(), "it waits");
}

/// A load that says when it has begun, waits until the gate opens or breaks, and fails.
fn gated(
    residents: &Arc<Residents>,
    opens: &Arc<AtomicUsize>,
) -> (mpsc::Sender<()>, BoxFuture<'static, Outcome>) {
    let (open_gate, gate) = mpsc::channel();
    let (residents, opens) = (Arc::clone(residents), Arc::clone(opens));
    let load = async move {
        let open = move |_: &AtomicBool| {
            opens.fetch_add(1, Ordering::SeqCst);
            // A gate that is gone is open.
            let _ = gate.recv();
            Err("it is broken".to_owned())
        };
        residents.load(Path::new(KEY), "a", open).await
    };
    (open_gate, load.boxed())
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap()
}

#[test]
fn everyone_who_waits_shares_a_failure_and_the_next_one_tries_again() {
    let (residents, opens) = (Arc::default(), Arc::default());
    runtime().block_on(async {
        let (gates, mut loads): (Vec<_>, Vec<_>) =
            (0..8).map(|_| gated(&residents, &opens)).unzip();
        loads.iter_mut().for_each(begin);
        drop(gates);
        for load in loads {
            assert_eq!(load.await.unwrap_err(), failed("a", "it is broken"));
        }
        assert_eq!(opens.load(Ordering::SeqCst), 1);
        let (gate, next) = gated(&residents, &opens);
        drop(gate);
        assert!(next.await.is_err());
        assert_eq!(opens.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_model_that_is_being_loaded_is_not_unloaded() {
    let (residents, opens) = (Arc::default(), Arc::default());
    runtime().block_on(async {
        let (gate, mut first) = gated(&residents, &opens);
        begin(&mut first);
        assert!(!residents.unload(Path::new(KEY)));
        let (_, mut second) = gated(&residents, &opens);
        begin(&mut second);
        drop(gate);
        assert!(first.await.is_err() && second.await.is_err());
        assert_eq!(opens.load(Ordering::SeqCst), 1, "the second joined");
    });
}

#[test]
fn a_load_that_nobody_waits_for_any_more_still_settles() {
    let (residents, opens) = (Arc::default(), Arc::default());
    runtime().block_on(async {
        let (gate, mut load) = gated(&residents, &opens);
        begin(&mut load);
        drop((load, gate));
        // Joins what is left of it, if anything is.
        let (gate, next) = gated(&residents, &opens);
        drop(gate);
        assert!(next.await.is_err());
        let slots = residents.slots();
        assert!(slots.is_empty());
    });
}

#[test]
fn a_panic_is_a_failure_like_any_other() {
    let residents: Arc<Residents> = Arc::default();
    let outcome = runtime().block_on(residents.load(Path::new(KEY), "a", |_| panic!("oh")));
    assert_eq!(outcome.unwrap_err(), failed("a", "loading it panicked"));
    assert!(residents.slots().is_empty());
}

#[test]
fn shutdown_tells_loads_and_waits_for_them() {
    let residents: Arc<Residents> = Arc::default();
    let runtime = runtime();
    let (left, has_left) = mpsc::channel();
    let mut load = {
        let residents = Arc::clone(&residents);
        async move {
            let open = move |stopping: &AtomicBool| {
                while !stopping.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                // The test may have failed by now.
                let _ = left.send(());
                Err("cancelled".to_owned())
            };
            residents.load(Path::new(KEY), "a", open).await
        }
        .boxed()
    };
    runtime.block_on(async { begin(&mut load) });
    residents.shutdown();
    assert!(has_left.try_recv().is_ok(), "it had ended by then");
    let late = runtime.block_on(residents.load(Path::new(KEY), "a", |_| panic!("started")));
    assert_eq!(
        late.unwrap_err(),
        failed("a", "the server is shutting down")
    );
}
