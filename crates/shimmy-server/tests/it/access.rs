//! Host, Origin and token.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shimmy_server::{AppState, BindError, CacheScope, Secret, Server};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Setup, TestServer, chat};

/// Every route, as method and path.
const ROUTES: [(&str, &str); 38] = [
    ("POST", "/api/generate"),
    ("GET", "/ws/generate"),
    ("GET", "/api/models"),
    ("POST", "/api/models/discover"),
    ("POST", "/api/models/stub/load"),
    ("POST", "/api/models/stub/unload"),
    ("GET", "/api/models/stub/status"),
    ("GET", "/diag"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs/"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/chat/completions"),
    ("GET", "/models"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/stub"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/reranking"),
    ("GET", "/v1/health"),
    ("POST", "/apply-template"),
    ("POST", "/completion"),
    ("POST", "/completions"),
    ("POST", "/detokenize"),
    ("POST", "/embedding"),
    ("POST", "/embeddings"),
    ("POST", "/infill"),
    ("GET", "/props"),
    ("POST", "/rerank"),
    ("POST", "/reranking"),
    ("GET", "/slots"),
    ("POST", "/tokenize"),
    ("HEAD", "/v1/models"),
    ("OPTIONS", "/v1/models"),
    ("GET", "/no/such/route"),
    ("DELETE", "/v1/models"),
    ("GET", "//v1/models"),
];

async fn with_key() -> TestServer {
    let mut setup = Setup::default();
    setup.server.api_keys = vec![Secret::new("sk-right").unwrap()];
    setup.start().await
}

async fn status(
    server: &TestServer,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
) -> StatusCode {
    let method: Method = method.parse().unwrap();
    let mut request = server.client.request(method, server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn every_route_but_health_and_the_docs_page_needs_the_token() {
    let server = with_key().await;
    let long = format!("Bearer {}", "x".repeat(30_000));
    let wrong: [&[(&str, &str)]; 9] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer sk-wrong")],
        &[("authorization", "Basic sk-right")],
        &[("authorization", "sk-right")],
        &[("authorization", &long)],
        &[("x-api-key", "sk-wrong")],
        &[("x-api-key", "")],
    ];
    for route in ROUTES {
        for headers in wrong {
            assert_eq!(
                status(&server, route, headers).await,
                401,
                "{route:?} {headers:?}"
            );
        }
        for headers in [
            ("authorization", "Bearer sk-right"),
            ("x-api-key", "sk-right"),
        ] {
            assert_ne!(
                status(&server, route, &[headers]).await,
                401,
                "{route:?} {headers:?}"
            );
        }
    }
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/docs",
        "/docs/start.js",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/favicon-32x32.png",
    ] {
        assert_eq!(status(&server, ("GET", path), &[]).await, 200);
    }
}

#[tokio::test]
async fn authorization_decides_where_both_are_sent() {
    let server = with_key().await;
    let models = ("GET", "/v1/models");
    let both = |bearer, key| [("authorization", bearer), ("x-api-key", key)];
    assert_eq!(
        status(&server, models, &both("Bearer sk-wrong", "sk-right")).await,
        401
    );
    assert_eq!(
        status(&server, models, &both("bearer sk-right", "sk-wrong")).await,
        200
    );
    let twice = [
        ("authorization", "Bearer sk-right"),
        ("authorization", "Bearer sk-right"),
    ];
    assert_eq!(status(&server, models, &twice).await, 401);
}

