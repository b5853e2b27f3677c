//! Tests of the reader: against the testkit's writer, its broken files, and chance.

use std::io::Cursor;

use proptest::prelude::*;
use shimmy_testkit::gguf::{Tensor, TensorType, Value as Written, Writer};
use shimmy_testkit::{broken, tiny};

use super::{FileKind, Metadata};
use crate::gguf::{GgufError, Split, TensorFault, Value, ValueType};

fn read(bytes: impl AsRef<[u8]>) -> Result<Metadata, GgufError> {
    Metadata::read(Cursor::new(bytes))
}

fn minimal() -> Writer {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    writer
}

#[test]
fn a_tiny_model_says_what_was_written() {
    let model = tiny::Model::new().name("Tiny").context_length(777);
    let metadata = read(model.to_bytes()).unwrap();
    assert_eq!(metadata.version(), 3);
    assert_eq!(metadata.architecture(), "llama");
    assert_eq!(metadata.name(), Some("Tiny"));
    assert_eq!(metadata.file_kind(), FileKind::Model);
    assert_eq!(metadata.quantization(), Some("F32"));
    assert_eq!(metadata.context_length(), Some(777));
    assert_eq!(metadata.embedding_length(), Some(64));
    assert_eq!(metadata.layer_count(), Some(2));
    assert_eq!(metadata.chat_template(), Some(tiny::CHATML_TEMPLATE));
    assert_eq!(metadata.tensors().len(), 21);
    let matrices = 2 * 275 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128);
    assert_eq!(metadata.parameter_count(), matrices + 5 * 64);
    assert_eq!(metadata.split(), None);
}

#[test]
fn an_adapter_is_one_and_names_its_base() {
    let metadata = read(tiny::Adapter::new().to_bytes()).unwrap();
    assert!(metadata.is_adapter());
    assert_eq!(metadata.base_models(), ["Tiny Llama"]);
    let alpha = metadata.get("adapter.lora.alpha").and_then(Value::as_f64);
    assert_eq!(alpha, Some(8.0));
}

#[test]
fn values_of_every_type_arrive() {
    let mut writer = minimal();
    let cases = [
        (Written::U8(200), Value::Unsigned(200)),
        (Written::I8(-3), Value::Signed(-3)),
        (Written::U16(60_000), Value::Unsigned(60_000)),
        (Written::I16(-300), Value::Signed(-300)),
        (Written::U32(u32::MAX), Value::Unsigned(u32::MAX.into())),
        (Written::I32(i32::MIN), Value::Signed(i32::MIN.into())),
        (Written::F32(0.5), Value::Float(0.5)),
        (Written::Bool(true), Value::Bool(true)),
        (Written::from("é"), Value::String("é".to_owned())),
        (Written::U64(u64::MAX), Value::Unsigned(u64::MAX)),
        (Written::I64(i64::MIN), Value::Signed(i64::MIN)),
        (Written::F64(-0.25), Value::Float(-0.25)),
        (
            Written::I32s(vec![1, -1]),
            Value::Array(vec![Value::Signed(1), Value::Signed(-1)]),
        ),
    ];
    for (index, (written, _)) in cases.iter().enumerate() {
        writer.metadata(&format!("key.{index}"), written.clone());
    }
    let metadata = read(writer.to_bytes()).unwrap();
    for (index, (_, expected)) in cases.iter().enumerate() {
        assert_eq!(metadata.get(&format!("key.{index}")), Some(expected));
    }
}

#[test]
fn vocabularies_and_tokenizer_files_are_skipped_but_counted() {
    let mut writer = minimal();
    writer.metadata("tokens", Written::Strings(vec!["token".to_owned(); 5000]));
    writer.metadata("scores", Written::F32s(vec![0.0; 5000]));
    writer.metadata("json", " ".repeat((1 << 20) + 1).as_str());
    writer.metadata("last", 1_u32);
    let bytes = writer.to_bytes();
    let metadata = read(&bytes).unwrap();
    let start = |key: &str, expected| match metadata.get(key) {
        Some(Value::LongArray {
            kind,
            length: 5000,
            offset,
        }) if *kind == expected => *offset as usize,
        other => panic!("{key}: {other:?}"),
    };
    let tokens = start("tokens", ValueType::String);
    assert_eq!(bytes[tokens..tokens + 13], *b"\x05\0\0\0\0\0\0\0token");
    let scores = start("scores", ValueType::F32);
    assert_eq!(bytes[scores..scores + 20_000], [0; 20_000]);
    let length = (1 << 20) + 1;
    assert_eq!(metadata.get("json"), Some(&Value::LongString { length }));
    assert_eq!(metadata.get("last"), Some(&Value::Unsigned(1)));
}

