//! `shimmy serve`: listens first, loads then, drains at the end.

#![expect(
    clippy::print_stderr,
    reason = "people and scripts read the address here"
)]

use std::sync::Arc;
use std::time::Duration;

use shimmy_server::{AppState, KeepAlive, Loader, Server};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServeArgs;
use crate::config::{self, ModelConfig};
use crate::descriptors;
use crate::failure::Failure;
use crate::loader::LocalLoader;
use crate::places;
use crate::store::LocalStore;

/// How long the start may wait for the first look at the folders: few models are found in that
/// time, and then the first client sees them in its list.
const FIRST_LOOK: Duration = Duration::from_millis(10);

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let (server, few_descriptors) = descriptors::fit(config::server(&args)?);
    let listener = config::bind(&args.listen, !server.api_keys.is_empty())?;
    let address = listener.local_addr()?;
    let (ollama, not_served) = match config::bind_ollama(&args, !server.api_keys.is_empty()) {
        // The variable may be meant for other programs, Ollama's own among them.
        Err(failure) if args.ollama_is_inherited => (None, Some(failure)),
        ollama => (ollama?, None),
    };
    let models = ModelConfig::for_server(args.models.clone())?;
    let residence = config::residence(&args);
    let base = models.base.is_some().then_some(None);
    let preloaded: Vec<Option<String>> = base
        .into_iter()
        .chain(residence.pins.iter().cloned().map(Some))
        .collect();
    let options = config::server_options(&args, &models)?;
    let settings = places::settings(&models);
    let loader = Arc::new(LocalLoader::new(models, options, residence));
    let store = LocalStore::new(Arc::clone(&loader), settings);

    // Two threads carry the bytes of every stream; the computing ones are the engine's own, and
    // more here would only compete with them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let state = AppState::new(Arc::clone(&loader) as Arc<dyn Loader>, server);
        let state = state.with_memory(shimmy_memory::give_back);
        let (state, no_store) = match store {
            Ok(store) => (state.with_store(Arc::new(store)), None),
            Err(failure) => (state, Some(failure)),
        };
        let (shutdown, force) = signals()?;
        let looking = tokio::task::spawn_blocking({
            let loader = Arc::clone(&loader);
            move || loader.discover().len()
        });
        // However it ends, the server serves.
        let _ = tokio::time::timeout(FIRST_LOOK, looking).await;
        eprintln!(
            "shimmy {} listening on http://{address}",
            env!("CARGO_PKG_VERSION")
        );
        // After the line with the address, which whoever started this process reads first.
        if let Some(warning) = few_descriptors {
            tracing::warn!("{warning}");
        }
        if let Some(failure) = not_served {
            failure.warn("OLLAMA_HOST is left out");
        }
        if let Some(failure) = no_store {
            failure.warn("models can be run, but not pulled, copied, made or deleted");
        }
        if let Some(listener) = &ollama {
            let address = listener.local_addr()?;
            eprintln!("shimmy listening for Ollama's clients on http://{address}");
        }
        tokio::spawn(preload(Arc::clone(&loader), preloaded));
        let server = Server::bind(listener, state)?;
        let server = match ollama {
            Some(listener) => server.with_ollama(listener)?,
            None => server,
        };
        server.serve(shutdown, force).await;
        Ok(())
    });
    loader.shutdown();
    // A look at the folders that is still under way is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Loads the base model and those that are pinned, so that the first request finds them ready.
async fn preload(loader: Arc<LocalLoader>, names: Vec<Option<String>>) {
    for name in names {
        match loader.load(name.as_deref(), KeepAlive::Default).await {
            Ok(model) => tracing::info!(
                model = model.name,
                load_ms = model.load_time.as_millis() as u64,
                "ready"
            ),
            Err(error) => match name {
                None => tracing::error!("the base model cannot be loaded: {error}"),
                Some(_) => tracing::error!("a pinned model cannot be loaded: {error}"),
            },
        }
    }
}

/// Two futures: the first signal to end, and the second.
fn signals() -> std::io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (first, on_first) = tokio::sync::oneshot::channel();
    let (second, on_second) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        for stage in [first, second] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // The server may have ended by itself in the meantime.
            let _ = stage.send(());
        }
    });
    let wait = |stage: tokio::sync::oneshot::Receiver<()>| async {
        // The sender lives as long as the runtime.
        let _ = stage.await;
    };
    Ok((wait(on_first), wait(on_second)))
}
