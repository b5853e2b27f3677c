//! Adapters over HTTP: their names as models' names, in lists, loaded and unloaded by hand.

use serde_json::{Value, json};
use shimmy_engine::stub::StubConfig;

use crate::support::{Setup, TestServer, chat, with};

async fn start(adapters: usize) -> TestServer {
    let stub = StubConfig {
        adapters,
        ..StubConfig::default()
    };
    let setup = Setup {
        stub,
        ..Setup::default()
    };
    setup.start().await
}

/// A success of vLLM's routes: the status and the text.
async fn post_text(server: &TestServer, path: &str, body: &Value) -> (u16, String) {
    let answer = server.client.post(server.url(path)).json(body);
    let answer = answer.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn an_adapters_name_is_a_models_name_in_every_dialect() {
    let server = start(2).await;
    // The stub moves every letter by one for each adapter's number and one more.
    let name = "adapter-1";
    let named = |body: Value| with(body, json!({ "model": name }));
    let (status, answer) = server
        .post_json("/api/generate", &named(json!({ "prompt": "a" })))
        .await;
    assert_eq!((status, &answer["text"]), (200, &json!("c")));
    assert_eq!(answer["model"], name);
    let (_, answer) = server
        .post_json("/v1/chat/completions", &named(chat("a")))
        .await;
    assert_eq!(answer["choices"][0]["message"]["content"], "c", "{answer}");
    assert_eq!(answer["model"], name);
    let (_, answer) = server
        .post_json("/v1/completions", &named(json!({ "prompt": "a" })))
        .await;
    assert_eq!(answer["choices"][0]["text"], "c", "{answer}");
    let body = with(named(chat("a")), json!({ "max_tokens": 9 }));
    let (_, answer) = server.post_json("/v1/messages", &body).await;
    assert_eq!(answer["content"][0]["text"], "c", "{answer}");
    let (_, answer) = server
        .post_json("/v1/responses", &named(json!({ "input": "a" })))
        .await;
    assert_eq!(answer["output"][0]["content"][0]["text"], "c", "{answer}");
    let (_, answer) = server
        .post_json("/completion", &named(json!({ "prompt": "a" })))
        .await;
    assert_eq!(answer["content"], "c", "{answer}");
    let body = with(named(chat("a")), json!({ "stream": false }));
    let (_, answer) = server.post_json("/api/chat", &body).await;
    assert_eq!(answer["message"]["content"], "c", "{answer}");
    // What a request says beside the name comes first.
    let body = named(json!({ "prompt": "a", "lora": [] }));
    let (_, answer) = server.post_json("/api/generate", &body).await;
    assert_eq!(answer["text"], "a");
    let body = named(json!({ "input": "a" }));
    let (status, error) = server.post_json("/v1/embeddings", &body).await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("model")));
}

#[tokio::test]
async fn adapters_are_listed_under_their_model() {
    let server = start(1).await;
    let (_, list) = server.get_json("/v1/models").await;
    let models = list["data"].as_array().unwrap();
    let one = |id: &str| models.iter().find(|model| model["id"] == id).unwrap();
    assert_eq!(one("stub")["parent"], Value::Null);
    assert_eq!(one("stub")["root"], "stub");
    assert_eq!(one("adapter-0")["parent"], "stub");
    assert_eq!(one("adapter-0")["root"], "0.gguf");
    assert_eq!(
        one("adapter-0")["context_length"],
        one("stub")["context_length"]
    );
    let (status, alone) = server.get_json("/v1/models/adapter-0").await;
    assert_eq!((status, &alone), (200, one("adapter-0")));
}

