//! Models with experts: what is refused, and why.

use shimmy_native::{Fault, OpenError, Options, Unsupported, open};
use shimmy_testkit::gguf::{Tensor, TensorType, Writer};
use shimmy_testkit::tiny::{Architecture, Model};

use crate::support::{A, Files, bytes, prefill};

fn model() -> Writer {
    Model::of(Architecture::qwen3moe()).to_writer()
}

fn floats(name: &str, dims: &[u64]) -> Tensor {
    let count = dims.iter().product::<u64>() as usize;
    Tensor::new(name, dims, TensorType::F32, &vec![0.1; count])
}

fn refusal(writer: &Writer) -> OpenError {
    let files = Files::new();
    let path = files.path("changed.gguf");
    writer.write(&path).unwrap();
    open(&path, &Options::default()).unwrap_err()
}

#[test]
fn an_expert_that_is_missing_or_of_another_size_is_named() {
    for part in ["gate_inp", "gate_exps", "up_exps", "down_exps"] {
        let name = format!("blk.1.ffn_{part}.weight");
        let error = refusal(model().without_tensor(&name));
        let missing = Fault::Missing(name.clone());
        assert!(
            matches!(&error, OpenError::Invalid { reason, .. } if *reason == missing),
            "{error}"
        );
        // One expert too few, then matrices that are too narrow, then experts that are no matrices.
        for dims in [&[64, 48, 9][..], &[32, 48, 10], &[64, 480]] {
            let mut writer = model();
            writer.without_tensor(&name).tensor(floats(&name, dims));
            let shape = Fault::Shape(name.clone());
            let error = refusal(&writer);
            assert!(
                matches!(&error, OpenError::Invalid { reason, .. } if *reason == shape),
                "{part} {dims:?}: {error}"
            );
        }
    }
}

#[test]
fn what_other_families_do_with_experts_is_refused_by_name() {
    let mut scaled = model();
    scaled.metadata("qwen3moe.expert_weights_scale", 2.5);
    let mut grouped = model();
    grouped.metadata("qwen3moe.expert_group_count", 8);
    let mut uneven = model();
    uneven.metadata("qwen3moe.expert_weights_norm", false);
    for (writer, key) in [
        (scaled, "expert_weights_scale"),
        (grouped, "expert_group_count"),
        (uneven, "expert_weights_norm"),
    ] {
        match refusal(&writer) {
            OpenError::Unsupported(Unsupported::Setting { key: named, .. }) => {
                assert!(named.ends_with(key), "{named}");
            }
            error => panic!("{key}: {error}"),
        }
    }
    let mut biased = model();
    biased.tensor(floats("blk.0.ffn_gate_exps.bias", &[48, 10]));
    let unknown = Unsupported::Tensor("blk.0.ffn_gate_exps.bias".to_owned());
    assert!(matches!(refusal(&biased), OpenError::Unsupported(error) if error == unknown));
}

#[test]
fn an_adapter_may_change_what_chooses_experts_but_not_the_experts() {
    let files = Files::of(&Model::of(Architecture::qwen3moe()));
    let path = files.path("adapter.gguf");
    let adapter = |weight: &str, a: &[u64], b: &[u64]| {
        let mut writer = Writer::new();
        writer
            .metadata("general.architecture", "qwen3moe")
            .metadata("general.type", "adapter")
            .metadata("adapter.type", "lora")
            .metadata("adapter.lora.alpha", 8.0)
            .tensor(floats(&format!("{weight}.lora_a"), a))
            .tensor(floats(&format!("{weight}.lora_b"), b));
        writer.write(&path).unwrap();
    };
    let mut runner = files.runner();
    let loaded = |runner: &mut shimmy_native::NativeRunner| {
        shimmy_engine::Runner::load_adapter(runner, &path)
    };
    adapter("blk.0.ffn_up_exps.weight", &[64, 4, 10], &[4, 48, 10]);
    let reason = loaded(&mut runner).unwrap_err();
    assert!(reason.contains("blk.0.ffn_up_exps.weight"), "{reason}");
    adapter("blk.0.ffn_gate_inp.weight", &[64, 4], &[4, 10]);
    loaded(&mut runner).unwrap();
    prefill(&mut runner, A, 0, &bytes("hello"), 8);
}

#[test]
fn experts_that_nobody_chose_are_not_computed() {
    let mut writer = model();
    for layer in 0..2 {
        // Every expert suits everyone equally well, so the first three are chosen.
        let router = format!("blk.{layer}.ffn_gate_inp.weight");
        writer.without_tensor(&router).tensor(Tensor::new(
            &router,
            &[64, 10],
            TensorType::F32,
            &[0.0; 640],
        ));
        for part in ["gate", "up", "down"] {
            let name = format!("blk.{layer}.ffn_{part}_exps.weight");
            let mut values: Vec<f32> = (0..64 * 48 * 10).map(|at| (at % 7) as f32 - 3.0).collect();
            values[64 * 48 * 3..].fill(f32::NAN);
            let (inputs, outputs) = if part == "down" { (48, 64) } else { (64, 48) };
            let dims = [inputs, outputs, 10];
            let tensor = Tensor::new(&name, &dims, TensorType::F32, &values);
            writer.without_tensor(&name).tensor(tensor);
        }
    }
    let files = Files::new();
    writer.write(&files.path("tiny.gguf")).unwrap();
    // It checks that all logits are finite.
    prefill(&mut files.runner(), A, 0, &bytes("hello you"), 8);
}
