//! What the server counts about itself, for `GET /metrics`.
//!
//! Every metric is named and registered here. Counting is cheap: a request looks its handles up
//! once, and a token costs an addition and, where time has passed, one observation; nothing is
//! allocated. What others know better (caches, queues, models) is read from them at the scrape.
//! It must not know any dialect.

mod events;
mod exposition;
mod http;
mod scrape;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use self::events::ModelEvents;
pub(crate) use self::exposition::{Exposition, Report};
pub(crate) use self::watch::Watch;
use crate::loader::Loader;

/// A histogram for each value of a label.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Model {
    model: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    model: String,
    outcome: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_time: Histograms<Route>,
    models: Families,
    /// By the model's name, which only models that were loaded have: their number is bounded by
    /// the files there are.
    by_model: RwLock<HashMap<String, Arc<ModelMetrics>>>,
}

/// What is counted for each model.
#[derive(Debug)]
struct Families {
    answers: Family<Answered, Counter>,
    prompt_tokens: Family<Model, Counter>,
    reused_tokens: Family<Model, Counter>,
    completion_tokens: Family<Model, Counter>,
    queue_full: Family<Model, Counter>,
    first_token: Histograms<Model>,
    inter_token: Histograms<Model>,
    queue_time: Histograms<Model>,
}

/// The same for one model, looked up once and then counted without a look.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    stopped: Counter,
    cut: Counter,
    cancelled: Counter,
    failed: Counter,
    abandoned: Counter,
    prompt_tokens: Counter,
    reused_tokens: Counter,
    completion_tokens: Counter,
    queue_full: Counter,
    first_token: Histogram,
    inter_token: Histogram,
    queue_time: Histogram,
}

impl Metrics {
    /// All at zero, reading what `loader` knows at each scrape.
    pub(crate) fn new(loader: &Arc<dyn Loader>) -> Self {
        let mut registry = Registry::with_prefix("shimmy");
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let started = Gauge::<i64>::default();
        started.set(unix_seconds());
        registry.register_with_unit(
            "start_time",
            "When the server started, in Unix time",
            Unit::Seconds,
            started,
        );
        let requests = Family::default();
        registry.register(
            "http_requests",
            "Requests by route and status",
            requests.clone(),
        );
        let request_time: Histograms<Route> =
            Family::new_with_constructor(|| Histogram::new(REQUEST_TIME));
        registry.register_with_unit(
            "http_request_duration",
            "From a request's header to the last byte of its answer",
            Unit::Seconds,
            request_time.clone(),
        );
        let models = Families::new();
        models.register(&mut registry);
        loader.events().register(&mut registry);
        registry.register_collector(Box::new(scrape::AtScrape::new(Arc::clone(loader))));
        Self {
            registry,
            requests,
            request_time,
            models,
            by_model: RwLock::default(),
        }
    }

    /// The handles of one model.
    pub(crate) fn of_model(&self, name: &str) -> Arc<ModelMetrics> {
        // Nothing can panic while either lock is held.
        let known = self.by_model.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known.get(name) {
            return Arc::clone(metrics);
        }
        drop(known);
        let mut known = self
            .by_model
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let metrics = known
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(self.models.of(name)));
        Arc::clone(metrics)
    }

    /// Everything as it stands now.
    pub(crate) fn exposition(&self) -> Exposition {
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.registry) {
            // Writing into memory: a failure is a mistake in this crate or the one it uses.
            tracing::error!(%error, "the metrics could not be written");
        }
        Exposition::new(text)
    }
}

impl Families {
    fn new() -> Self {
        Self {
            answers: Family::default(),
            prompt_tokens: Family::default(),
            reused_tokens: Family::default(),
            completion_tokens: Family::default(),
            queue_full: Family::default(),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN)),
            inter_token: Family::new_with_constructor(|| Histogram::new(INTER_TOKEN)),
            queue_time: Family::new_with_constructor(|| Histogram::new(QUEUE_TIME)),
        }
    }

    fn register(&self, registry: &mut Registry) {
        let mut counter = |name, help, family: &Family<Model, Counter>| {
            registry.register(name, help, family.clone());
        };
        counter(
            "prompt_tokens",
            "Tokens of the prompts of completed answers",
            &self.prompt_tokens,
        );
        counter(
            "prompt_tokens_reused",
            "Those of them that did not have to be computed",
            &self.reused_tokens,
        );
        counter(
            "completion_tokens",
            "Tokens of answers, as they come",
            &self.completion_tokens,
        );
        counter(
            "queue_full",
            "Requests refused because the model's queue was full",
            &self.queue_full,
        );
        registry.register("answers", "Answers by how they ended", self.answers.clone());
        let mut histogram = |name, help, family: &Histograms<Model>| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        histogram(
            "time_to_first_token",
            "From a request to its first token, loading the model and waiting included",
            &self.first_token,
        );
        histogram(
            "inter_token_latency",
            "From one token of an answer to the next",
            &self.inter_token,
        );
        histogram(
            "queue_time",
            "From submission to the first step that computed something for the request",
            &self.queue_time,
        );
    }

    fn of(&self, name: &str) -> ModelMetrics {
        let label = Model {
            model: name.to_owned(),
        };
        let answers = |outcome| {
            let model = name.to_owned();
            self.answers
                .get_or_create_owned(&Answered { model, outcome })
        };
        ModelMetrics {
            stopped: answers("stop"),
            cut: answers("length"),
            cancelled: answers("cancelled"),
            failed: answers("failed"),
            abandoned: answers("abandoned"),
            prompt_tokens: self.prompt_tokens.get_or_create_owned(&label),
            reused_tokens: self.reused_tokens.get_or_create_owned(&label),
            completion_tokens: self.completion_tokens.get_or_create_owned(&label),
            queue_full: self.queue_full.get_or_create_owned(&label),
            first_token: self.first_token.get_or_create_owned(&label),
            inter_token: self.inter_token.get_or_create_owned(&label),
            queue_time: self.queue_time.get_or_create_owned(&label),
        }
    }
}

impl ModelMetrics {
    /// A request found the queue full.
    pub(crate) fn refused(&self) {
        self.queue_full.inc();
    }
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

// The bounds of buckets, in seconds: from what a small model on a good machine needs to where
// something is wrong.
const REQUEST_TIME: [f64; 15] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
const FIRST_TOKEN: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
const INTER_TOKEN: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5,
];
const QUEUE_TIME: [f64; 13] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
