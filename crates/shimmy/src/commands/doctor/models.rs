//! The models that are here, the base model, what downloads have left behind, and the room for more.

use std::path::Path;

use shimmy_models::hub::{free_bytes, leftovers};
use shimmy_models::{AdapterFile, ModelError, ModelFile, Problem, ProblemReason, RootSettings};

use super::Check;
use crate::cli::ModelArgs;
use crate::commands::bytes;
use crate::commands::library::Library;
use crate::config::ModelConfig;
use crate::loader::HINT;

/// Less than this is too little for most models.
const LITTLE: u64 = 5_000_000_000;
/// Less than this is too little for anything.
const NOTHING: u64 = 100_000_000;
/// Problems that are listed; `shimmy discover` lists all.
const LISTED: usize = 3;

pub(super) fn checks(args: ModelArgs) -> Vec<Check> {
    let given = match ModelConfig::for_command(args.clone()) {
        Ok(config) => config,
        Err(failure) => {
            return vec![Check::fail(
                "base model",
                failure.to_string(),
                "see --lora and --model-path",
            )];
        }
    };
    let library = match Library::open(args) {
        Ok(library) => library,
        Err(failure) => return vec![Check::fail("models", failure.to_string(), HINT)],
    };
    let mut checks = base(&given);
    checks.push(found(&library));
    checks.extend(names(&library));
    checks.extend(disk(&library.settings));
    checks
}

/// Whether the files that are named are what they are named as.
fn base(given: &ModelConfig) -> Vec<Check> {
    let base = given.base.iter().map(|path| {
        let hint = "`shimmy list` shows the models that are there";
        named("base model", path, ModelFile::open(path).err(), hint)
    });
    let adapters = given.loras.iter().map(|lora| {
        let hint = "`shimmy discover` lists the adapters that are there";
        named(
            "adapter",
            &lora.path,
            AdapterFile::open(&lora.path).err(),
            hint,
        )
    });
    base.chain(adapters).collect()
}

fn named(name: &'static str, path: &Path, error: Option<ModelError>, hint: &str) -> Check {
    match error {
        None => Check::ok(name, path.display().to_string()),
        Some(error) => Check::fail(name, error.to_string(), hint),
    }
}

/// How many models there are, and what is wrong with others.
fn found(library: &Library) -> Check {
    let models = &library.found.models;
    let incomplete = models.iter().filter(|model| !model.missing.is_empty());
    let incomplete = incomplete.map(|model| format!("{} has parts missing", model.name));
    let problems = library.found.problems.iter();
    let problems = problems.filter(|problem| !is_of_names(problem));
    let problems = problems.map(ToString::to_string);
    let problems: Vec<String> = incomplete.chain(problems).collect();
    let count = match models.len() {
        1 => "1 model".to_owned(),
        count => format!("{count} models"),
    };
    match (models.len(), problems.as_slice()) {
        (0, []) => Check::warn("models", "none is here", HINT),
        (_, []) => Check::ok("models", count),
        (_, some) => {
            let listed: Vec<&str> = some.iter().take(LISTED).map(String::as_str).collect();
            let more = if some.len() > LISTED { "; …" } else { "" };
            Check::warn(
                "models",
                format!("{count}; {}{more}", listed.join("; ")),
                "`shimmy discover` lists all that is wrong; `shimmy pull` gets what is missing",
            )
        }
    }
}

/// Whether the names that users gave can be read; nothing where they can.
fn names(library: &Library) -> Option<Check> {
    let problem = library.found.problems.iter().find(|it| is_of_names(it))?;
    Some(Check::warn(
        "names",
        problem.to_string(),
        "mend the file, or delete it: `shimmy cp` gives names anew",
    ))
}

fn is_of_names(problem: &Problem) -> bool {
    matches!(problem.reason, ProblemReason::Aliases(_))
}

/// The room where downloads go, and what is there of those that did not come to their end.
fn disk(settings: &RootSettings) -> Vec<Check> {
    let (Some(cache), Some(store)) = (settings.hub_cache(), settings.store()) else {
        return vec![Check::fail(
            "disk",
            "there is no folder to download to",
            "set HOME or HF_HOME",
        )];
    };
    let place = cache.display();
    let room = match free_bytes(&cache) {
        None => Check::ok(
            "disk",
            format!("{place}: this system does not say how much is free"),
        ),
        Some(free) => {
            let detail = format!("{} free for {place}", bytes(free));
            let hint = "make room, or set HF_HUB_CACHE to a folder on another disk";
            match free {
                ..NOTHING => Check::fail("disk", detail, hint),
                NOTHING..LITTLE => Check::warn("disk", detail, hint),
                LITTLE.. => Check::ok("disk", detail),
            }
        }
    };
    let left = leftovers(&cache, &store);
    let rest = match left.as_slice() {
        [] => Check::ok("downloads", "none is unfinished"),
        [first, ..] => Check::warn(
            "downloads",
            format!(
                "{} unfinished, {} on the disk: {}",
                left.len(),
                bytes(left.iter().map(|file| file.bytes).sum()),
                first.path.display()
            ),
            "the same `shimmy pull` goes on from there; or delete the files",
        ),
    };
    vec![room, rest]
}
