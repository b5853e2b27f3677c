//! What happens to models, counted by whoever loads them.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The bounds of the buckets of load times, in seconds.
const LOAD_TIME: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// What has happened to models since the start. A [`Loader`](crate::Loader) keeps one and says
/// what it did; `/metrics` shows it.
#[derive(Debug)]
pub struct ModelEvents {
    loads: Counter,
    failures: Counter,
    evictions: Counter,
    load_time: Histogram,
}

impl Default for ModelEvents {
    fn default() -> Self {
        Self {
            loads: Counter::default(),
            failures: Counter::default(),
            evictions: Counter::default(),
            load_time: Histogram::new(LOAD_TIME),
        }
    }
}

impl ModelEvents {
    /// A model is in memory; getting it there took `time`.
    pub fn loaded(&self, time: Duration) {
        self.loads.inc();
        self.load_time.observe(time.as_secs_f64());
    }

    /// A model could not be loaded.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// A model was taken out of memory without anybody asking: for another one, or because it
    /// was idle for too long.
    pub fn evicted(&self) {
        self.evictions.inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("model_loads", "Models loaded", self.loads.clone());
        registry.register(
            "model_load_failures",
            "Models that could not be loaded",
            self.failures.clone(),
        );
        registry.register(
            "model_evictions",
            "Models taken out of memory for others, or after idling",
            self.evictions.clone(),
        );
        registry.register_with_unit(
            "model_load_time",
            "How long the models that were loaded took to load",
            Unit::Seconds,
            self.load_time.clone(),
        );
    }
}
