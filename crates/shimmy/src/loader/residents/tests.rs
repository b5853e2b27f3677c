//! Loads that are held at a gate, so that everything else happens meanwhile, and models that are
//! lent out, left idle and given up.

mod memory;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use shimmy_chat::{ChatTemplate, TemplateVocabulary};
use shimmy_engine::stub::{StubConfig, session};
use shimmy_engine::{EngineConfig, SamplingParams};
use shimmy_server::ModelInfo;

use super::*;

const KEY: &str = "/models/a.gguf";

/// Without anybody's wish: an idle model stays.
const STAY: Stay = Stay {
    keep: Keep::Forever,
    is_pinned: false,
};

/// Far longer than anything here takes; only a hang meets it.
const HANG: Duration = Duration::from_secs(20);

fn with_budget(host: Option<u64>, models: usize, patience: Duration) -> Arc<Residents> {
    let limits = Limits {
        host,
        gpu: None,
        models,
    };
    Arc::new(Residents::new(Budget {
        limits: Box::new(move || limits),
        patience,
    }))
}

fn residents() -> Arc<Residents> {
    with_budget(None, usize::MAX, HANG)
}

/// A model on the deterministic engine.
fn model(name: &str) -> LoadedModel {
    LoadedModel {
        name: name.to_owned(),
        session: session(StubConfig::default(), EngineConfig::default()),
        template: Arc::new(ChatTemplate::new(None, TemplateVocabulary::default()).unwrap()),
        info: ModelInfo::default(),
        default_sampling: SamplingParams::default(),
        preset: Arc::default(),
        default_adapters: Vec::new(),
        adapters: Arc::default(),
        load_time: Duration::ZERO,
        engine: "stub",
        placement: String::new(),
        hold: Hold::default(),
    }
}

/// How a load goes that `open` does.
fn opening<F>(bytes: u64, open: F) -> impl FnOnce() -> Opening
where
    F: FnOnce(&Progress) -> Result<LoadedModel, String> + Send + 'static,
{
    move || Opening {
        measure: Box::new(move || {
            Ok(Footprint {
                weights: bytes,
                ..Footprint::default()
            })
        }),
        open: Box::new(open),
    }
}

/// A load whose outcome is `open`'s.
fn load<F>(residents: &Arc<Residents>, open: F) -> BoxFuture<'static, Outcome>
where
    F: FnOnce(&Progress) -> Result<LoadedModel, String> + Send + 'static,
{
    let residents = Arc::clone(residents);
    let how = (STAY, KeepAlive::Default);
    async move {
        let opening = opening(0, open);
        residents.load(Path::new(KEY), "a", how, opening).await
    }
    .boxed()
}

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
    let opens = Arc::clone(opens);
    let load = load(residents, move |_| {
        opens.fetch_add(1, Ordering::SeqCst);
        // A gate that is gone is open.
        let _ = gate.recv();
        Err("it is broken".to_owned())
    });
    (open_gate, load)
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap()
}

#[test]
fn everyone_who_waits_shares_a_failure_and_the_next_one_tries_again() {
    let (residents, opens) = (residents(), Arc::default());
    runtime().block_on(async {
        let (gates, mut loads): (Vec<_>, Vec<_>) =
            (0..8).map(|_| gated(&residents, &opens)).unzip();
        loads.iter_mut().for_each(begin);
        drop(gates);
        for load in loads {
            assert_eq!(load.await.unwrap_err(), failed("a", "it is broken"));
        }
        assert_eq!(opens.load(Ordering::SeqCst), 1);
        let why = residents.glance(Path::new(KEY)).failure;
        assert_eq!(why.as_deref(), Some("load failed: it is broken"));
        let (gate, next) = gated(&residents, &opens);
        drop(gate);
        assert!(next.await.is_err());
        assert_eq!(opens.load(Ordering::SeqCst), 2);
        let loaded = load(&residents, |_| Ok(model("a"))).await;
        assert_eq!(loaded.unwrap().name, "a");
        assert_eq!(residents.glance(Path::new(KEY)).failure, None);
    });
}

#[test]
fn a_model_that_is_being_loaded_is_not_unloaded() {
    let (residents, opens) = (residents(), Arc::default());
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
    let (residents, opens) = (residents(), Arc::default());
    runtime().block_on(async {
        let (gate, mut load) = gated(&residents, &opens);
        begin(&mut load);
        drop((load, gate));
        // Joins what is left of it, if anything is.
        let (gate, next) = gated(&residents, &opens);
        drop(gate);
        assert!(next.await.is_err());
        assert!(residents.table().slots.is_empty());
    });
}

#[test]
fn a_panic_is_a_failure_like_any_other() {
    let residents = residents();
    let outcome = runtime().block_on(load(&residents, |_| panic!("oh")));
    assert_eq!(outcome.unwrap_err(), failed("a", "loading it panicked"));
    assert!(residents.table().slots.is_empty());
}

#[test]
fn how_much_is_loaded_can_be_seen_meanwhile() {
    let residents = residents();
    let (report, reported) = mpsc::channel();
    let (open_gate, gate) = mpsc::channel::<()>();
    let mut load = load(&residents, move |progress| {
        progress.report(0.25);
        report.send(()).unwrap();
        let _ = gate.recv();
        Ok(model("a"))
    });
    let loading = || residents.glance(Path::new(KEY)).loading;
    assert_eq!(loading(), None);
    runtime().block_on(async {
        begin(&mut load);
        reported.recv_timeout(HANG).unwrap();
        assert_eq!(loading(), Some(0.25));
        drop(open_gate);
        let model = load.await.unwrap();
        assert_eq!(loading(), None);
        let glance = residents.glance(Path::new(KEY));
        assert_eq!(glance.residence.unwrap().users, 1);
        drop(model);
        let glance = residents.glance(Path::new(KEY));
        assert_eq!(glance.residence.unwrap().users, 0);
    });
}

#[test]
fn shutdown_tells_loads_and_waits_for_them() {
    let residents = residents();
    let runtime = runtime();
    let (begun, has_begun) = mpsc::channel();
    let (left, has_left) = mpsc::channel();
    let mut stopped = load(&residents, move |progress| {
        begun.send(()).unwrap();
        while progress.is_wanted() {
            std::thread::yield_now();
        }
        // The test may have failed by now.
        let _ = left.send(());
        Err("cancelled".to_owned())
    });
    runtime.block_on(async { begin(&mut stopped) });
    has_begun.recv_timeout(HANG).unwrap();
    residents.shutdown();
    assert!(has_left.try_recv().is_ok(), "it had ended by then");
    let late = runtime.block_on(load(&residents, |_| panic!("started")));
    assert_eq!(
        late.unwrap_err(),
        failed("a", "the server is shutting down")
    );
}

#[test]
fn shutdown_ends_engines_that_answer_and_that_are_on_their_way_out() {
    let residents = residents();
    runtime().block_on(async {
        let used = load(&residents, |_| Ok(model("a"))).await.unwrap();
        assert!(residents.unload(Path::new(KEY)));
        let again = load(&residents, |_| Ok(model("a"))).await.unwrap();
        residents.shutdown();
        for model in [used, again] {
            assert!(!model.session.engine().status().alive);
        }
    });
}
