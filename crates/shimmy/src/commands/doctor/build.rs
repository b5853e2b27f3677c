//! What this build can do on this machine: its engines, the instructions that it was compiled for,
//! graphics processors.

use serde_json::Value;

use super::Check;
use crate::backend;
use crate::gpus;

/// Which engines there are, and what they were compiled for.
pub(super) fn engines() -> Check {
    let engines = backend::engines();
    let name = |engine: &Value| {
        let text = |key: &str| engine[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("name"), text("version"))
            .trim()
            .to_owned()
    };
    let names: Vec<String> = engines.iter().map(name).collect();
    let detail = format!(
        "shimmy {} for {}, {}, processor {}; engines: {}",
        env!("CARGO_PKG_VERSION"),
        env!("BUILT_FOR_TARGET"),
        env!("BUILT_WITH_PROFILE"),
        env!("BUILT_FOR_PROCESSOR"),
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
    );
    let hint = "build it with `cargo build --release`, which has llama.cpp and the native engine";
    match names.as_slice() {
        [] => Check::fail("build", detail, hint),
        [only] if only == backend::STUB_MODEL => Check::warn("build", detail, hint),
        _ if env!("BUILT_WITH_PROFILE") == "debug" => {
            Check::warn("build", detail, "cargo build --release is much faster")
        }
        _ => Check::ok("build", detail),
    }
}

/// Whether the processor has what the engines were compiled for, and whether they use what it has.
pub(super) fn processor() -> Check {
    let used = used_by_engines();
    let processor = processor_features();
    let missing: Vec<&str> = processor
        .iter()
        .filter(|(name, has)| !has && used.iter().any(|used| used == name))
        .map(|(name, _)| *name)
        .collect();
    let unused: Vec<&str> = processor
        .iter()
        .filter(|(name, has)| *has && !used.iter().any(|used| used == name))
        .map(|(name, _)| *name)
        .collect();
    let levels = levels();
    let detail = match used.as_slice() {
        [] => format!("no engine is compiled for particular instructions{levels}"),
        used => format!("llama.cpp uses {}{levels}", used.join(" ")),
    };
    if !missing.is_empty() {
        let detail = format!("{detail}; this processor has no {}", missing.join(" "));
        return Check::fail(
            "processor",
            detail,
            "it will crash: use a build for this processor, RUSTFLAGS=\"-C target-cpu=native\"",
        );
    }
    if used.is_empty() || unused.is_empty() {
        return Check::ok("processor", detail);
    }
    let detail = format!("{detail}; not used: {}", unused.join(" "));
    // Most of the speed is in these; what else there is to gain is for those who build themselves.
    let is_slow = unused
        .iter()
        .any(|name| ["AVX2", "FMA", "F16C", "NEON"].contains(name));
    match is_slow {
        true => Check::warn(
            "processor",
            detail,
            "a build with RUSTFLAGS=\"-C target-cpu=native\" is faster",
        ),
        false => Check::ok("processor", detail),
    }
}

/// Whether a graphics processor could be used and is not.
pub(super) fn gpus() -> Check {
    let backends = gpus::backends();
    let seen: Vec<String> = backends
        .iter()
        .flat_map(|backend| backend.devices.iter())
        .map(|device| format!("{} ({})", device.name, device.description))
        .collect();
    if !seen.is_empty() {
        return Check::ok("gpu", seen.join(", "));
    }
    match backends.iter().find(|backend| backend.hint.is_some()) {
        None => Check::ok("gpu", "none; everything is computed on the CPU"),
        Some(backend) => Check::warn(
            "gpu",
            format!(
                "{}: {}",
                backend.name,
                backend.reason.as_deref().unwrap_or_default()
            ),
            backend.hint.clone().unwrap_or_default(),
        ),
    }
}

/// The instructions that llama.cpp was compiled for, by its names for them.
fn used_by_engines() -> Vec<String> {
    let engines = backend::engines();
    let lists = engines
        .iter()
        .filter_map(|engine| engine["cpu_features"].as_array());
    let names = lists.flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// What the native engine, which has code for several kinds of processors, runs here.
fn levels() -> String {
    let engines = backend::engines();
    let level = engines
        .iter()
        .find_map(|engine| engine["cpu_features"].as_str());
    level.map_or_else(String::new, |level| {
        format!("; the native engine computes with {level}")
    })
}

/// Instructions by llama.cpp's names, and whether this processor has them.
#[cfg(target_arch = "x86_64")]
fn processor_features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as has;
    vec![
        ("SSE3", has!("sse3")),
        ("SSSE3", has!("ssse3")),
        ("AVX", has!("avx")),
        ("AVX2", has!("avx2")),
        ("F16C", has!("f16c")),
        ("FMA", has!("fma")),
        ("BMI2", has!("bmi2")),
        ("AVX_VNNI", has!("avxvnni")),
        ("AVX512", has!("avx512f")),
        ("AVX512_VBMI", has!("avx512vbmi")),
        ("AVX512_VNNI", has!("avx512vnni")),
        ("AVX512_BF16", has!("avx512bf16")),
    ]
}

/// As above.
#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;
    vec![
        ("NEON", has!("neon")),
        ("DOTPROD", has!("dotprod")),
        ("MATMUL_INT8", has!("i8mm")),
        ("SVE", has!("sve")),
    ]
}

/// Of others nothing is known.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}
