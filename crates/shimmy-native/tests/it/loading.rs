//! What is opened and what is refused, and why.

use shimmy_engine::{Runner, Specials, Tokenizer};
use shimmy_models::Metadata;
use shimmy_native::{
    NativeRunner, OpenError, Options, RunnerOptions, Support, Unsupported, open,
    open_with_progress, supports,
};
use shimmy_testkit::gguf::{Tensor, TensorType, Writer};
use shimmy_testkit::{broken, tiny};

use crate::support::{A, Files, bytes, prefill};

#[test]
fn halves_and_floats_say_nearly_the_same() {
    let files = Files::new();
    let expected = prefill(&mut files.runner(), A, 0, &bytes("hello"), 8);
    tiny::Model::new()
        .weights(TensorType::F16)
        .write(&files.path("tiny.gguf"))
        .unwrap();
    let halves = prefill(&mut files.runner(), A, 0, &bytes("hello"), 8);
    assert_ne!(halves, expected);
    for (half, float) in halves.iter().zip(&expected) {
        assert!((half - float).abs() < 0.05, "{half} {float}");
    }
}

#[test]
fn the_context_of_the_model_is_the_default() {
    let files = Files::new();
    let runner = NativeRunner::new(files.open().0, RunnerOptions::default()).unwrap();
    assert_eq!(runner.limits().cells, 2048);
    assert!(runner.limits().can_truncate);
}

#[test]
fn what_is_not_known_is_told_before_anything_is_loaded() {
    let files = Files::new();
    let path = files.path("strange.gguf");
    let mut writer = tiny::Model::new().to_writer();
    writer.tensor(Tensor::new(
        "blk.0.ssm_in.weight",
        &[64],
        TensorType::F32,
        &[0.0; 64],
    ));
    writer.write(&path).unwrap();
    let unsupported = Unsupported::Tensor("blk.0.ssm_in.weight".to_owned());
    assert_eq!(supports(&Metadata::open(&path).unwrap()), Err(unsupported));
    let error = open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::Unsupported(_)), "{error}");

    let mut writer = tiny::Model::of(tiny::Architecture::granite()).to_writer();
    assert!(supports_written(&files, &writer).is_ok());
    // Positions that turn nothing.
    writer.metadata("granite.rope.scaling.finetuned", false);
    let refused = supports_written(&files, &writer);
    assert!(matches!(refused, Err(Unsupported::Setting { .. })));

    let encoder = tiny::Encoder::new();
    assert!(supports_written(&files, &encoder.to_writer()).is_ok());
    // Rows that see only those before them.
    let refused = supports_written(&files, &encoder.causal(true).to_writer());
    assert!(matches!(refused, Err(Unsupported::Setting { .. })));

    let shards = tiny::Model::new()
        .write_shards(files.path("").as_path(), "parts", 2)
        .unwrap();
    let metadata = Metadata::open(&shards[0]).unwrap();
    assert!(matches!(supports(&metadata), Err(Unsupported::File(_))));
}

fn supports_written(files: &Files, writer: &Writer) -> Result<Support, Unsupported> {
    let path = files.path("written.gguf");
    writer.write(&path).unwrap();
    supports(&Metadata::open(&path).unwrap())
}

#[test]
fn what_a_model_takes_is_known_before_it_is_loaded() {
    for files in [
        Files::of(&tiny::Model::new()),
        Files::of(&tiny::Model::of(tiny::Architecture::qwen3moe())),
        Files::of_encoder(&tiny::Encoder::new()),
        Files::of_encoder(&tiny::Encoder::nomic()),
    ] {
        let metadata = Metadata::open(&files.path("tiny.gguf")).unwrap();
        let support = supports(&metadata).unwrap();
        assert!(support.is_verified);
        let tensors = metadata.tensors().iter();
        let in_the_file: u64 = tensors
            .filter_map(shimmy_models::gguf::TensorInfo::size)
            .sum();
        assert!(support.weights >= in_the_file && support.weights < 2 * in_the_file);
    }
}

#[test]
fn a_load_tells_how_far_it_is_and_ends_when_it_is_not_wanted() {
    let files = Files::new();
    let path = files.path("tiny.gguf");
    let mut parts = Vec::new();
    let mut watch = |part| {
        parts.push(part);
        true
    };
    open_with_progress(&path, &Options::default(), &mut watch).unwrap();
    assert!(parts.is_sorted(), "{parts:?}");
    assert_eq!((parts.first(), parts.last()), (Some(&0.0), Some(&1.0)));
    let error = open_with_progress(&path, &Options::default(), &mut |_| false).unwrap_err();
    assert!(matches!(error, OpenError::Cancelled { .. }), "{error}");
}

#[test]
fn broken_files_are_errors() {
    let files = Files::new();
    for broken in broken::all() {
        let path = files.path(broken.name);
        std::fs::write(&path, &broken.bytes).unwrap();
        assert!(open(&path, &Options::default()).is_err(), "{}", broken.name);
    }
    let model = tiny::Model::new().to_bytes();
    for length in (0..model.len()).step_by(997) {
        let path = files.path("cut.gguf");
        std::fs::write(&path, broken::cut(&model, length)).unwrap();
        assert!(open(&path, &Options::default()).is_err(), "{length}");
    }
}

