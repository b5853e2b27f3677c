//! Health, diagnostics and `/api/models`.

use serde_json::json;

use crate::support::Setup;

#[tokio::test]
async fn health_tells_what_it_is() {
    let server = Setup::default().start().await;
    let (status, health) = server.get_json("/health").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&health["status"], &health["service"]),
        (&json!("ok"), &json!("shimmy"))
    );
    assert_eq!(health["models"], json!({ "loaded": 1, "total": 3 }));
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
