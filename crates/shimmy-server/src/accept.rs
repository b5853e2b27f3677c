//! The accept loop: connections with every limit on them, and an end that loses no answer.
//!
//! Written by hand because `axum::serve` sets no time limit on a request's header. It must not
//! know what is served.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::future::{BoxFuture, select_all};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Guard;
use crate::bodies::Unread;
use crate::config::ServerConfig;
use crate::framing::Strict;
use crate::pace::Paced;
use crate::places::{Places, Seat, Work};
use crate::routes::{ollama_router, router};
use crate::state::AppState;

/// Time for the last frames, the error that ends an answer among them, to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Wait after an accept that failed for want of descriptors or memory: trying again at once would
/// only take the processor from those who could give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time from one line about that to the next: the state may last.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Why a server cannot be made of a listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Anyone on the network could use it.
    #[error("{address} can be reached from other machines: set an API key, or bind to 127.0.0.1")]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// The listener is not usable.
    #[error("the listener is not usable: {0}")]
    Io(#[from] std::io::Error),
}

/// A server that has its address and takes no connections yet.
#[derive(Debug)]
pub struct Server {
    /// At least one: the server's own.
    doors: Vec<Door>,
    state: Arc<AppState>,
}

/// An address, and what is spoken there.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Takes a bound listener. Must be called inside a Tokio runtime.
    ///
    /// Fails for an address that other machines can reach when no API key is set.
    pub fn bind(listener: std::net::TcpListener, state: AppState) -> Result<Self, BindError> {
        let state = Arc::new(state);
        Ok(Self {
            doors: vec![Door::open(listener, &state, router)?],
            state,
        })
    }

    /// Adds an address where everything is Ollama's dialect; the same rules hold there.
    pub fn with_ollama(mut self, listener: std::net::TcpListener) -> Result<Self, BindError> {
        let door = Door::open(listener, &self.state, ollama_router)?;
        self.doors.push(door);
        Ok(self)
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.doors[0].address
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// While draining, readiness says 503, new work is refused, idle connections are closed and
    /// running answers go on, until they are done, the drain timeout has passed, or `force`
    /// completes. What still runs then ends with its dialect's error frame. Probes are answered
    /// to the very end, so that a load balancer sees the 503 and not a refused connection.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send,
        force: impl Future<Output = ()> + Send,
    ) {
        let Self { doors, state } = self;
        let acceptor = Acceptor {
            doors,
            places: Places::new(state.config.max_connections),
            killed: CancellationToken::new(),
            probes: TaskTracker::new(),
            state,
        };
        let _kill_on_drop = acceptor.killed.clone().drop_guard();
        tokio::select! {
            () = acceptor.run() => {}
            () = acceptor.state.bodies.tidy() => {}
            () = shutdown => {}
        }
        acceptor.state.draining.cancel();
        tokio::select! {
            () = acceptor.run() => {}
            () = acceptor.drain(force) => {}
        }
    }
}

impl Door {
    fn open(
        listener: std::net::TcpListener,
        state: &Arc<AppState>,
        router: fn(Guard) -> Router,
    ) -> Result<Self, BindError> {
        let address = listener.local_addr()?;
        let loopback = address.ip().to_canonical().is_loopback();
        if !loopback && state.config.api_keys.is_empty() {
            return Err(BindError::Open { address });
        }
        listener.set_nonblocking(true)?;
        let state = Arc::clone(state);
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            address,
            router: router(Guard { state, loopback }),
        })
    }
}

struct Acceptor {
    doors: Vec<Door>,
    places: Arc<Places>,
    /// Cancelled to drop the connections that are left.
    killed: CancellationToken,
    /// Connections taken while draining: nobody waits for them.
    probes: TaskTracker,
    state: Arc<AppState>,
}

impl Acceptor {
    /// Takes connections for ever.
    async fn run(&self) {
        let mut told: Option<Instant> = None;
        for turn in 0_usize.. {
            let (stream, router) = match self.accept(turn).await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                        told = Some(Instant::now());
                        tracing::error!(%error, "no connection can be accepted, as yet");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // One waits here for its seat, and all behind it in the system's backlog, where they cost
            // nothing.
            let Some(seat) = self.places.seat().await else {
                return;
            };
            let connection = self.connection(stream, router, seat);
            let draining = self.state.is_draining();
            let tasks = if draining {
                &self.probes
            } else {
                &self.state.tasks
            };
            tasks.spawn(connection);
        }
    }

