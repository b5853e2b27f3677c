//! How long it takes to list 200 models, read anew and remembered: `cargo run --release -p
//! shimmy-models --example list_many [FOLDER]`. The files have vocabularies of 150,000 tokens, as
//! large models do. Without a folder it makes one and removes it.

#![expect(clippy::print_stdout, reason = "an example that measures")]

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use shimmy_models::{Roots, Source, discover};
use shimmy_testkit::gguf::{Value, Writer};
use shimmy_testkit::tiny;

const MODELS: u64 = 200;
const TOKENS: u64 = 150_000;

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args_os().nth(1);
    let own = tempfile::tempdir()?;
    let folder = given.as_deref().map_or(own.path(), Path::new);
    if given.is_none() {
        write_models(&folder.join("models"))?;
    }
    let mut roots = Roots::new();
    roots.add(folder.join("models"), Source::ModelDirs);
    roots.remember_in(own.path().join("headers"));
    for what in ["read anew", "remembered", "remembered"] {
        let started = Instant::now();
        let found = discover(&roots);
        let took = started.elapsed().as_secs_f64() * 1000.0;
        println!("{} models, {what}: {took:.1} ms", found.models.len());
        for problem in &found.problems {
            println!("{problem}");
        }
    }
    Ok(())
}

fn write_models(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let tokens: Vec<String> = (0..TOKENS).map(|number| format!("token{number}")).collect();
    let mut model: Writer = tiny::Model::new().to_writer();
    model.metadata("tokenizer.more_tokens", Value::Strings(tokens));
    let content = model.to_bytes();
    // Files that were changed just now are not remembered yet.
    let then = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..MODELS {
        let path = folder.join(format!("model-{number}.gguf"));
        fs::write(&path, &content)?;
        File::options()
            .write(true)
            .open(&path)?
            .set_modified(then)?;
    }
    Ok(())
}
