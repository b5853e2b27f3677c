//! The texts that people read when something is wrong, and pages and completions. After a wanted
//! change, `SNAPSHOTS=overwrite` writes the texts anew; those of `--help` are in `reference`.

use std::path::Path;

use snapbox::{Data, assert_data_eq};

use crate::support::{run, run_with_input};

/// A text as it is kept, whatever machine it is made on.
fn compare(name: &str, text: &str, folder: &Path) {
    let text = text.replace(&folder.display().to_string(), "HOME");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let kept = Data::read_from(&path.join(format!("{name}.txt")), None);
    assert_data_eq!(text, kept.raw());
}

const COMMANDS: [&str; 20] = [
    "bench",
    "completions",
    "config",
    "cp",
    "discover",
    "doctor",
    "generate",
    "gpu-info",
    "init",
    "list",
    "man",
    "probe",
    "ps",
    "pull",
    "rm",
    "run",
    "serve",
    "show",
    "stop",
    "config show",
];

#[test]
fn errors_say_what_failed_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    std::fs::write(here.join("not.json"), "{").expect("written");
    let cases: [(&str, &[&str], i32); 17] = [
        ("no-command", &["frobnicate"], 2),
        ("no-flag", &["serve", "--ctxx", "1"], 2),
        ("bad-value", &["serve", "--ctx", "many"], 2),
        ("bad-engine", &["generate", "--engine", "abacus"], 2),
        ("no-argument", &["show"], 2),
        (
            "conflict",
            &["generate", "--schema", "a", "--grammar", "b"],
            2,
        ),
        ("no-model", &["generate", "nothing", "--prompt", "x"], 1),
        ("no-prompt", &["run", "stub"], 2),
        (
            "bad-sampling",
            &["generate", "--prompt", "x", "-t", "1000"],
            2,
        ),
        (
            "no-schema",
            &["generate", "--prompt", "x", "--schema", "none.json"],
            2,
        ),
        (
            "bad-schema",
            &["generate", "--prompt", "x", "--schema", "not.json"],
            2,
        ),
        (
            "too-long",
            &["generate", "--prompt", "0123456789abcdef", "--ctx", "16"],
            1,
        ),
        ("open-bind", &["serve", "--bind", "0.0.0.0:0"], 2),
        ("bad-bind", &["serve", "--bind", "nowhere"], 2),
        ("no-server", &["ps", "--bind", "127.0.0.1:1"], 1),
        (
            "bad-template",
            &["init", "-t", "docker", "--model", "a b"],
            2,
        ),
        ("no-page", &["man", "frobnicate"], 2),
    ];
    for (name, args, code) in cases {
        let outcome = run_with_input(here, args, "");
        assert_eq!(outcome.code, Some(code), "{name}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{name}");
        assert!(
            outcome.stderr.starts_with("error: "),
            "{name}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("hint: "),
            "{name}: {}",
            outcome.stderr
        );
        compare(&format!("error-{name}"), &outcome.stderr, here);
    }
}

#[test]
fn pages_and_completions_are_made_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man");
    let outcome = run(folder.path(), &["man", "--output", "man"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(0), ""),
        "{outcome:?}"
    );
    for command in COMMANDS {
        let page = pages.join(format!("shimmy-{}.1", command.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("{}", page.display()));
        assert!(text.contains(".SH NAME"), "{command}");
        let of = concat!("\"shimmy ", env!("CARGO_PKG_VERSION"), "\"");
        assert!(text.contains(of), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(folder.path(), &["completions", shell]);
        assert_eq!(outcome.code, Some(0), "{shell}");
        for command in ["gpu-info", "doctor"] {
            assert!(outcome.stdout.contains(command), "{shell}");
        }
    }
}
