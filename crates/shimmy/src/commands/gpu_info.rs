//! `shimmy gpu-info`: what this build can compute on, what it sees, and why no more.

use serde_json::json;

use super::{bytes, print, print_json, table};
use crate::backend::{self, Device};
use crate::cli::JsonArgs;
use crate::failure::Failure;
use crate::gpus::{self, GpuBackend};

pub(super) fn run(args: &JsonArgs) -> Result<(), Failure> {
    let (engines, compiled, devices) = (
        backend::engines(),
        backend::gpu_backends(),
        backend::devices(),
    );
    let backends = gpus::backends();
    if args.json {
        return print_json(&json!({
            "engines": engines,
            "gpu_backends": compiled,
            "backends": backends,
            "devices": devices,
        }));
    }
    let rows: Vec<Vec<String>> = backends.iter().map(backend_row).collect();
    let mut text = table(
        &["GPU BACKEND", "IN THIS BUILD", "DEVICES", "WHY NOT"],
        &rows,
    );
    for backend in &backends {
        if let Some(hint) = &backend.hint {
            text.push_str(&format!("hint: for {}: {hint}\n", backend.name));
        }
    }
    text.push_str("\nDevices:\n");
    if devices.is_empty() {
        text.push_str("  none is listed: only llama.cpp lists them, and this build has none\n");
    } else {
        let rows: Vec<Vec<String>> = devices.iter().map(device_row).collect();
        let header = ["NAME", "KIND", "MEMORY", "FREE", "DESCRIPTION"];
        text.push_str(&table(&header, &rows));
    }
    print(&text)
}

fn backend_row(backend: &GpuBackend) -> Vec<String> {
    let names: Vec<&str> = backend
        .devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    vec![
        backend.name.to_owned(),
        if backend.compiled { "yes" } else { "no" }.to_owned(),
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(", ")
        },
        backend.reason.clone().unwrap_or_default(),
    ]
}

fn device_row(device: &Device) -> Vec<String> {
    vec![
        device.name.clone(),
        device.kind.to_owned(),
        bytes(device.memory_total_bytes),
        device
            .memory_free_bytes
            .map_or_else(|| "?".to_owned(), bytes),
        device.description.clone(),
    ]
}