    /// The next connection at any address; `turn` changes which is looked at first, so that a busy
    /// one does not shut the other out.
    async fn accept(&self, turn: usize) -> std::io::Result<(TcpStream, &Router)> {
        let from = turn % self.doors.len();
        let doors = self.doors[from..].iter().chain(&self.doors[..from]);
        let accepts = doors.map(|door| {
            Box::pin(async {
                let (stream, _) = door.listener.accept().await?;
                Ok((stream, &door.router))
            })
        });
        select_all(accepts).await.0
    }

    /// Serves one connection to its end, or until its seat is another's.
    fn connection(
        &self,
        stream: TcpStream,
        router: &Router,
        seat: Seat,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Tokens are small packets that must not wait for one another. A socket that refuses the
        // option still works.
        let _ = stream.set_nodelay(true);
        let config = &self.state.config;
        let probe = self.state.is_draining();
        let unread = Arc::new(Unread::default());
        let stream = Paced::new(stream, config.write_timeout);
        let stream = TokioIo::new(Strict::new(stream, Arc::clone(&unread)));
        let begun = Arc::new(AtomicBool::new(false));
        let seat = Arc::new(seat);
        let service = Seated {
            service: TowerToHyperService::new(router.clone()),
            begun: Arc::clone(&begun),
            unread,
            seat: Arc::clone(&seat),
        };
        let first_header = tokio::time::sleep(config.header_read_timeout);
        let connection = builder(config, !probe)
            .serve_connection(stream, service)
            .with_upgrades();
        let draining = self.state.draining.clone();
        let killed = self.killed.clone();
        async move {
            let mut connection = std::pin::pin!(connection);
            let mut first_header = std::pin::pin!(first_header);
            let mut told = probe;
            let mut is_waiting = true;
            loop {
                tokio::select! {
                    outcome = connection.as_mut() => {
                        if let Err(error) = outcome {
                            tracing::debug!(%error, "a connection ended with an error");
                        }
                        return;
                    }
                    () = first_header.as_mut(), if is_waiting => {
                        is_waiting = false;
                        if !begun.load(Ordering::Relaxed) {
                            tracing::debug!("a connection brought no header in time");
                            return;
                        }
                    }
                    () = draining.cancelled(), if !told => {
                        told = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = seat.dismissed(), if !told => {
                        tracing::debug!("an idle connection gives way to a new one");
                        told = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = killed.cancelled() => return,
                }
            }
        }
    }

    /// Waits for what runs, then ends what is left.
    async fn drain(&self, force: impl Future<Output = ()>) {
        let tasks = &self.state.tasks;
        tasks.close();
        tracing::info!(connections = tasks.len(), "draining");
        tokio::select! {
            () = tasks.wait() => return,
            () = tokio::time::sleep(self.state.config.drain_timeout) => {}
            () = force => {}
        }
        tracing::warn!(connections = tasks.len(), "ending what still runs");
        self.state.aborting.cancel();
        // A client that takes nothing does not hold up the end.
        let _ = tokio::time::timeout(LAST_WORDS, tasks.wait()).await;
        self.killed.cancel();
    }
}

/// Notes that a connection's first request has its header, and from when to when there is work.
struct Seated {
    service: TowerToHyperService<Router>,
    begun: Arc<AtomicBool>,
    /// For those who make a WebSocket of the connection.
    unread: Arc<Unread>,
    seat: Arc<Seat>,
}

impl Service<Request<Incoming>> for Seated {
    type Response = Response<Answer>;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        let work = self.seat.work();
        request.extensions_mut().insert(Arc::clone(&self.unread));
        let answer = self.service.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Answer { body, _work: work })) })
    }
}

/// An answer's body: as long as it is there, its connection has work.
struct Answer {
    body: Body,
    _work: Work,
}

impl hyper::body::Body for Answer {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn builder(config: &ServerConfig, keep_alive: bool) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper's clock for a header runs while the next one is awaited, so it is the idle one; the
        // first header has its own.
        .header_read_timeout(config.idle_timeout)
        .max_headers(config.max_headers)
        .max_buf_size(config.connection_buffer)
        .keep_alive(keep_alive);
    builder
}

/// Whether an accept failed because of the one connection it was about to return.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
