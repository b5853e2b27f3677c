//! What every handler shares: the loader, the store, the limits, and whether the server is draining.
//!
//! It must not know any dialect.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bodies::Bodies;
use crate::config::ServerConfig;
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::model_info::ModelCounts;
use crate::responses::KeptResponses;
use crate::store::{NoStore, Store};

/// Time for the last of a body that is on its way when shutdown begins. A client that only ever sends
/// half of one must not hold up every restart.
const LAST_OF_A_BODY: Duration = Duration::from_secs(1);

/// What every handler shares.
pub struct AppState {
    pub(crate) loader: Arc<dyn Loader>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    pub(crate) started: Instant,
    /// Cancelled when shutdown begins: readiness turns 503 and no new work is taken.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the time to drain is over: every running answer ends with an error.
    pub(crate) aborting: CancellationToken,
    /// What draining waits for: connections, upgraded ones too.
    pub(crate) tasks: TaskTracker,
    /// Places for WebSockets, which the accept loop no longer counts once they are upgraded.
    pub(crate) websockets: Arc<Semaphore>,
    /// Answers that a later request can go on from.
    pub(crate) responses: KeptResponses,
    /// The room that the bodies of all requests share.
    pub(crate) bodies: Bodies,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl AppState {
    /// The state of a server that starts now.
    pub fn new(loader: Arc<dyn Loader>, config: ServerConfig) -> Self {
        Self {
            metrics: Metrics::new(&loader),
            loader,
            store: Arc::new(NoStore),
            websockets: Arc::new(Semaphore::new(config.max_websockets)),
            responses: KeptResponses::new(config.max_kept_responses, config.max_kept_bytes),
            bodies: Bodies::new(config.max_bodies, || ()),
            config,
            started: Instant::now(),
            draining: CancellationToken::new(),
            aborting: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The same with a store; without one, models are neither fetched nor deleted here.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// The same with a way to give freed memory back to the system, which may block. It is taken after
    /// large bodies.
    #[must_use]
    pub fn with_memory(mut self, give_back: fn()) -> Self {
        self.bodies = Bodies::new(self.config.max_bodies, give_back);
        self
    }

    /// Completes when a body that has not come by then is not waited for any more: while draining,
    /// only those that were about to come in full.
    pub(crate) async fn too_late_for_bodies(&self) {
        self.draining.cancelled().await;
        tokio::time::sleep(LAST_OF_A_BODY).await;
    }

    /// Whether shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How many models there are, and how many of them are loaded.
    pub(crate) fn model_counts(&self) -> ModelCounts {
        ModelCounts::of(&self.loader.list())
    }
}
