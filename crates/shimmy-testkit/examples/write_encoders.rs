//! Writes encoders of real models' sizes, with random weights and a small vocabulary, into a folder, for
//! measuring an engine. Owns nothing; must not be needed by any test.

use std::path::PathBuf;

use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny::Encoder;

fn main() -> std::io::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    std::fs::create_dir_all(&dir)?;
    let bert = Encoder::new().context_length(512);
    let nomic = Encoder::nomic().context_length(8192);
    let models = [
        // all-MiniLM-L6-v2, bge-base and nomic-embed-text.
        ("minilm", bert.clone().sized(6, [384, 1536], 12)),
        ("base", bert.sized(12, [768, 3072], 12)),
        ("nomic", nomic.sized(12, [768, 3072], 12)),
    ];
    for (name, model) in models {
        for (kind, weights) in [("f16", TensorType::F16), ("q8_0", TensorType::Q8_0)] {
            let model = model.clone().weights(weights);
            model.write(&dir.join(format!("{name}-{kind}.gguf")))?;
        }
    }
    Ok(())
}
