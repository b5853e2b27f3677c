//! `shimmy gpu-info`: what this build can compute on, and what it sees.

use serde_json::json;

use super::{bytes, print, print_json, table};
use crate::backend;
use crate::cli::JsonArgs;
use crate::failure::Failure;

pub(super) fn run(args: &JsonArgs) -> Result<(), Failure> {
    let (engines, compiled, devices) = (
        backend::engines(),
        backend::gpu_backends(),
        backend::devices(),
    );
    if args.json {
        return print_json(&json!({
            "engines": engines,
            "gpu_backends": compiled,
            "devices": devices,
        }));
    }
    let mut text = match compiled.as_slice() {
        [] => "GPU backends in this build: none (everything runs on the CPU).\n\
               Build one in with `cargo build --release --features cuda`, metal, vulkan or rocm.\n"
            .to_owned(),
        some => format!("GPU backends in this build: {}\n", some.join(", ")),
    };
    if !compiled.is_empty() && !devices.iter().any(|device| device.kind.contains("gpu")) {
        text.push_str("No GPU is visible to them: check the driver.\n");
    }
    text.push_str("\nDevices:\n");
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            vec![
                device.name.clone(),
                device.kind.to_owned(),
                bytes(device.memory_total_bytes),
                device
                    .memory_free_bytes
                    .map_or_else(|| "?".to_owned(), bytes),
                device.description.clone(),
            ]
        })
        .collect();
    text.push_str(&table(
        &["NAME", "KIND", "MEMORY", "FREE", "DESCRIPTION"],
        &rows,
    ));
    print(&text)
}
