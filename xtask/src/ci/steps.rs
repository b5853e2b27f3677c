//! The steps of `cargo xtask ci`, in the order in which they run: the quick ones first.

use std::env;
use std::path::Path;

use anyhow::Result;

use super::{
    Outcome, Step, advisories, arm, build, client as clients, deploy, examples, figures, lock,
    package, pass_through, release,
};
use crate::notices;
use crate::process;
use crate::tidy;
use crate::workspace::Workspace;

pub(super) const ALL: &[Step] = &[
    step(
        "lock",
        "the lock file fits the manifests and is committed",
        lock::run,
    ),
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
        "notices",
        "the terms of what the binary is made of are those that are kept",
        notices_step,
    ),
    step(
        "advisories",
        "known vulnerabilities of the dependencies",
        advisories::run,
    ),
    Step {
        is_client: true,
        ..step(
            "deploy",
            "files of containers, services and CI, by their own linters",
            deploy::run,
        )
    },
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
    step("clippy-arm", "lints, 64-bit Arm", arm::lints),
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
    Step {
        needs: Some("tests"),
        is_client: true,
        ..step(
            "perplexity",
            "the engine in Rust against llama.cpp, on a real model",
            clients::perplexity,
        )
    },
    step(
        "native-arm",
        "the engine in Rust on 64-bit Arm, emulated",
        arm::tests,
    ),
    step("doc-tests", "the examples in the documentation", doc_tests),
    step(
        "release",
        "the release binary: size, libraries, help",
        release::run,
    ),
    Step {
        is_long: true,
        ..step(
            "features",
            "the binary with every set of features that can be built here",
            build::features,
        )
    },
    on_release(
        "figures",
        "start, list and pull are as quick as a release must be",
        figures::run,
    ),
    client(
        "archive",
        "the archive installs into an empty folder and answers",
        package::archive,
    ),
    client(
        "wheel",
        "the wheel installs into an empty environment and answers",
        package::wheel,
    ),
    client(
        "examples",
        "the examples of docs/api.md do what they say",
        examples::run,
    ),
    client(
        "model",
        "a real model answers on the command line",
        clients::model,
    ),
    client(
        "openai",
        "the official OpenAI client against the binary",
        clients::openai,
    ),
    client(
        "anthropic",
        "the official Anthropic client against the binary",
        clients::anthropic,
    ),
    client(
        "ollama",
        "the official Ollama clients against the binary",
        clients::ollama,
    ),
    client(
        "javascript",
        "OpenAI's JavaScript client and the Vercel AI SDK",
        clients::javascript,
    ),
    client(
        "frameworks",
        "LangChain, LiteLLM, OpenAI Agents and Instructor",
        clients::frameworks,
    ),
    client(
        "schema",
        "Schemathesis holds every route against its description",
        clients::schema,
    ),
];

/// A step on the release binary, with something from a package registry.
const fn client(
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
) -> Step {
    Step {
        is_client: true,
        ..on_release(name, about, run)
    }
}

/// A step on the release binary.
const fn on_release(
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
) -> Step {
    Step {
        needs: Some("release"),
        ..step(name, about, run)
    }
}

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
        is_long: false,
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

fn notices_step(workspace: &Workspace) -> Result<Outcome> {
    Ok(if notices::are_current(workspace)? {
        Outcome::Passed(String::new())
    } else {
        let file = notices::FILE;
        Outcome::Failed(format!(
            "{file} is out of date: `cargo xtask notices` makes it anew"
        ))
    })
}

pub(super) const NO_DENY: &str = "cargo-deny is not installed (scripts/dev-test.sh gets it)";

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    clippy_with(workspace, &["--workspace", "--features", ENGINE_TESTS])
}

/// The engine's own tests run on its scripted runner, those of the engine in Rust against llama.cpp, and
/// the binary's on llama.cpp too, which are behind these features.
const ENGINE_TESTS: &str = "shimmy-engine/stub,shimmy-native/llama-reference,shimmy/llama";

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
    clippy_gpu(workspace, "cuda")
}

fn clippy_vulkan(workspace: &Workspace) -> Result<Outcome> {
    clippy_gpu(workspace, "vulkan")
}

fn clippy_rocm(workspace: &Workspace) -> Result<Outcome> {
    clippy_gpu(workspace, "rocm")
}

fn clippy_metal(workspace: &Workspace) -> Result<Outcome> {
    clippy_gpu(workspace, "metal")
}

fn clippy_gpu(workspace: &Workspace, feature: &str) -> Result<Outcome> {
    match missing_toolkit(feature) {
        None => clippy_with(workspace, &["--package", "shimmy", "--features", feature]),
        Some(reason) => Ok(Outcome::Skipped(reason.to_owned())),
    }
}

/// What a GPU's feature needs to be built and is not here.
pub(super) fn missing_toolkit(feature: &str) -> Option<&'static str> {
    let is_file = |path| Path::new(path).is_file();
    let has_program = |name| process::find(name).is_some();
    let has_variable = |name| env::var_os(name).is_some();
    let (is_there, reason) = match feature {
        "cuda" => (
            has_program("nvcc") || has_variable("CUDA_PATH") || is_file("/usr/local/cuda/bin/nvcc"),
            "no CUDA toolkit here (nvcc)",
        ),
        "vulkan" => (
            (has_variable("VULKAN_SDK") || is_file("/usr/include/vulkan/vulkan.h"))
                && has_program("glslc"),
            "no Vulkan SDK here (headers and glslc)",
        ),
        "rocm" => (
            has_program("hipcc") || is_file("/opt/rocm/bin/hipcc"),
            "no ROCm toolkit here (hipcc)",
        ),
        _ => (cfg!(target_os = "macos"), "not macOS"),
    };
    (!is_there).then_some(reason)
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
