//! The steps of `cargo xtask ci`, in the order in which they run: the quick ones first.

use std::env;
use std::path::Path;

use anyhow::Result;

use super::{Outcome, Step, advisories, client, pass_through, release};
use crate::process;
use crate::tidy;
use crate::workspace::Workspace;

pub(super) const ALL: &[Step] = &[
    step("fmt", "formatting", fmt),
    step(
        "tidy",
        "documents and sources keep the project's rules",
        tidy_step,
    ),
    step(
        "deny",
        "licences, bans and sources of the dependencies",
        deny,
    ),
    step(
        "advisories",
        "known vulnerabilities of the dependencies",
        advisories::run,
    ),
    step("clippy", "lints, the whole workspace", clippy),
    step(
        "clippy-bare",
        "lints, the binary without an engine",
        clippy_bare,
    ),
    step(
        "clippy-stub",
        "lints, the binary with the deterministic engine",
        clippy_stub,
    ),
    step(
        "clippy-native",
        "lints, the binary with the engine in Rust alone",
        clippy_native,
    ),
    step("clippy-cuda", "lints, the binary with CUDA", clippy_cuda),
    step(
        "clippy-vulkan",
        "lints, the binary with Vulkan",
        clippy_vulkan,
    ),
    step("clippy-rocm", "lints, the binary with ROCm", clippy_rocm),
    step("clippy-metal", "lints, the binary with Metal", clippy_metal),
    step("docs", "documentation, private items included", docs),
    step(
        "tests",
        "unit, property, contract and tiny-model tests",
        tests,
    ),
    step(
        "tests-stub",
        "the binary without C++, on the deterministic engine",
        tests_stub,
    ),
    step(
        "tests-native",
        "the binary without C++, on the engine in Rust",
        tests_native,
    ),
    step("doc-tests", "the examples in the documentation", doc_tests),
    step(
        "release",
        "the release binary: size, libraries, help",
        release::run,
    ),
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "model",
            "a real model answers on the command line",
            client::model,
        )
    },
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "openai",
            "the official OpenAI client against the binary",
            client::openai,
        )
    },
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "anthropic",
            "the official Anthropic client against the binary",
            client::anthropic,
        )
    },
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "ollama",
            "the official Ollama clients against the binary",
            client::ollama,
        )
    },
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "javascript",
            "OpenAI's JavaScript client and the Vercel AI SDK",
            client::javascript,
        )
    },
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "frameworks",
            "LiteLLM, OpenAI Agents and Instructor",
            client::frameworks,
        )
    },
    Step {
        needs: Some("release"),
        is_client: true,
        ..step(
            "schema",
            "Schemathesis holds every route against its description",
            client::schema,
        )
    },
];

const fn step(
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
) -> Step {
    Step {
        name,
        about,
        needs: None,
        is_client: false,
        run,
    }
}

fn fmt(workspace: &Workspace) -> Result<Outcome> {
    pass_through(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn tidy_step(workspace: &Workspace) -> Result<Outcome> {
    Ok(if tidy::run(workspace)? {
        Outcome::Passed(String::new())
    } else {
        Outcome::Failed("see the errors above".to_owned())
    })
}

fn deny(workspace: &Workspace) -> Result<Outcome> {
    if !process::works("cargo-deny", &["--version"]) {
        return Ok(Outcome::Skipped(NO_DENY.to_owned()));
    }
    pass_through(workspace.cargo().args([
        "deny",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

pub(super) const NO_DENY: &str = "cargo-deny is not installed (scripts/dev-test.sh gets it)";

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    clippy_with(workspace, &["--workspace", "--features", ENGINE_TESTS])
}

/// The engine's own tests run on its scripted runner, which is behind this feature.
const ENGINE_TESTS: &str = "shimmy-engine/stub";

fn clippy_bare(workspace: &Workspace) -> Result<Outcome> {
    clippy_with(workspace, &["--package", "shimmy", "--no-default-features"])
}

fn clippy_stub(workspace: &Workspace) -> Result<Outcome> {
    clippy_with(
        workspace,
        &[
            "--package",
            "shimmy",
            "--no-default-features",
            "--features",
            "stub",
        ],
    )
}

fn clippy_native(workspace: &Workspace) -> Result<Outcome> {
    clippy_with(
        workspace,
        &[
            "--package",
            "shimmy",
            "--no-default-features",
            "--features",
            "native",
        ],
    )
}

fn clippy_cuda(workspace: &Workspace) -> Result<Outcome> {
    let is_there = has_program("nvcc")
        || env::var_os("CUDA_PATH").is_some()
        || Path::new("/usr/local/cuda/bin/nvcc").is_file();
    clippy_gpu(workspace, "cuda", is_there, "no CUDA toolkit here (nvcc)")
}

fn clippy_vulkan(workspace: &Workspace) -> Result<Outcome> {
    let headers =
        env::var_os("VULKAN_SDK").is_some() || Path::new("/usr/include/vulkan/vulkan.h").is_file();
    let is_there = headers && has_program("glslc");
    clippy_gpu(
        workspace,
        "vulkan",
        is_there,
        "no Vulkan SDK here (headers and glslc)",
    )
}

fn clippy_rocm(workspace: &Workspace) -> Result<Outcome> {
    let is_there = has_program("hipcc") || Path::new("/opt/rocm/bin/hipcc").is_file();
    clippy_gpu(workspace, "rocm", is_there, "no ROCm toolkit here (hipcc)")
}

fn clippy_metal(workspace: &Workspace) -> Result<Outcome> {
    clippy_gpu(workspace, "metal", cfg!(target_os = "macos"), "not macOS")
}

fn has_program(name: &str) -> bool {
    process::find(name).is_some()
}

fn clippy_gpu(
    workspace: &Workspace,
    feature: &str,
    is_there: bool,
    reason: &str,
) -> Result<Outcome> {
    if is_there {
        clippy_with(workspace, &["--package", "shimmy", "--features", feature])
    } else {
        Ok(Outcome::Skipped(reason.to_owned()))
    }
}

fn clippy_with(workspace: &Workspace, selection: &[&str]) -> Result<Outcome> {
    let mut command = workspace.cargo();
    command
        .args(["clippy", "--locked", "--all-targets"])
        .args(selection);
    pass_through(command.args(["--", "-D", "warnings"]))
}

fn docs(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo();
    command.args([
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    pass_through(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo();
    let selection = ["--locked", "--workspace", "--features", ENGINE_TESTS];
    let by = if process::works("cargo-nextest", &["nextest", "--version"]) {
        command
            .args(["nextest", "run", "--no-fail-fast"])
            .args(selection);
        "cargo nextest"
    } else {
        // Documentation tests are a step of their own.
        command
            .args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"])
            .args(selection);
        "cargo test"
    };
    Ok(match pass_through(&mut command)? {
        Outcome::Passed(_) => Outcome::Passed(format!("by {by}")),
        other => other,
    })
}

fn tests_stub(workspace: &Workspace) -> Result<Outcome> {
    pass_through(
        workspace
            .cargo()
            .args(["test", "--locked", "--package", "shimmy"])
            .args(["--no-default-features", "--features", "stub"]),
    )
}

fn tests_native(workspace: &Workspace) -> Result<Outcome> {
    pass_through(
        workspace
            .cargo()
            .args(["test", "--locked", "--package", "shimmy"])
            .args(["--no-default-features", "--features", "native"]),
    )
}

fn doc_tests(workspace: &Workspace) -> Result<Outcome> {
    pass_through(
        workspace
            .cargo()
            .args(["test", "--locked", "--workspace", "--doc"]),
    )
}
