//! The server under test: a real socket and a stub engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};
use shimmy_engine::stub::{Reply, StubConfig};
use shimmy_engine::{EngineConfig, EngineStatus};
use shimmy_server::{AppState, LoadedModel, Loader, Preset, Server, ServerConfig, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::loader::{TestLoader, model};
use crate::store::TestStore;

/// Far longer than anything here takes; only a hang meets it.
pub(crate) const HANG: Duration = Duration::from_secs(20);

/// What a test changes about its server.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) stub: StubConfig,
    pub(crate) engine: EngineConfig,
    pub(crate) server: ServerConfig,
    /// A model without a chat template.
    pub(crate) base_model: bool,
    /// The chat template; none is the built-in one, which knows no tools.
    pub(crate) template: Option<&'static str>,
    /// What holds where a request does not say.
    pub(crate) preset: Preset,
    /// Whether models are only run.
    pub(crate) without_store: bool,
}

impl Setup {
    /// A server whose model always says `text`.
    pub(crate) fn saying(text: &str) -> Self {
        let stub = StubConfig {
            reply: Reply::Fixed(text.to_owned()),
            ..StubConfig::default()
        };
        Self {
            stub,
            ..Self::default()
        }
    }

    /// A server whose model talks without end, a step at a time as the gate allows.
    pub(crate) fn gated() -> (Self, Gate) {
        let (steps, gate) = gate();
        let stub = StubConfig {
            reply: Reply::Mixed,
            gate: Some(gate),
            cells: 1 << 16,
            ..StubConfig::default()
        };
        (
            Self {
                stub,
                ..Self::default()
            },
            steps,
        )
    }

    pub(crate) async fn start(self) -> TestServer {
        TestServer::start(self).await
    }
}

/// Lets the engine take its steps. Dropped, it lets it run free.
#[derive(Debug)]
pub(crate) struct Gate(SyncSender<()>);

pub(crate) fn gate() -> (Gate, Receiver<()>) {
    // No capacity: a step is only given to an engine that waits for it.
    let (sender, receiver) = sync_channel(0);
    (Gate(sender), receiver)
}

impl Gate {
    /// Lets steps happen until `done`; returns how many.
    pub(crate) async fn step_until(&self, done: impl Fn() -> bool) -> usize {
        let mut steps = 0;
        let stepping = async {
            while !done() {
                if self.0.try_send(()).is_ok() {
                    steps += 1;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, stepping)
            .await
            .expect("the engine never got there");
        steps
    }

    /// Lets steps happen while `work` is waited for.
    pub(crate) async fn step_while<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let stepping = async {
            loop {
                let _ = self.0.try_send(());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcome = tokio::time::timeout(HANG, &mut work) => outcome.expect("never got there"),
            () = stepping => unreachable!(),
        }
    }
}

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    /// Where everything is Ollama's dialect.
    pub(crate) ollama: SocketAddr,
    pub(crate) loader: Arc<TestLoader>,
    pub(crate) store: Arc<TestStore>,
    model: Arc<LoadedModel>,
    shutdown: Option<oneshot::Sender<()>>,
    force: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestServer {
    async fn start(setup: Setup) -> Self {
        let Setup { stub, engine, .. } = setup;
        let model = model(stub, engine, setup.base_model, setup.template, setup.preset);
        let model = Arc::new(model);
        let loader = Arc::new(TestLoader::new(Arc::clone(&model)));
        let store = Arc::<TestStore>::default();
        let mut state = AppState::new(Arc::clone(&loader) as Arc<dyn Loader>, setup.server);
        if !setup.without_store {
            state = state.with_store(Arc::clone(&store) as Arc<dyn Store>);
        }
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, ollamas) = (listen(), listen());
        let ollama = ollamas.local_addr().unwrap();
        let server = Server::bind(own, state).unwrap();
        let server = server.with_ollama(ollamas).unwrap();
        let address = server.local_addr();
        let (shutdown, shutting_down) = oneshot::channel::<()>();
        let (force, forced) = oneshot::channel::<()>();
        let never_if_dropped = |signal: oneshot::Receiver<()>| async move {
            if signal.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let task =
            tokio::spawn(server.serve(never_if_dropped(shutting_down), never_if_dropped(forced)));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            address,
            client,
            ollama,
            loader,
            store,
            model,
            shutdown: Some(shutdown),
            force: Some(force),
            task,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.client
            .post(self.url(path))
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// The status and the JSON of a POST.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.post(path, body).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The status and the JSON of a GET.
    pub(crate) async fn get_json(&self, path: &str) -> (u16, Value) {
        let response = self.get(path).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The whole text of a stream.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> String {
        let response = self.post(path, body).await;
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // A reset after the answer leaves the answer.
        let _ = tokio::time::timeout(HANG, reading)
            .await
            .expect("the connection stays open");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn engine(&self) -> EngineStatus {
        self.model.session.engine().status()
    }

    pub(crate) fn shut_down(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }

    pub(crate) fn force(&mut self) {
        let _ = self.force.take().unwrap().send(());
    }

    pub(crate) async fn ended(&mut self) {
        tokio::time::timeout(HANG, &mut self.task)
            .await
            .expect("the server never ends")
            .unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One user message.
pub(crate) fn chat(text: &str) -> Value {
    json!({ "model": "stub", "messages": [{ "role": "user", "content": text }] })
}

/// `base` with the fields of `more` over it.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("not an object")
    };
    base.as_object_mut().unwrap().extend(more);
    base
}

/// The data of every event of a stream in OpenAI's or Anthropic's form, but for the mark of its end.
pub(crate) fn data(stream: &str) -> Vec<Value> {
    let events = events(stream);
    let events = events.iter().filter(|event| *event != "[DONE]");
    events
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

/// The data of every event of a stream, by the rules of the specification.
pub(crate) fn events(stream: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut data: Vec<&str> = Vec::new();
    for line in stream.split('\n') {
        match line.strip_prefix("data:") {
            Some(value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
            None if line.is_empty() && !data.is_empty() => {
                events.push(std::mem::take(&mut data).join("\n"));
            }
            None => {}
        }
    }
    events
}

/// Snapshot settings that hide what differs from run to run.
pub(crate) fn filters() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(chatcmpl|cmpl)-[0-9a-f]{24}", "$1-[id]");
    settings.add_filter(r#""logprob":-?[\d.e-]+"#, r#""logprob":[p]"#);
    settings.add_filter(r#""created":\d{10}"#, r#""created":[time]"#);
    settings.add_filter(r#""created_at":"[^"]+""#, r#""created_at":"[time]""#);
    settings.add_filter(
        r#"("(?:\w+_duration|\w+_ms|\w+_per_second)"):[\d.e+-]+"#,
        "$1:[time]",
    );
    settings.add_filter(r"call_[0-9a-f]{24}", "call_[id]");
    settings.add_filter(r"shimmy-\d+\.\d+\.\d+", "shimmy-[version]");
    settings
}
