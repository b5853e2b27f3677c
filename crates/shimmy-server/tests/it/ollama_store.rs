//! What changes which models there are, by Ollama's routes.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::ollama::{post, post_json};
use crate::store::digest;
use crate::support::{Setup, TestServer};

impl TestServer {
    fn stored(&self) -> Vec<String> {
        std::mem::take(&mut *self.store.done.lock().unwrap())
    }
}

async fn delete(server: &TestServer, body: &Value) -> reqwest::Response {
    let request = server.client.delete(server.url("/api/delete"));
    request.json(body).send().await.unwrap()
}

#[tokio::test]
async fn a_model_that_is_there_is_pulled_at_once() {
    let server = Setup::default().start().await;
    for name in ["stub", "STUB", "stub:latest", "owner/tiny:q4"] {
        let response = post(&server, "/api/pull", &json!({ "model": name })).await;
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let text = response.text().await.unwrap();
        assert_eq!(text, "{\"status\":\"success\"}\n", "{name}");
    }
    let body = json!({ "name": "stub", "stream": false });
    let answer = post_json(&server, "/api/pull", &body).await;
    assert_eq!(answer, (200, json!({ "status": "success" })));
    assert_eq!(server.stored(), [""; 0]);
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is() {
    let server = Setup::default().start().await;
    // One that merely resembles a model that is there is another one.
    let response = post(&server, "/api/pull", &json!({ "model": "stu" })).await;
    assert_snapshot!("ollama_pull", response.text().await.unwrap());
    assert_eq!(server.stored(), ["pull stu"]);
}

#[tokio::test]
async fn a_pull_that_fails_says_so_wherever_it_is() {
    let server = Setup::default().start().await;
    for stream in [true, false] {
        let body = json!({ "model": "nobody", "stream": stream });
        let failed = post_json(&server, "/api/pull", &body).await;
        assert_eq!(
            failed,
            (404, json!({ "error": "model 'nobody' not found" }))
        );
    }
    let response = post(&server, "/api/pull", &json!({ "model": "torn" })).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let last = text.lines().last().unwrap();
    assert_eq!(last, r#"{"error":"cannot write 'blob': the disk is full"}"#);
    let body = json!({ "model": "torn", "stream": false });
    assert_eq!(post_json(&server, "/api/pull", &body).await.0, 500);
}

#[tokio::test]
async fn models_are_copied_deleted_and_made() {
    let server = Setup::default().start().await;
    let copy = json!({ "source": "stub", "destination": "mine" });
    let response = post(&server, "/api/copy", &copy).await;
    assert_eq!(
        (response.status().as_u16(), response.text().await.unwrap()),
        (200, String::new())
    );
    assert_eq!(
        delete(&server, &json!({ "name": "mine" })).await.status(),
        200
    );
    let create = json!({ "model": "new", "from": "stub",
        "adapters": { "style.gguf": digest('b').to_string() } });
    let response = post(&server, "/api/create", &create).await;
    let text = response.text().await.unwrap();
    assert_eq!(
        text,
        "{\"status\":\"writing manifest\"}\n{\"status\":\"success\"}\n"
    );
    assert_eq!(
        server.stored(),
        [
            "copy stub to mine",
            "remove mine",
            "create new from Some(\"stub\") with 0 files and 1 adapters",
        ]
    );
    let create = json!({ "model": "new", "from": "stub", "system": "Be brief.", "template": "{{ .Prompt }}",
        "parameters": { "temperature": 0.5 }, "license": "MIT",
        "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(post(&server, "/api/create", &create).await.status(), 200);
    assert_eq!(
        server.stored()[1],
        "it has Some(\"{{ .Prompt }}\"), Some(\"Be brief.\"), {\"temperature\":0.5}, 1, [\"MIT\"]"
    );
    let response = delete(&server, &json!({ "model": "nobody" })).await;
    assert_eq!(response.status(), 404);
    let error: Value = response.json().await.unwrap();
    assert_eq!(error, json!({ "error": "model 'nobody' not found" }));
}

#[tokio::test]
async fn what_a_store_is_not_asked_for_is_named() {
    let server = Setup::default().start().await;
    for (path, body, named) in [
        ("/api/pull", json!({}), "`model`"),
        ("/api/pull", json!({ "model": "a\nb" }), "`model`"),
        (
            "/api/pull",
            json!({ "model": "a", "insecure": true }),
            "`insecure`",
        ),
        ("/api/copy", json!({ "source": "a" }), "`destination`"),
        (
            "/api/copy",
            json!({ "source": "", "destination": "b" }),
            "`source`",
        ),
        ("/api/create", json!({ "model": "a" }), "`from`"),
        (
            "/api/create",
            json!({ "model": "a", "from": "b", "quantize": "q4_0" }),
            "`quantize`",
        ),
        (
            "/api/create",
            json!({ "model": "a", "from": "b", "parameters": { "temperature": -1 } }),
            "`parameters.temperature`",
        ),
        (
            "/api/create",
            json!({ "model": "a", "from": "b", "parameters": { "stop": [7] } }),
            "`parameters.stop`",
        ),
        (
            "/api/create",
            json!({ "model": "a", "from": "b", "parameters": { "num_ctx": 0 } }),
            "`parameters.num_ctx`",
        ),
        (
            "/api/create",
            json!({ "model": "a", "from": "b", "parameters": { "mirostat": 2 } }),
            "`parameters.mirostat`",
        ),
        (
            "/api/create",
            json!({ "model": "a", "from": "b", "messages": [{ "role": "user", "images": ["x"] }] }),
            "`messages[0].images`",
        ),
        (
            "/api/create",
            json!({ "model": "a", "files": { "a.gguf": "sha256:../../etc/passwd" } }),
            "`files[\"a.gguf\"]`",
        ),
    ] {
        let (status, error) = post_json(&server, path, &body).await;
        assert_eq!(status, 400, "{path} {error}");
        assert!(
            error["error"].as_str().unwrap().starts_with(named),
            "{error}"
        );
    }
    assert_eq!(server.stored(), [""; 0]);
}

#[tokio::test]
async fn a_blob_is_kept_if_it_is_what_its_digest_says() {
    let server = Setup::default().start().await;
    let url = |digit| server.url(&format!("/api/blobs/{}", digest(digit)));
    let head = async |digit| {
        server
            .client
            .head(url(digit))
            .send()
            .await
            .unwrap()
            .status()
    };
    let put = async |digit| {
        // Larger than any body that is read into memory.
        let blob = vec![b'x'; 33 << 20];
        // Ollama's Python client says JSON of everything that it sends.
        let request = server.client.post(url(digit)).body(blob);
        let request = request.header("content-type", "application/json");
        request.send().await.unwrap()
    };
    assert_eq!(head('a').await, 200);
    assert_eq!(head('b').await, 404);
    assert_eq!(put('b').await.status(), 201);
    assert_eq!(head('b').await, 200);
    assert_eq!(put('b').await.status(), 200);
    assert_eq!(server.stored(), ["put 34603008 bytes"]);
    let wrong = put('f').await;
    assert_eq!(wrong.status(), 400);
    let error: Value = wrong.json().await.unwrap();
    assert!(
        error["error"].as_str().unwrap().contains("not that of"),
        "{error}"
    );
    assert_eq!(head('f').await, 404);
}

#[tokio::test]
async fn a_digest_is_no_path() {
    let server = Setup::default().start().await;
    let hex = "a".repeat(64);
    for digest in [
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}a"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:..%2F{}", &hex[3..]),
        format!("..%2F..%2Fsha256:{hex}"),
        format!("sha256-{hex}"),
        format!("x/../sha256:{hex}"),
        "..%2f..%2f..%2fetc%2fpasswd".to_owned(),
        "%00".to_owned(),
    ] {
        for method in ["HEAD", "POST"] {
            let request = format!(
                "{method} /api/blobs/{digest} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-length: 1\r\n\r\nx"
            );
            let answer = server.raw(request.as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 "),
                "{method} {digest}: {answer}"
            );
        }
    }
    assert_eq!(server.stored(), [""; 0]);
}

#[tokio::test]
async fn a_blob_that_does_not_come_whole_is_no_blob() {
    let server = Setup::default().start().await;
    let head = format!(
        "POST /api/blobs/{} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\nnonsense",
        digest('c')
    );
    let answer = server.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(server.stored(), [""; 0]);
    // What any web page may send without asking is no blob either.
    let url = server.url(&format!("/api/blobs/{}", digest('c')));
    let form = server
        .client
        .post(url)
        .header("content-type", "text/plain")
        .body("abc");
    assert_eq!(form.send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn without_a_store_nothing_is_pretended() {
    let server = Setup {
        without_store: true,
        ..Setup::default()
    }
    .start()
    .await;
    for (path, body) in [
        ("/api/pull", json!({ "model": "new" })),
        (
            "/api/copy",
            json!({ "source": "stub", "destination": "mine" }),
        ),
        ("/api/create", json!({ "model": "new", "from": "stub" })),
    ] {
        let (status, error) = post_json(&server, path, &body).await;
        assert_eq!(status, 501, "{path}");
        let message = error["error"].as_str().unwrap();
        assert!(message.starts_with("this server cannot "), "{message}");
    }
    assert_eq!(
        delete(&server, &json!({ "model": "stub" })).await.status(),
        501
    );
    let blob = server.url(&format!("/api/blobs/{}", digest('a')));
    assert_eq!(
        server.client.head(&blob).send().await.unwrap().status(),
        501
    );
    assert_eq!(
        server
            .client
            .post(&blob)
            .body("x")
            .send()
            .await
            .unwrap()
            .status(),
        501
    );
    // A model that is there needs no store to be there.
    assert_eq!(
        post_json(
            &server,
            "/api/pull",
            &json!({ "model": "stub", "stream": false })
        )
        .await
        .0,
        200
    );
}
