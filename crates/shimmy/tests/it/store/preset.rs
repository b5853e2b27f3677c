//! What a made model is told and how long it answers holds on the command line as over HTTP.

use rexpect::session::spawn_command;
use tempfile::TempDir;

use super::*;
use crate::support::{run, run_with_input};

/// The longest that anything in a terminal may take.
const MILLISECONDS: u64 = 30_000;

const SYSTEM: &str = "You are Bob. Be brief.";

/// A server with `tiny`, in a home that the command line shares with it.
fn home() -> (TempDir, Server) {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("tiny.gguf");
    std::fs::write(&base, content).expect("written");
    let server = server(folder.path(), &hub, Some(&base));
    (folder, server)
}

fn make(server: &Server, name: &str, more: &Value) {
    let mut create = json!({ "model": name, "from": "tiny" });
    let create = create.as_object_mut().expect("an object");
    create.extend(more.as_object().expect("an object").clone());
    done(server, "/api/create", &json!(create));
}

/// What a model is made with that is told something before its conversations.
fn told(parameters: &Value) -> Value {
    json!({
        "system": SYSTEM,
        "messages": [{ "role": "user", "content": "ping" }, { "role": "assistant", "content": "pong" }],
        "parameters": parameters,
    })
}

/// Text, tokens of the prompt, tokens of the answer, and why it ended.
type Answer = (String, u64, u64, String);

fn over_http(server: &Server, model: &str, more: &Value) -> Answer {
    let mut body = json!({ "model": model, "prompt": "who are you", "stream": false });
    let body = body.as_object_mut().expect("an object");
    body.extend(more.as_object().expect("an object").clone());
    let (status, answer) = server.post("/api/generate", &json!(body));
    assert_eq!(status, 200, "{answer}");
    answer_of(
        &answer,
        [
            "/response",
            "/prompt_eval_count",
            "/eval_count",
            "/done_reason",
        ],
    )
}

