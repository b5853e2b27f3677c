//! `/metrics`: that what is counted is what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shimmy_engine::EngineConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{HANG, Setup, TestServer, chat, with};
use crate::websocket;

const CHAT: &str = "/v1/chat/completions";

/// The metrics as JSON.
struct Scrape(Value);

async fn scrape(server: &TestServer) -> Scrape {
    let request = server.client.get(server.url("/metrics"));
    let response = request
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    Scrape(response.json().await.unwrap())
}

impl Scrape {
    fn samples(&self, name: &str) -> &[Value] {
        let metrics = self.0["metrics"].as_array().unwrap();
        let metric = metrics.iter().find(|metric| metric["name"] == name);
        metric.map_or(&[], |metric| metric["samples"].as_array().unwrap())
    }

    /// The sample with these labels.
    fn sample(&self, name: &str, labels: &[(&str, &str)]) -> &Value {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let samples = self.samples(name);
        samples
            .iter()
            .find(|sample| sample["labels"] == json!(labels))
            .unwrap_or_else(|| panic!("no {name} with {labels:?}: {samples:?}"))
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sample(name, labels)["value"].as_u64().unwrap()
    }

    /// The one model's value.
    fn of_model(&self, name: &str) -> u64 {
        self.value(name, &[("model", "stub")])
    }

    /// How many observations the one model's histogram has.
    fn observed(&self, name: &str) -> u64 {
        let sample = self.sample(name, &[("model", "stub")]);
        sample["count"].as_u64().unwrap()
    }

    fn answers(&self, outcome: &str) -> u64 {
        let labels = [("model", "stub"), ("outcome", outcome)];
        self.value("shimmy_answers_total", &labels)
    }

    fn requests(&self, route: &str, status: &str) -> u64 {
        let labels = [("route", route), ("status", status)];
        self.value("shimmy_http_requests_total", &labels)
    }
}

