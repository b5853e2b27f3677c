//! Writes tiny models, shards and adapters into a folder, for trying an engine by hand.
//! Owns nothing; must not be needed by any test.

use std::path::PathBuf;

use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny;

fn main() -> std::io::Result<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    std::fs::create_dir_all(&dir)?;
    tiny::Model::new().write(&dir.join("tiny.gguf"))?;
    tiny::Model::new().write_shards(&dir, "sharded", 3)?;
    tiny::Adapter::new().write(&dir.join("adapter-1.gguf"))?;
    tiny::Adapter::new()
        .seed(2)
        .write(&dir.join("adapter-2.gguf"))?;
    tiny::Adapter::for_other_model().write(&dir.join("adapter-other.gguf"))?;
    tiny::Model::other().write(&dir.join("other.gguf"))?;
    let halved = tiny::Model::new().weights(TensorType::F16).add_bos(true);
    halved.write(&dir.join("tiny-f16-bos.gguf"))?;
    let brief = tiny::Model::new().stop_weight(3.0);
    brief.write(&dir.join("tiny-brief.gguf"))
}