#[tokio::test]
async fn a_wrong_token_is_told_in_the_paths_dialect() {
    let server = with_key().await;
    let (_, openai) = server.get_json("/v1/models").await;
    assert_eq!(openai["error"]["code"], "invalid_api_key");
    let (_, native) = server.get_json("/api/models").await;
    assert!(native["error"].is_string());
    let response = server.get("/api/models").await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_websocket_needs_the_token_before_it_is_one() {
    let server = with_key().await;
    let url = format!("ws://{}/ws/generate", server.address);
    let refused = tokio_tungstenite::connect_async(&url).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("x-api-key", "sk-right".parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap();
}

#[tokio::test]
async fn an_address_for_everyone_needs_a_token() {
    let listener = || std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let state = |config| AppState::new(crate::loader::loader(), config);
    let mut config = shimmy_server::ServerConfig::default();
    let refused = Server::bind(listener(), state(config.clone())).unwrap_err();
    assert!(matches!(refused, BindError::Open { .. }));
    config.api_keys = vec![Secret::new("k").unwrap()];
    assert!(Server::bind(listener(), state(config)).is_ok());
}

async fn with_host(server: &TestServer, lines: &str) -> String {
    let head = format!("GET /v1/models HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
    server.raw(head.as_bytes()).await
}

#[tokio::test]
async fn foreign_hosts_are_refused() {
    let server = Setup::default().start().await;
    for (code, lines) in [
        (200, "Host: localhost\r\n"),
        (200, "Host: LOCALHOST:1\r\n"),
        (200, "Host: 127.0.0.1:11435\r\n"),
        (200, "Host: [::1]:11435\r\n"),
        (403, "Host: evil.example\r\n"),
        (403, "Host: 127.0.0.1.evil.com\r\n"),
        (403, "Host: 2130706433\r\n"),
        (403, "Host: localhost.\r\n"),
        (400, "Host: localhost\r\nHost: localhost\r\n"),
        (400, ""),
        (400, "Host: \r\n"),
        (400, "Host: a@localhost\r\n"),
    ] {
        let answer = with_host(&server, lines).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")),
            "{lines}: {answer}"
        );
        assert!(
            !answer.to_lowercase().contains("access-control"),
            "{answer}"
        );
    }
    let target = "GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(
        server
            .raw(target.as_bytes())
            .await
            .starts_with("HTTP/1.1 400")
    );
}

#[tokio::test]
async fn hosts_can_be_added_by_name() {
    let mut setup = Setup::default();
    setup.server.allowed_hosts = vec!["shimmy.lan".to_owned()];
    let server = setup.start().await;
    assert!(
        with_host(&server, "Host: shimmy.lan:8080\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        with_host(&server, "Host: other.lan\r\n")
            .await
            .starts_with("HTTP/1.1 403")
    );
}

#[tokio::test]
async fn foreign_origins_are_refused_on_every_method() {
    let server = Setup::default().start().await;
    let own = format!("http://{}", server.address);
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:3000",
        "file://",
        "",
    ] {
        for route in ROUTES {
            assert_eq!(
                status(&server, route, &[("origin", origin)]).await,
                403,
                "{origin} {route:?}"
            );
        }
        let request = server.client.post(server.url("/v1/chat/completions"));
        let response = request
            .header("origin", origin)
            .json(&chat("x"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 403);
        assert!(
            response
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        assert_eq!(
            status(&server, ("OPTIONS", "/v1/models"), &preflight).await,
            403
        );
    }
    assert_eq!(
        status(&server, ("GET", "/v1/models"), &[("origin", &own)]).await,
        200
    );
}

#[tokio::test]
async fn configured_origins_get_their_headers_and_errors_too() {
    let mut setup = Setup::default();
    setup.server.cors_origins = vec!["https://ui.example".to_owned(), "null".to_owned()];
    setup.server.api_keys = vec![Secret::new("k").unwrap()];
    let server = setup.start().await;
    for origin in ["https://ui.example", "null"] {
        let request = server
            .client
            .get(server.url("/v1/models"))
            .header("origin", origin);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        assert_eq!(response.headers()["vary"], "origin");
    }
    // A preflight never carries the token.
    let preflight = [
        ("origin", "https://ui.example"),
        ("access-control-request-method", "POST"),
    ];
    assert_eq!(
        status(&server, ("OPTIONS", "/api/generate"), &preflight).await,
        204
    );
}

#[tokio::test]
async fn a_foreign_page_cannot_open_a_websocket() {
    let server = Setup::default().start().await;
    let url = format!("ws://{}/ws/generate", server.address);
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("origin", "http://evil.example".parse().unwrap());
    let refused = tokio_tungstenite::connect_async(request).await.unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
}

#[tokio::test]
async fn the_checks_come_before_the_body_is_looked_at() {
    let server = with_key().await;
    let request = server
        .client
        .post(server.url("/api/generate"))
        .body("not json");
    let error: Value = request.send().await.unwrap().json().await.unwrap();
    assert_ne!(error["error"], json!(null));
    assert!(
        error["error"].as_str().unwrap().contains("API key"),
        "{error}"
    );
}

/// A server with two keys, and what a chat with `key` takes from the cache.
async fn cached(server: &TestServer, key: &str) -> u64 {
    let body = json!({
        "messages": [{ "role": "user", "content": "a secret of some length" }], "max_tokens": 1,
    });
    let request = server.client.post(server.url("/v1/chat/completions"));
    let answer = request.bearer_auth(key).json(&body).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let details = &answer["usage"]["prompt_tokens_details"];
    details["cached_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn one_key_does_not_learn_from_counts_what_another_has_asked() {
    let keys = || ["sk-one", "sk-two"].map(|key| Secret::new(key).unwrap());
    let mut setup = Setup::default();
    setup.server.api_keys = keys().into();
    let server = setup.start().await;
    assert_eq!(cached(&server, "sk-one").await, 0);
    assert_eq!(cached(&server, "sk-two").await, 0);
    assert_ne!(cached(&server, "sk-one").await, 0);

    let mut setup = Setup::default();
    setup.server.api_keys = keys().into();
    setup.server.cache_scope = CacheScope::All;
    let server = setup.start().await;
    assert_eq!(cached(&server, "sk-one").await, 0);
    assert_ne!(cached(&server, "sk-two").await, 0, "they trust each other");
}