#[test]
fn metadata_beyond_the_memory_limit_are_refused() {
    let mut writer = minimal();
    for index in 0..9 {
        writer.metadata(&format!("text.{index}"), " ".repeat(1 << 20).as_str());
    }
    let error = read(writer.to_bytes()).unwrap_err();
    assert!(matches!(error, GgufError::TooLong { .. }), "{error}");
}

#[test]
fn a_later_part_of_a_split_model_needs_no_architecture() {
    let mut writer = Writer::new();
    writer.metadata("split.no", Written::U16(1));
    writer.metadata("split.count", Written::U16(3));
    let split = read(writer.to_bytes()).unwrap().split();
    assert_eq!(
        split,
        Some(Split {
            number: 1,
            count: 3
        })
    );
}

#[test]
fn the_label_falls_back_on_the_commonest_type() {
    let mut writer = minimal();
    writer.metadata("general.file_type", 9999_u32);
    for (name, dims, kind) in [("a", [8], TensorType::F32), ("b", [32], TensorType::F16)] {
        writer.tensor(Tensor::new(name, &dims, kind, &vec![0.0; dims[0] as usize]));
    }
    assert_eq!(read(writer.to_bytes()).unwrap().quantization(), Some("F16"));
}

#[test]
fn percent_s_in_a_gpt2_vocabulary_is_a_text() {
    let tokens = || Written::Strings(vec!["<0x%s>".to_owned()]);
    let mut writer = minimal();
    writer.metadata("tokenizer.ggml.tokens", tokens());
    let error = read(writer.to_bytes()).unwrap_err();
    assert!(
        matches!(error, GgufError::ByteToken { index: 0, .. }),
        "{error}"
    );
    writer.metadata("tokenizer.ggml.model", "gpt2");
    read(writer.to_bytes()).unwrap();
}

#[test]
fn every_broken_file_is_refused_with_its_own_reason() {
    for file in broken::all() {
        let error = read(&file.bytes).expect_err(file.name);
        let text = error.to_string();
        let expected = match file.name {
            "empty" => "it is empty",
            "not-gguf" => r#"it starts with "PK\u{3}\u{4}""#,
            "bad-magic" => r#"it starts with "GGML""#,
            "version-1" => "version 1 is not supported",
            "version-from-the-future" => "version 99 is not supported",
            "big-endian" => "big-endian",
            "cut-header" | "absurd-string-length" | "absurd-array-length" => "the file is cut off",
            "cut-data" | "tensor-beyond-the-end" => "the file is cut off: the data ends at byte",
            "tensor-offset-beyond-the-end" => "the file is cut off: the data ends at byte",
            "absurd-tensor-count" => "announces 9223372036854775808 tensors",
            "absurd-key-count" => "announces 2305843009213693952 metadata entries",
            "absurd-key-length" => "a metadata key is 18446744073709551607 bytes long",
            "nested-array" => "array of arrays",
            "unknown-value-type" => "unknown type 77",
            "duplicate-key" => r#"the key "general.architecture" occurs twice"#,
            "no-architecture" => r#"the key "general.architecture" is missing"#,
            "architecture-of-wrong-type" => "should be a text and is an unsigned number",
            "alignment-zero" => "is 0, not a power of two",
            "alignment-not-a-power-of-two" => "is 48, not a power of two",
            "alignment-of-wrong-type" => "should be a number and is a text",
            "too-many-layers" => "513 layers; at most 512",
            "byte-token-not-hexadecimal" => r#"the token "<0x-1>" at 2"#,
            "five-dimensions" => "it has 5 dimensions",
            "dimensions-wrap" => "multiply to more",
            "misaligned-tensor" => "starts at 4, not at a multiple of 32",
            "duplicate-tensor" => r#"tensor "token_embd.weight": the name occurs twice"#,
            other => panic!("no expectation for {other}: {text}"),
        };
        assert!(text.contains(expected), "{}: {text}", file.name);
    }
}

#[test]
fn a_cut_at_every_byte_of_the_header_is_a_typed_error() {
    let whole = tiny::Model::new();
    let (bytes, header) = (whole.to_bytes(), whole.to_writer().header_len());
    for length in 0..=header {
        let error = read(&bytes[..length]).expect_err("the data is missing");
        let is_expected = match &error {
            GgufError::Empty => length == 0,
            GgufError::Truncated { .. } => length < header,
            GgufError::Tensor { fault, .. } => {
                length == header && matches!(fault, TensorFault::BeyondEnd { .. })
            }
            _ => false,
        };
        assert!(is_expected, "cut at {length}: {error}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((0_usize..3000, any::<u8>()), 1..8)
    ) {
        let mut bytes = tiny::Adapter::new().to_bytes();
        for (at, byte) in changes {
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
        }
        let _ = read(bytes);
    }

    #[test]
    fn noise_behind_a_proper_beginning_never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let mut bytes = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        bytes.extend(noise);
        let _ = read(bytes);
    }
}