#[tokio::test]
async fn an_adapter_is_loaded_and_unloaded_as_with_vllm() {
    let server = start(0).await;
    let load = "/v1/load_lora_adapter";
    let unload = "/v1/unload_lora_adapter";
    let pirate = json!({ "lora_name": "pirate", "lora_path": "pirate.gguf" });
    let (status, text) = post_text(&server, load, &pirate).await;
    let expected = "Success: LoRA adapter 'pirate' added successfully.";
    assert_eq!((status, text.as_str()), (200, expected));
    let ask = json!({ "model": "pirate", "prompt": "a" });
    assert_eq!(server.post_json("/api/generate", &ask).await.1["text"], "b");
    let (status, error) = server.post_json(load, &pirate).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("lora_name"))
    );
    let outside = json!({ "lora_name": "x", "lora_path": "../x.gguf" });
    let (status, error) = server.post_json(load, &outside).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("lora_path"))
    );
    assert!(!error.to_string().contains("/srv"), "{error}");
    for wrong in [
        json!({ "lora_path": "x.gguf" }),
        json!({ "lora_name": "", "lora_path": "x.gguf" }),
        json!({ "lora_name": "x\n", "lora_path": "x.gguf" }),
        json!({ "lora_name": "x", "lora_path": "" }),
        json!({ "lora_name": "x", "lora_path": 5 }),
    ] {
        assert_eq!(server.post_json(load, &wrong).await.0, 400, "{wrong}");
    }

    let name = json!({ "lora_name": "pirate" });
    let (status, text) = post_text(&server, unload, &name).await;
    let expected = "Success: LoRA adapter 'pirate' removed successfully.";
    assert_eq!((status, text.as_str()), (200, expected));
    let (status, error) = server.post_json(unload, &name).await;
    assert_eq!(status, 404, "{error}");
    assert_eq!(server.post_json("/api/generate", &ask).await.0, 404);
}

#[tokio::test]
async fn an_unload_waits_for_the_answers_that_use_the_adapter() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.adapters = 1;
    let server = setup.start().await;
    let body = json!({ "model": "adapter-0", "prompt": "a", "max_tokens": 40, "stream": true });
    let url = server.url("/api/generate");
    let asked = server.client.post(&url).json(&body).send();
    let answer = gate.step_while(asked).await.unwrap();
    let name = json!({ "lora_name": "adapter-0" });
    let unloading = {
        let request = server.client.post(server.url("/v1/unload_lora_adapter"));
        tokio::spawn(request.json(&name).send())
    };
    // It is taken away from new requests at once …
    gate.step_while(async {
        let ask = json!({ "model": "adapter-0", "prompt": "a", "max_tokens": 1 });
        while server.post_json("/api/generate", &ask).await.0 != 404 {}
    })
    .await;
    // … and the running one ends as it would have.
    let text = gate.step_while(answer.text()).await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let unloaded = gate.step_while(unloading).await.unwrap().unwrap();
    assert_eq!(unloaded.status(), 200);
}

#[tokio::test]
async fn scales_of_llama_server_apply_where_a_request_does_not_say() {
    let server = start(2).await;
    let (status, list) = server.get_json("/lora-adapters").await;
    let expected = json!([
        { "id": 0, "name": "adapter-0", "path": "0.gguf", "scale": 0.0 },
        { "id": 1, "name": "adapter-1", "path": "1.gguf", "scale": 0.0 },
    ]);
    assert_eq!((status, list), (200, expected));
    for wrong in [
        json!([{ "id": 7, "scale": 1.0 }]),
        json!([{ "id": 0, "scale": 1e9 }]),
        json!([{ "id": 0 }]),
        json!({ "id": 0, "scale": 1.0 }),
    ] {
        assert_eq!(
            server.post_json("/lora-adapters", &wrong).await.0,
            400,
            "{wrong}"
        );
    }
    let scales = json!([{ "id": 1, "scale": 0.5 }]);
    let (status, answer) = server.post_json("/lora-adapters", &scales).await;
    assert_eq!((status, answer), (200, json!({ "success": true })));
    let (_, list) = server.get_json("/lora-adapters").await;
    assert_eq!(list[1]["scale"], 0.5);
}

#[tokio::test]
async fn an_adapter_of_another_model_is_refused_by_name() {
    let server = start(1).await;
    let body = json!({ "prompt": "a", "lora": [{ "id": "foreign" }] });
    let (status, error) = server.post_json("/api/generate", &body).await;
    assert_eq!(status, 400, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("'foreign' does not fit model 'stub'"),
        "{text}"
    );
}