/// A request on a connection of its own, which the test can drop.
async fn connect(server: &TestServer, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Scrapes until `done`.
async fn until(server: &TestServer, done: impl Fn(&Scrape) -> bool) {
    let scraping = async { while !done(&scrape(server).await) {} };
    tokio::time::timeout(HANG, scraping)
        .await
        .expect("it is never counted");
}

#[tokio::test]
async fn requests_are_counted_by_their_route_and_never_by_their_path() {
    let server = Setup::default().start().await;
    for path in [
        "/v1/models/stub",
        "/v1/models/owner/tiny:q4",
        "/v1/models/nobody",
    ] {
        server.get(path).await;
    }
    for path in ["/no/such/route", "/../etc/passwd", "/v1/", "//health"] {
        assert_eq!(server.get(path).await.status(), 404);
    }
    assert_eq!(server.post("/v1/models", &json!({})).await.status(), 405);
    let scrape = scrape(&server).await;
    assert_eq!(scrape.requests("/v1/models/{*id}", "200"), 2);
    assert_eq!(scrape.requests("/v1/models/{*id}", "404"), 1);
    assert_eq!(scrape.requests("/v1/models", "405"), 1);
    assert_eq!(scrape.requests("unmatched", "404"), 4);
    let timed = scrape.sample(
        "shimmy_http_request_duration_seconds",
        &[("route", "/v1/models/{*id}")],
    );
    assert_eq!(timed["count"], 3);
    let text = scrape.0.to_string();
    assert!(
        !text.contains("passwd") && !text.contains("nobody"),
        "{text}"
    );
}

#[tokio::test]
async fn tokens_and_times_are_those_of_the_answers() {
    let server = Setup::saying("twelve bytes").start().await;
    let mut usage = Vec::new();
    for fields in [json!({}), json!({ "max_tokens": 5 }), json!({ "n": 2 })] {
        let (status, answer) = server.post_json(CHAT, &with(chat("x"), fields)).await;
        assert_eq!(status, 200, "{answer}");
        usage.push(answer["usage"].clone());
    }
    let stream = json!({ "stream": true });
    server.stream(CHAT, &with(chat("x"), stream.clone())).await;
    server
        .stream("/api/generate", &with(chat("x"), stream))
        .await;
    let scrape = scrape(&server).await;
    // Twelve bytes and the end token, but for the answer that was cut: six answers in all.
    let completion = usage[0]["completion_tokens"].as_u64().unwrap();
    assert_eq!(completion, 13);
    assert_eq!(
        scrape.of_model("shimmy_completion_tokens_total"),
        5 * completion + 5
    );
    let prompt = usage[0]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(scrape.of_model("shimmy_prompt_tokens_total"), 6 * prompt);
    assert_eq!(scrape.answers("stop"), 5);
    assert_eq!(scrape.answers("length"), 1);
    assert_eq!(scrape.answers("abandoned") + scrape.answers("failed"), 0);
    assert_eq!(scrape.observed("shimmy_time_to_first_token_seconds"), 5);
    assert_eq!(scrape.observed("shimmy_queue_time_seconds"), 6);
    // Every token of text but each answer's first came some time after another. (Those that were
    // there before the first was taken have no time of their own.)
    let gaps = scrape.observed("shimmy_inter_token_latency_seconds");
    assert!(gaps <= 5 * 11 + 4, "{gaps}");
}

#[tokio::test]
async fn reused_prompts_are_counted_as_the_answers_say() {
    let server = Setup::default().start().await;
    let mut reused = 0;
    for _ in 0..3 {
        let (_, answer) = server.post_json(CHAT, &chat("the same again")).await;
        reused += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap();
    }
    let scrape = scrape(&server).await;
    assert_eq!(scrape.of_model("shimmy_prompt_tokens_reused_total"), reused);
}

#[tokio::test]
async fn inter_token_times_are_measured_while_a_stream_runs() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let body = with(chat("x"), json!({ "stream": true, "max_tokens": 20 }));
    let stream = gate.step_while(server.stream(CHAT, &body)).await;
    assert!(stream.contains("[DONE]"));
    let scrape = scrape(&server).await;
    let gaps = scrape.sample("shimmy_inter_token_latency_seconds", &[("model", "stub")]);
    assert!((1..20).contains(&gaps["count"].as_u64().unwrap()), "{gaps}");
    assert!(gaps["sum"].as_f64().unwrap() > 0.0, "{gaps}");
    let buckets = gaps["buckets"].as_array().unwrap();
    assert_eq!(
        buckets.last().unwrap(),
        &json!({ "le": "+Inf", "count": gaps["count"] })
    );
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_counted_as_abandoned() {
    for fields in [
        json!({}),
        json!({ "stream": true }),
        json!({ "stream": true, "n": 3 }),
    ] {
        let (setup, gate) = Setup::gated();
        let server = setup.start().await;
        let choices = fields["n"].as_u64().unwrap_or(1);
        let stream = connect(&server, &with(chat("x"), fields)).await;
        gate.step_until(|| server.engine().running > 0).await;
        drop(stream);
        let done = |scrape: &Scrape| {
            let known = !scrape.samples("shimmy_answers_total").is_empty();
            known && scrape.answers("abandoned") == choices
        };
        gate.step_while(until(&server, done)).await;
    }
}

#[tokio::test]
async fn failures_and_stops_are_told_apart() {
    let mut setup = Setup::saying("a long answer that is never finished");
    setup.stub.fail_from_step = Some(8);
    let server = setup.start().await;
    server
        .stream(CHAT, &with(chat("x"), json!({ "stream": true })))
        .await;
    let failed = scrape(&server).await;
    assert_eq!(failed.answers("failed"), 1);
    assert_eq!(failed.answers("abandoned"), 0);
    assert!(failed.of_model("shimmy_completion_tokens_total") > 0);

    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = websocket::connect(&server).await;
    websocket::send(&mut client, &chat("x")).await;
    gate.step_until(|| server.engine().running > 0).await;
    websocket::send(&mut client, &json!({ "stop": true })).await;
    gate.step_while(websocket::answer(&mut client)).await;
    let stopped = scrape(&server).await;
    assert_eq!(stopped.answers("cancelled"), 1);
    // The connection is counted, and is no request that takes for ever.
    assert_eq!(stopped.requests("/ws/generate", "101"), 1);
    let timed = stopped.samples("shimmy_http_request_duration_seconds");
    assert!(
        timed
            .iter()
            .all(|sample| sample["labels"]["route"] != "/ws/generate")
    );
}

#[tokio::test]
async fn full_queues_and_full_engines_show() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.sequences = 1;
    setup.engine = EngineConfig {
        queue: 1,
        ..EngineConfig::default()
    };
    let server = setup.start().await;
    let idle = scrape(&server).await;
    assert_eq!(idle.of_model("shimmy_requests_running"), 0);
    assert_eq!(idle.of_model("shimmy_kv_cells_used"), 0);
    let _running = connect(&server, &chat("x")).await;
    gate.step_until(|| server.engine().running == 1).await;
    let _waiting = connect(&server, &chat("y")).await;
    gate.step_until(|| server.engine().occupied == 2).await;
    for _ in 0..2 {
        assert_eq!(server.post(CHAT, &chat("z")).await.status(), 429);
    }
    let busy = scrape(&server).await;
    assert_eq!(busy.of_model("shimmy_requests_running"), 1);
    assert_eq!(busy.of_model("shimmy_requests_waiting"), 1);
    assert_eq!(busy.of_model("shimmy_queue_full_total"), 2);
    assert_eq!(busy.of_model("shimmy_model_up"), 1);
    assert!(busy.of_model("shimmy_kv_cells_used") > 0);
    assert_eq!(busy.of_model("shimmy_kv_cells"), 1 << 16);
    assert_eq!(busy.requests(CHAT, "429"), 2);
}

