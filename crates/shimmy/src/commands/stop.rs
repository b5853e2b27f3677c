//! `shimmy stop`: a model out of the memory of the running server.

use serde_json::json;

use super::server::{RunningServer, in_path};
use super::{print, print_json};
use crate::cli::StopArgs;
use crate::failure::Failure;

pub(super) fn run(args: &StopArgs) -> Result<(), Failure> {
    let name = &args.name;
    let server = RunningServer::connect(&args.listen)?;
    let answer = server.post(&format!("/api/models/{}/unload", in_path(name)))?;
    let Some(answer) = answer else {
        return Err(Failure::new(format!(
            "the server at {} has no model {name}",
            server.address
        ))
        .hint("`shimmy ps` shows what is in memory, `shimmy list` what there is"));
    };
    let was_there = answer["unloaded"] == true;
    if args.json {
        return print_json(&json!({ "model": name, "unloaded": was_there }));
    }
    print(&match was_there {
        true => format!("{name} is unloaded\n"),
        false => format!("{name} was not loaded\n"),
    })
}