#[test]
fn text_comes_back_as_it_went_in() {
    let (_, tokenizer) = Files::new().open();
    let long = "the hello \u{1f600} ".repeat(5000);
    for original in [
        "",
        " ",
        "hello the user",
        "Grüße, é, 😀, 漢字\n\n\t",
        "a\0b\0",
        &long,
    ] {
        for specials in [Specials::Literal, Specials::Parse] {
            let tokens = tokenizer.tokenize(original, specials).unwrap();
            let mut out = Vec::new();
            tokens
                .iter()
                .for_each(|&token| tokenizer.append_piece(token, specials, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), original);
        }
    }
    let merged = tokenizer.tokenize("hello", Specials::Literal).unwrap();
    assert_eq!(merged.len(), 1);
}

#[test]
fn special_text_is_a_token_only_when_it_is_parsed() {
    let (_, tokenizer) = Files::new().open();
    let original = "<|im_start|>user";
    let parsed = tokenizer.tokenize(original, Specials::Parse).unwrap();
    assert_eq!(parsed[0], tiny::IM_START);
    assert!(tokenizer.is_control(parsed[0]));
    let literal = tokenizer.tokenize(original, Specials::Literal).unwrap();
    assert!(literal.iter().all(|&token| !tokenizer.is_control(token)));
    assert!(tokenizer.is_end_of_generation(tiny::IM_END));
    assert!(tokenizer.is_end_of_generation(tiny::END_OF_TEXT));
    assert!(!tokenizer.is_end_of_generation(tiny::IM_START));
    assert_eq!(tokenizer.end_of_sequence(), Some(tiny::EOS));
    assert_eq!(tokenizer.beginning_of_sequence(), None);
    assert_eq!(tokenizer.special_texts().len(), 3);
}

#[test]
fn a_special_token_that_ends_inside_a_character_is_not_found_in_texts() {
    let files = Files::new();
    let mut model = tiny::Model::new().to_bytes();
    // As the vocabulary has it, after its length.
    let token = b"\x0c\0\0\0\0\0\0\0<|im_start|>";
    let at = model.windows(token.len()).position(|text| text == token);
    let end = at.unwrap() + token.len();
    model[end - 2..end].copy_from_slice(b"\xe2\x82");
    std::fs::write(files.path("tiny.gguf"), model).unwrap();
    let (_, tokenizer) = files.open();
    for original in ["x <|im_start\u{20ac} y", "<|im_start\u{20ac}", "<|im_start"] {
        let tokens = tokenizer.tokenize(original, Specials::Parse).unwrap();
        let mut out = Vec::new();
        tokens
            .iter()
            .for_each(|&token| tokenizer.append_piece(token, Specials::Parse, &mut out));
        assert_eq!(String::from_utf8(out).unwrap(), original);
    }
}

/// Packed weights are found again, and made anew when they are not what the model says.
#[cfg(target_os = "linux")]
#[test]
fn packed_weights_of_an_earlier_load_say_the_same() {
    let logits = |runner: &mut NativeRunner| prefill(runner, A, 0, &bytes("hello"), 8);
    let of_experts = tiny::Model::of(tiny::Architecture::qwen3moe());
    packed_weights_say_the_same(&Files::of(&tiny::Model::new()), logits);
    packed_weights_say_the_same(&Files::of(&of_experts), logits);
    let vector = |runner: &mut NativeRunner| runner.embed(&[vec![2, 70, 9, 3]]).unwrap().concat();
    for encoder in [tiny::Encoder::new().pooling(4), tiny::Encoder::nomic()] {
        packed_weights_say_the_same(&Files::of_encoder(&encoder), vector);
    }
}

#[cfg(target_os = "linux")]
fn packed_weights_say_the_same(files: &Files, said: impl Fn(&mut NativeRunner) -> Vec<f32>) {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::os::unix::fs::{FileExt, MetadataExt};

    use shimmy_native::PackedFolder;

    let expected = said(&mut files.runner());
    let folder = files.path("weights");
    let options = Options {
        packed: Some(PackedFolder {
            path: folder.clone(),
            most_bytes: 1 << 30,
            least_bytes: 0,
        }),
        ..Options::default()
    };
    let said = || {
        let (model, _) = open(&files.path("tiny.gguf"), &options).unwrap();
        said(&mut NativeRunner::new(model, crate::support::options()).unwrap())
    };
    let kept = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths = paths.filter(|path| path.extension() == Some("tiles".as_ref()));
        let path = paths.next().expect("a file");
        assert!(paths.next().is_none());
        path
    };
    assert_eq!(said(), expected);
    let first = std::fs::metadata(kept()).unwrap();
    assert_eq!(said(), expected);
    assert_eq!(std::fs::metadata(kept()).unwrap().ino(), first.ino());
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(kept())
        .unwrap();
    // One bit of one weight, somewhere.
    let chosen = RandomState::new().build_hasher().finish();
    let at = 4096 + chosen % (first.len() - 4096);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    assert_eq!(said(), expected, "byte {at}");
    assert_ne!(std::fs::metadata(kept()).unwrap().ino(), first.ino());
}

/// Whoever copies another model over its file, or cuts it short, takes nothing from those who use it.
#[test]
fn a_model_outlives_what_becomes_of_its_file() {
    let files = Files::new();
    let mut runner = files.runner();
    let expected = prefill(&mut runner, A, 0, &bytes("hello"), 8);
    let mut other = files.runner();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(files.path("tiny.gguf"))
        .unwrap();
    file.set_len(0).unwrap();
    assert_eq!(prefill(&mut other, A, 0, &bytes("hello"), 8), expected);
}