#[tokio::test]
async fn models_and_what_happened_to_them_show() {
    let server = Setup::default().start().await;
    let scrape = scrape(&server).await;
    let value = |name| scrape.value(name, &[]);
    assert_eq!(value("shimmy_models_known"), 3);
    assert_eq!(value("shimmy_models_loaded"), 1);
    assert_eq!(value("shimmy_model_loads_total"), 1);
    assert_eq!(value("shimmy_model_load_failures_total"), 0);
    assert_eq!(value("shimmy_model_evictions_total"), 0);
    let load_time = scrape.sample("shimmy_model_load_time_seconds", &[]);
    assert_eq!(
        (&load_time["count"], &load_time["sum"]),
        (&json!(1), &json!(0.007))
    );
    assert!(value("shimmy_start_time_seconds") > 1_700_000_000);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(scrape.value("shimmy_build_info", &version), 1);
}

#[tokio::test]
async fn the_client_chooses_the_format() {
    let server = Setup::default().start().await;
    server.post(CHAT, &chat("x")).await;
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1";
    for (accept, content_type, line) in [
        (
            "*/*",
            "text/plain; version=0.0.4; charset=utf-8",
            "# TYPE shimmy_answers_total counter",
        ),
        (
            prometheus,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE shimmy_answers counter",
        ),
        ("Application/JSON", "application/json", ""),
    ] {
        let request = server.client.get(server.url("/metrics"));
        let response = request.header("accept", accept).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(response.headers()["vary"], "accept");
        let text = response.text().await.unwrap();
        assert!(line.is_empty() || text.lines().any(|l| l == line), "{text}");
        assert_eq!(text.ends_with("# EOF\n"), accept == prometheus);
    }
}

#[tokio::test]
async fn answers_keep_their_length_while_they_are_timed() {
    let server = Setup::default().start().await;
    let response = server.get("/health").await;
    let length = response.headers()["content-length"].to_str().unwrap();
    let length: usize = length.parse().unwrap();
    assert_eq!(response.bytes().await.unwrap().len(), length);
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let starts = text.match_indices("shimmy_").map(|(at, _)| &text[at..]);
    starts
        .map(|rest| rest.split(|c| !is_name(c)).next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_table_and_the_dashboard_name_what_there_is() {
    let server = Setup::default().start().await;
    server.post(CHAT, &chat("x")).await;
    let scrape = scrape(&server).await;
    let metrics = scrape.0["metrics"].as_array().unwrap();
    let counted: BTreeSet<_> = metrics
        .iter()
        .map(|metric| metric["name"].as_str().unwrap().to_owned())
        .collect();
    let documented = names(include_str!("../../../../docs/metrics.md"));
    let samples = |name: &String| name.strip_suffix("_bucket").unwrap_or(name).to_owned();
    let documented: BTreeSet<_> = documented.iter().map(samples).collect();
    assert_eq!(documented, counted);

    let text = include_str!("../../../../docs/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let shown: BTreeSet<_> = names(text).iter().map(samples).collect();
    let strange: Vec<_> = shown.difference(&counted).collect();
    assert!(strange.is_empty(), "there is no {strange:?}");
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row").count();
    assert!(rows >= 5 && panels.len() > 2 * rows, "{rows} rows");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
    }
}
