//! The WebSocket route on the real engine, with a client library's frames.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, tiny_folder};

/// Sends a request and reads raw token frames up to the last word; a frame that is a JSON object
/// with `done` is that.
async fn answer<S>(socket: &mut S, request: &Value, stop_after: Option<usize>) -> (String, Value)
where
    S: SinkExt<Message> + StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>>,
    S: Unpin,
    <S as futures_util::Sink<Message>>::Error: std::fmt::Debug,
{
    socket
        .send(Message::text(request.to_string()))
        .await
        .expect("sent");
    let (mut whole, mut frames) = (String::new(), 0);
    loop {
        let frame = socket.next().await.expect("a frame").expect("a good one");
        let Message::Text(text) = frame else { continue };
        let last = serde_json::from_str::<Value>(&text)
            .ok()
            .filter(|json| json["done"] == true);
        if let Some(last) = last {
            return (whole, last);
        }
        whole.push_str(&text);
        frames += 1;
        if Some(frames) == stop_after {
            socket
                .send(Message::text(r#"{"stop":true}"#))
                .await
                .expect("sent");
        }
    }
}

/// Runs the conversation of a test; the server's own client cannot live inside a runtime.
fn block_on<T>(conversation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(conversation)
}

#[test]
fn one_connection_takes_several_requests() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let request = json!({ "prompt": "hello", "max_tokens": 30, "temperature": 0 });
    let url = server.url("/ws/generate").replace("http://", "ws://");
    let texts = block_on(async {
        let (mut socket, _) = connect_async(url).await.expect("connected");
        let (first, last) = answer(&mut socket, &request, None).await;
        assert_eq!(last["finish_reason"], "length");
        assert_eq!(last["usage"]["completion_tokens"], 30);
        [first, answer(&mut socket, &request, None).await.0]
    });
    let expected = server.generate(&request);
    assert_eq!(texts, [expected.clone(), expected]);
}

#[test]
fn a_stop_ends_an_answer_and_the_connection_goes_on() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let url = server.url("/ws/generate").replace("http://", "ws://");
    block_on(async {
        let (mut socket, _) = connect_async(url).await.expect("connected");
        let endless = json!({ "prompt": "hello", "max_tokens": 1900, "temperature": 0 });
        let (_, last) = answer(&mut socket, &endless, Some(3)).await;
        assert_eq!(last["finish_reason"], "cancelled");
        let short = json!({ "prompt": "hello", "max_tokens": 2, "temperature": 0 });
        let (_, last) = answer(&mut socket, &short, None).await;
        assert_eq!(last["usage"]["completion_tokens"], 2);
    });
}
