//! Opening a model or an adapter by its path: every way in which the path can be wrong.

use std::fs;

use shimmy_models::{AdapterFile, BaseMismatch, Metadata, ModelError, ModelFile, Source};
use shimmy_testkit::{broken, tiny};
use tempfile::tempdir;

#[test]
fn a_model_in_one_file_is_described() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("Tiny_Model.gguf");
    tiny::Model::new().write(&path).unwrap();
    let model = ModelFile::open(&path).unwrap();
    assert_eq!(model.name, "tiny-model");
    assert_eq!(model.path, path);
    assert_eq!(model.source, Source::Given);
    assert_eq!(model.size_bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(
        model.modified,
        fs::metadata(&path).unwrap().modified().unwrap()
    );
    assert!(model.shards.is_empty() && model.missing.is_empty());
    assert_eq!(model.summary.architecture.as_deref(), Some("llama"));
    assert_eq!(model.summary.quantization.as_deref(), Some("F32"));
    assert!(model.summary.has_chat_template);
    let json = serde_json::to_value(&model).unwrap();
    assert_eq!(json["context_length"], 2048);
    assert_eq!(json["source"], "given");
    assert!(json["modified"].is_u64());
}

#[test]
fn any_part_of_a_split_model_opens_the_whole() {
    let dir = tempdir().unwrap();
    let parts = tiny::Model::new()
        .write_shards(dir.path(), "big", 3)
        .unwrap();
    let whole = dir.path().join("whole.gguf");
    tiny::Model::new().write(&whole).unwrap();
    let whole = ModelFile::open(&whole).unwrap();
    for part in &parts {
        let model = ModelFile::open(part).unwrap();
        assert_eq!(model.name, "big");
        assert_eq!(model.path, parts[0]);
        assert_eq!(model.shards, parts);
        assert_eq!(model.summary, whole.summary);
    }
}

#[test]
fn a_missing_part_is_named() {
    let dir = tempdir().unwrap();
    let parts = tiny::Model::new()
        .write_shards(dir.path(), "big", 3)
        .unwrap();
    fs::remove_file(&parts[1]).unwrap();
    let error = ModelFile::open(&parts[0]).unwrap_err();
    assert!(matches!(&error, ModelError::MissingShard { path } if *path == parts[1]));
    assert!(
        error
            .to_string()
            .contains("big-00002-of-00003.gguf is missing")
    );
    let error = ModelFile::open(&parts[1]).unwrap_err();
    assert!(matches!(&error, ModelError::NotFound { path } if *path == parts[1]));
}

#[test]
fn parts_under_wrong_names_are_refused() {
    let dir = tempdir().unwrap();
    let parts = tiny::Model::new()
        .write_shards(dir.path(), "big", 2)
        .unwrap();
    let renamed = dir.path().join("renamed.gguf");
    fs::copy(&parts[0], &renamed).unwrap();
    let error = ModelFile::open(&renamed).unwrap_err();
    assert!(
        error.to_string().contains("-00001-of-00002.gguf"),
        "{error}"
    );
    fs::copy(&parts[0], &parts[1]).unwrap();
    let error = ModelFile::open(&parts[0]).unwrap_err();
    assert!(matches!(&error, ModelError::MisnamedShard { path, .. } if *path == parts[1]));
}

