//! Health, diagnostics and `/api/models`.

use serde_json::json;

use crate::support::{Setup, chat, with};

#[tokio::test]
async fn health_tells_what_it_is() {
    let server = Setup::default().start().await;
    let (status, health) = server.get_json("/health").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&health["status"], &health["service"]),
        (&json!("ok"), &json!("shimmy"))
    );
    assert_eq!(
        health["models"],
        json!({ "loaded": 1, "loading": 0, "total": 3 })
    );
    assert!(health["uptime_seconds"].is_u64());
    assert_eq!(server.get("/health/live").await.status(), 200);
    assert_eq!(server.get("/health/ready").await.status(), 200);
}

#[tokio::test]
async fn diagnostics_join_ours_with_the_binarys() {
    let server = Setup::default().start().await;
    let (status, diag) = server.get_json("/diag").await;
    assert_eq!(status, 200);
    assert_eq!(diag["os"], std::env::consts::OS);
    assert_eq!(diag["cpu_features"], json!(["stub"]));
}

#[tokio::test]
async fn models_are_listed_and_discovered() {
    let server = Setup::default().start().await;
    let (_, listed) = server.get_json("/api/models").await;
    let first = &listed["models"][0];
    assert_eq!(first["name"], "stub");
    assert_eq!(first["size_bytes"], 1234);
    assert_eq!(first["loaded"], true);
    assert_eq!(listed["models"][2]["problem"], "cut short");
    let found = server
        .client
        .post(server.url("/api/models/discover"))
        .send()
        .await
        .unwrap();
    let found: serde_json::Value = found.json().await.unwrap();
    assert_eq!(found["discovered"], 3);
    assert_eq!(found["models"], listed["models"]);
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_by_names_with_slashes() {
    let server = Setup::default().start().await;
    for name in ["stub", "owner/tiny:q4"] {
        let (status, loaded) = server
            .post_json(&format!("/api/models/{name}/load"), &json!({}))
            .await;
        assert_eq!((status, &loaded["loaded"]), (200, &json!(true)));
        let (status, unloaded) = server
            .post_json(&format!("/api/models/{name}/unload"), &json!({}))
            .await;
        assert_eq!((status, &unloaded["model"]), (200, &json!(name)));
        let (status, report) = server.get_json(&format!("/api/models/{name}/status")).await;
        assert_eq!((status, &report["name"]), (200, &json!(name)));
    }
    let (_, report) = server.get_json("/api/models/stub/status").await;
    assert_eq!(report["engine"]["alive"], true);
    assert_eq!(report["engine"]["name"], "stub");
    assert_eq!(report["engine"]["load_ms"], 7);
}

#[tokio::test]
async fn unknown_models_and_verbs_are_404() {
    let server = Setup::default().start().await;
    for path in [
        "/api/models/nobody/load",
        "/api/models/../../etc/passwd/load",
    ] {
        let (status, error) = server.post_json(path, &json!({})).await;
        assert_eq!(status, 404, "{error}");
    }
    let (status, error) = server.get_json("/api/models/nobody/status").await;
    assert_eq!((status, &error["suggestions"]), (404, &json!(["stub"])));
    assert_eq!(
        server
            .post("/api/models/stub/delete", &json!({}))
            .await
            .status(),
        404
    );
    assert_eq!(server.get("/api/models/stub").await.status(), 404);
    let (status, error) = server
        .post_json("/api/models/broken/load", &json!({}))
        .await;
    assert_eq!(
        (status, &error["error"]),
        (502, &json!("load failed: the file is cut short"))
    );
}

#[tokio::test]
async fn the_default_model_goes_by_that_name_everywhere() {
    let server = Setup::default().start().await;
    let path = |verb| format!("/api/models/default/{verb}");
    let (status, loaded) = server.post_json(&path("load"), &json!({})).await;
    assert_eq!(
        (status, &loaded["model"]),
        (200, &json!("stub")),
        "{loaded}"
    );
    let (status, unloaded) = server.post_json(&path("unload"), &json!({})).await;
    assert_eq!((status, &unloaded["unloaded"]), (200, &json!(true)));
    let (status, report) = server.get_json(&path("status")).await;
    assert_eq!((status, &report["name"]), (200, &json!("stub")));
    for model in [json!("default"), json!(""), json!(null)] {
        let body = json!({ "model": model, "keep_alive": 0 });
        let request = server.client.post(server.url("/api/generate")).json(&body);
        let response = request
            .header("user-agent", "ollama/0.12")
            .send()
            .await
            .unwrap();
        let answer: serde_json::Value = response.json().await.unwrap();
        assert_eq!(answer["done_reason"], "unload", "{model}: {answer}");
    }
}

#[tokio::test]
async fn a_failed_load_names_the_file_and_not_its_folders() {
    let server = Setup::default().start().await;
    let body = with(chat("x"), json!({ "model": "hidden" }));
    for path in [
        "/api/generate",
        "/v1/chat/completions",
        "/api/models/hidden/load",
    ] {
        let (status, error) = server.post_json(path, &body).await;
        let text = error.to_string();
        assert_eq!(status, 502, "{text}");
        assert!(text.contains("cannot read 'hidden.gguf': denied"), "{text}");
        assert!(!text.contains("secret") && !text.contains("srv"), "{text}");
    }
}
