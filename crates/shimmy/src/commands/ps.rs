//! `shimmy ps`: the models in the memory of the running server.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{RunningServer, in_path};
use super::{bytes, print, print_json, table};
use crate::cli::PsArgs;
use crate::commands::screen::note;
use crate::failure::Failure;

pub(super) fn run(args: &PsArgs) -> Result<(), Failure> {
    let server = RunningServer::connect(&args.listen)?;
    let models = in_memory(&server)?;
    if args.json {
        let version = &server.health["version"];
        return print_json(&json!({
            "server": { "url": server.base(), "version": version },
            "models": models,
        }));
    }
    if models.is_empty() {
        note(&format!("{} has no model in memory\n", server.base()));
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = models.iter().map(|model| row(model, now)).collect();
    print(&table(
        &[
            "NAME", "MEMORY", "ON GPU", "ENGINE", "CONTEXT", "REQUESTS", "UNTIL",
        ],
        &rows,
    ))
}

/// The models that are loaded or being loaded, each as its status has it.
fn in_memory(server: &RunningServer) -> Result<Vec<Value>, Failure> {
    let list = server.get("/api/models")?.unwrap_or_default();
    let listed = list["models"].as_array().map_or(&[][..], Vec::as_slice);
    let is_there = |model: &&Value| model["loaded"] == true || model["loading"].is_number();
    let mut models = Vec::new();
    for model in listed.iter().filter(is_there) {
        let name = model["name"].as_str().unwrap_or_default();
        // One that has gone in the meantime is not in memory.
        models.extend(server.get(&format!("/api/models/{}/status", in_path(name)))?);
    }
    Ok(models)
}

fn row(model: &Value, now: Timestamp) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let size = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), bytes);
    let (residence, engine) = (&model["residence"], &model["engine"]);
    let number = |value: &Value| value.as_u64();
    let requests = number(&engine["running"]).zip(number(&engine["waiting"]));
    vec![
        text(&model["name"]),
        size(&residence["memory_bytes"]),
        size(&residence["gpu_bytes"]),
        text(&engine["name"]),
        number(&engine["context"]).map_or_else(|| "-".to_owned(), |tokens| tokens.to_string()),
        match requests {
            Some((running, 0)) => running.to_string(),
            Some((running, waiting)) => format!("{running}, {waiting} waiting"),
            None => "-".to_owned(),
        },
        until(model, now),
    ]
}

/// How long a model stays.
fn until(model: &Value, now: Timestamp) -> String {
    if let Some(part) = model["loading"].as_f64() {
        return format!("loading, {:.0} %", part * 100.0);
    }
    let residence = &model["residence"];
    if residence["pinned"] == true {
        return "pinned".to_owned();
    }
    let Some(end) = residence["expires_at"].as_str() else {
        return "its memory is needed".to_owned();
    };
    let end: Result<Timestamp, _> = end.parse();
    let left = end.map(|end| end.as_second().saturating_sub(now.as_second()));
    match left {
        Ok(..=0) => "now".to_owned(),
        Ok(seconds @ ..90) => format!("{seconds} s from now"),
        Ok(seconds) => format!("{} min from now", (seconds + 30) / 60),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_stay_is_for_people() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |residence| until(&json!({ "loading": null, "residence": residence }), now);
        assert_eq!(of(json!({ "pinned": true })), "pinned");
        assert_eq!(of(json!({ "expires_at": null })), "its memory is needed");
        assert_eq!(
            of(json!({ "expires_at": "2026-01-01T00:05:00Z" })),
            "5 min from now"
        );
        assert_eq!(
            of(json!({ "expires_at": "2026-01-01T00:00:30Z" })),
            "30 s from now"
        );
        assert_eq!(of(json!({ "expires_at": "2025-01-01T00:00:00Z" })), "now");
        assert_eq!(until(&json!({ "loading": 0.5 }), now), "loading, 50 %");
    }
}