#[test]
fn a_broken_later_part_is_the_one_that_is_named() {
    let dir = tempdir().unwrap();
    let parts = tiny::Model::new()
        .write_shards(dir.path(), "big", 2)
        .unwrap();
    let bytes = fs::read(&parts[1]).unwrap();
    fs::write(&parts[1], broken::cut(&bytes, bytes.len() / 2)).unwrap();
    let error = ModelFile::open(&parts[0]).unwrap_err();
    assert!(matches!(&error, ModelError::Invalid { path, .. } if *path == parts[1]));
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn paths_that_are_no_files_are_told_apart() {
    let dir = tempdir().unwrap();
    let absent = dir.path().join("absent.gguf");
    let error = ModelFile::open(&absent).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} does not exist", absent.display())
    );
    let error = ModelFile::open(dir.path()).unwrap_err();
    assert!(matches!(error, ModelError::Folder { .. }), "{error}");
    let error = AdapterFile::open(&absent).unwrap_err();
    assert!(matches!(error, ModelError::NotFound { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_device_is_refused_without_being_opened() {
    let error = ModelFile::open("/dev/zero".as_ref()).unwrap_err();
    assert!(matches!(error, ModelError::NotAFile { .. }), "{error}");
}

#[test]
fn broken_files_are_invalid_and_say_why() {
    let dir = tempdir().unwrap();
    for file in broken::all() {
        let path = dir.path().join(file.name).with_extension("gguf");
        fs::write(&path, &file.bytes).unwrap();
        let error = ModelFile::open(&path).expect_err(file.name);
        assert!(matches!(error, ModelError::Invalid { .. }), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()));
    }
}

#[test]
fn models_and_adapters_are_not_taken_for_each_other() {
    let dir = tempdir().unwrap();
    let (model, adapter) = (dir.path().join("m.gguf"), dir.path().join("a.gguf"));
    tiny::Model::new().write(&model).unwrap();
    tiny::Adapter::new().write(&adapter).unwrap();
    let error = ModelFile::open(&adapter).unwrap_err();
    assert!(
        error.to_string().contains("is a LoRA adapter, not a model"),
        "{error}"
    );
    let error = AdapterFile::open(&model).unwrap_err();
    assert!(
        error.to_string().contains("is not a LoRA adapter"),
        "{error}"
    );
}

#[test]
fn an_adapter_fits_its_base_and_no_other() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    tiny::Model::new().write(&path("m.gguf")).unwrap();
    tiny::Adapter::new().write(&path("fits.gguf")).unwrap();
    tiny::Adapter::for_other_model()
        .write(&path("other.gguf"))
        .unwrap();
    let base = Metadata::open(&path("m.gguf")).unwrap();
    let fits = AdapterFile::open(&path("fits.gguf")).unwrap();
    assert_eq!(fits.matches_base(&base), Ok(()));
    assert_eq!(fits.alpha, Some(8.0));
    assert_eq!(fits.base_models, ["Tiny Llama"]);
    let other = AdapterFile::open(&path("other.gguf")).unwrap();
    let mismatch = other.matches_base(&base).unwrap_err();
    assert!(matches!(mismatch, BaseMismatch::Shape { .. }), "{mismatch}");

    // The first part of a split model holds only some of the tensors.
    let parts = tiny::Model::new()
        .write_shards(dir.path(), "big", 3)
        .unwrap();
    let first = Metadata::open(&parts[0]).unwrap();
    assert_eq!(fits.matches_base(&first), Ok(()));
}

/// Memory is counted for a whole process, so the test runs itself in one of its own.
#[cfg(target_os = "linux")]
#[test]
fn absurd_files_are_refused_at_once_and_in_little_memory() {
    const CHILD: &str = "SHIMMY_TEST_CHILD";
    const NAME: &str = "open::absurd_files_are_refused_at_once_and_in_little_memory";
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let outcome = child.args(["--exact", NAME]).env(CHILD, "1").output();
        let outcome = outcome.unwrap();
        let text = String::from_utf8_lossy(&outcome.stdout);
        assert!(
            outcome.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap()
    };
    let dir = tempdir().unwrap();
    for file in broken::all() {
        let path = dir.path().join(file.name).with_extension("gguf");
        fs::write(&path, &file.bytes).unwrap();
        drop(file.bytes);
        let (before, started) = (peak(), std::time::Instant::now());
        ModelFile::open(&path).expect_err(file.name);
        let (grown, took) = (peak() - before, started.elapsed());
        assert!(grown < 16 << 10, "{}: {grown} kB", file.name);
        assert!(took.as_secs() < 1, "{}: {took:?}", file.name);
    }
}