fn on_the_command_line(folder: &Path, model: &str, more: &[&str]) -> Answer {
    let base = ["generate", model, "-p", "who are you", "--json"];
    let outcome = run(folder, &[&base, more].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let answer = serde_json::from_str(&outcome.stdout).expect("JSON");
    let counts = ["/usage/prompt_tokens", "/usage/completion_tokens"];
    answer_of(&answer, ["/text", counts[0], counts[1], "/finish_reason"])
}

fn answer_of(answer: &Value, [said, prompt, tokens, reason]: [&str; 4]) -> Answer {
    let at = |place| answer.pointer(place).unwrap_or_else(|| panic!("{answer}"));
    let text = |place| at(place).as_str().expect("a text").to_owned();
    let count = |place| at(place).as_u64().expect("a count");
    (text(said), count(prompt), count(tokens), text(reason))
}

#[test]
fn a_command_is_told_what_a_request_is_told() {
    let (folder, server) = home();
    let folder = folder.path();
    make(
        &server,
        "plain",
        &json!({ "parameters": { "temperature": 0, "num_predict": 5 } }),
    );
    make(
        &server,
        "mine",
        &told(&json!({ "temperature": 0, "num_predict": 5 })),
    );
    let expected = over_http(&server, "mine", &json!({}));
    let (said, prompt, tokens, reason) = &expected;
    assert_eq!((*tokens, reason.as_str()), (5, "length"));
    assert!(*prompt > over_http(&server, "plain", &json!({})).1);
    assert_eq!(on_the_command_line(folder, "mine", &[]), expected);
    assert_eq!(&run(folder, &["run", "mine", "who are you"]).stdout, said);
    assert_eq!(
        &run_with_input(folder, &["run", "mine"], "who are you").stdout,
        said
    );

    // The command line's own words go before.
    let own = on_the_command_line(folder, "mine", &["--system", "Sing.", "-n", "7"]);
    let asked = json!({ "system": "Sing.", "max_tokens": 7 });
    assert_eq!(own, over_http(&server, "mine", &asked));
    assert_ne!((own.1, own.2), (*prompt, 5));

    // A prompt as it is has nothing before it, and ends no later.
    let raw = on_the_command_line(folder, "mine", &["--raw"]);
    assert_eq!(raw, over_http(&server, "mine", &json!({ "raw": true })));
    assert_eq!(raw, on_the_command_line(folder, "plain", &["--raw"]));
    assert_eq!(raw.2, 5);
}

#[test]
fn stop_texts_end_an_answer_unless_a_command_has_its_own() {
    let (folder, server) = home();
    let folder = folder.path();
    let greedy = json!({ "temperature": 0, "num_predict": 24 });
    make(&server, "plain", &json!({ "parameters": greedy }));
    let (whole, ..) = over_http(&server, "plain", &json!({}));
    let letters: Vec<char> = whole.chars().collect();
    let stop: String = letters[6..9].iter().collect();
    let own: String = letters[2..5].iter().collect();
    let until = |stop: &str| whole.split(stop).next().expect("a beginning").to_owned();
    assert_ne!(until(&stop), until(&own), "{whole:?}");
    make(
        &server,
        "mine",
        &json!({ "parameters": { "temperature": 0, "num_predict": 24, "stop": [stop] } }),
    );
    let answer = on_the_command_line(folder, "mine", &[]);
    assert_eq!(answer, over_http(&server, "mine", &json!({})));
    assert_eq!((answer.0, &*answer.3), (until(&stop), "stop"));
    assert_eq!(
        run(folder, &["run", "mine", "who are you"]).stdout,
        until(&stop)
    );
    let answer = on_the_command_line(folder, "mine", &["--stop", &own]);
    assert_eq!(answer.0, until(&own));
    let answer = run(folder, &["run", "--stop", &own, "mine", "who are you"]);
    assert_eq!(answer.stdout, until(&own));
    let never = on_the_command_line(folder, "mine", &["--stop", "\u{1F980}"]);
    assert_eq!(never.0, whole);
}

#[test]
fn a_conversation_shows_what_holds_and_is_told_it() {
    let (folder, server) = home();
    make(
        &server,
        "mine",
        &told(&json!({ "temperature": 0, "num_predict": 5, "stop": ["NEVER"] })),
    );
    let (said, prompt, ..) = over_http(&server, "mine", &json!({}));
    let mut command = shimmy(folder.path());
    command.args(["run", "mine"]).env("TERM", "dumb");
    let mut session = spawn_command(command, Some(MILLISECONDS)).expect("a terminal");
    session.exp_string(">>> ").expect("a prompt");
    let mut say = |line: &str| {
        session.send_line(line).expect("typed");
        session.exp_string(">>> ").expect("a prompt")
    };
    let shown = say("/show");
    let row = |shown: &str, name: &str| {
        let line = shown.lines().find(|line| line.trim().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {shown}"));
        line.trim()[name.len()..].trim().to_owned()
    };
    assert_eq!(row(&shown, "system"), SYSTEM);
    assert_eq!(row(&shown, "max_tokens"), "5");
    assert_eq!(row(&shown, "stop"), "\"NEVER\"");
    assert_eq!(row(&shown, "messages"), "2, 0 tokens");
    assert_eq!(say("/show system").trim_end(), SYSTEM);
    assert_eq!(say("/show messages"), "user: ping\r\nassistant: pong\r\n");

    say("/set verbose on");
    let answer = say("who are you");
    assert!(answer.contains(said.trim()), "{answer:?} has no {said:?}");
    assert!(answer.contains("(5 tokens"), "{answer:?}");
    assert!(
        answer.contains(&format!("prompt of {prompt} tokens")),
        "{answer:?}"
    );

    say("/set system Sing.");
    say("/set max_tokens 7");
    say("/set stop END");
    let shown = say("/set");
    assert_eq!(row(&shown, "system"), "Sing.");
    assert_eq!(row(&shown, "max_tokens"), "7");
    assert_eq!(row(&shown, "stop"), "\"END\"");
    say("/set system");
    say("/set max_tokens");
    say("/set stop");
    let shown = say("/set");
    assert_eq!(row(&shown, "system"), SYSTEM);
    assert_eq!(row(&shown, "max_tokens"), "5");
    assert_eq!(row(&shown, "stop"), "\"NEVER\"");
}
