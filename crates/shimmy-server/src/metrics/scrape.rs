//! What is not counted but looked at: models, queues and caches, at the moment of the scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;

use crate::loader::Loader;
use crate::model_info::{EngineReport, ModelCounts};

/// Asks the loader at each scrape.
pub(super) struct AtScrape {
    loader: Arc<dyn Loader>,
}

impl AtScrape {
    pub(super) fn new(loader: Arc<dyn Loader>) -> Self {
        Self { loader }
    }
}

impl fmt::Debug for AtScrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtScrape").finish_non_exhaustive()
    }
}

/// One number of every loaded model.
type PerModel = (&'static str, &'static str, fn(&EngineReport) -> u64);

const PER_MODEL: [PerModel; 6] = [
    (
        "model_up",
        "Whether the model's engine takes requests",
        |engine| u64::from(engine.alive),
    ),
    ("requests_running", "Requests being computed", |engine| {
        engine.running as u64
    }),
    (
        "requests_waiting",
        "Requests waiting for their turn",
        |engine| engine.waiting as u64,
    ),
    ("kv_cells_used", "Cells of the KV cache in use", |engine| {
        engine.kv_cells_used as u64
    }),
    ("kv_cells", "Cells of the KV cache in all", |engine| {
        engine.kv_cells as u64
    }),
    (
        "prefix_memory_bytes",
        "Memory of prefixes of ended requests outside the KV cache",
        |engine| engine.offloaded_bytes,
    ),
];

impl Collector for AtScrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let models = self.loader.list();
        let ModelCounts {
            total,
            loaded,
            loading,
        } = ModelCounts::of(&models);
        gauge(
            &mut encoder,
            "models_known",
            "Models that were found",
            total,
        )?;
        gauge(&mut encoder, "models_loaded", "Models in memory", loaded)?;
        gauge(
            &mut encoder,
            "models_loading",
            "Models that are being loaded",
            loading,
        )?;
        // A model that is unloaded meanwhile has nothing to report.
        let engines: Vec<_> = models
            .into_iter()
            .filter(|model| model.loaded)
            .filter_map(|model| {
                let engine = self.loader.status(&model.name).ok()?.engine?;
                Some((model.name, engine))
            })
            .collect();
        if engines.is_empty() {
            return Ok(());
        }
        for (name, help, number) in PER_MODEL {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, engine) in &engines {
                let labels = [("model", model.as_str())];
                metric
                    .encode_family(&labels)?
                    .encode_gauge(&number(engine))?;
            }
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}
