//! Which functions a start calls, as `crates/shimmy/link/called-at-start.txt`, which has them lie together
//! at the beginning of the program. Owns how they are found and named; what is made of the names is
//! `crates/shimmy/build.rs`'s.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use shimmy_testkit::tiny;

use crate::bench::server::{self, Server};
use crate::workspace::Workspace;
use crate::{ci, process};

const FILE: &str = "crates/shimmy/link/called-at-start.txt";

const HEADING: &str = "\
# The functions that a start calls, the shortest start first, each with those before it left out; a star
# stands for what differs from build to build. `cargo xtask start` makes this file of runs of the program.
";

/// The whole program, the very one that is shipped but with the names of its functions. A profile of its
/// own would give all functions other hashes, and so make a program of other functions.
const BUILD: [&str; 9] = [
    "build",
    "--locked",
    "--release",
    "--package",
    "shimmy",
    "--features",
    "llama",
    "--config",
    "target.x86_64-unknown-linux-gnu.rustflags=['-Cstrip=none']",
];

/// What a new version of the compiler, of a package or of its features changes in a name.
const ANYTHING: char = '*';

/// C++'s constructors and destructors, some of which are one function under two names: callgrind says any.
const VARIANTS: [&str; 6] = ["C1E", "C2E", "C1I", "C2I", "D1E", "D2E"];
const ANY_DIGIT: char = '?';

const SERVERS: usize = 8;

/// Writes the file anew.
pub(crate) fn write(workspace: &Workspace) -> Result<bool> {
    ensure!(
        process::find("valgrind").is_some(),
        "valgrind is not installed: its callgrind sees which functions run"
    );
    let folder = workspace.target.join("start");
    let mut build = workspace.cargo();
    build.args(BUILD).arg("--target-dir").arg(&folder);
    ensure!(build.status()?.success(), "{}", process::display(&build));
    let runs = Runs {
        binary: folder.join("release/shimmy"),
        home: folder.join("home"),
    };
    let text = runs.text()?;
    fs::write(workspace.root.join(FILE), text).context(FILE)?;
    println!("{FILE} is written");
    Ok(true)
}

/// Runs of the program under callgrind.
struct Runs {
    binary: PathBuf,
    /// With one model, and without settings.
    home: PathBuf,
}

impl Runs {
    fn text(&self) -> Result<String> {
        let models = self.home.join("models");
        if self.home.exists() {
            fs::remove_dir_all(&self.home)?;
        }
        fs::create_dir_all(&models)?;
        tiny::Model::new().write(&models.join("tiny.gguf"))?;
        // What changed a moment ago is not remembered, because it may change again without a sign.
        process::pause(Duration::from_millis(2100));
        let mut text = HEADING.to_owned();
        let mut known = BTreeSet::new();
        for (start, called) in [
            ("shimmy --help", self.command("--help")?),
            ("shimmy list", self.command("list")?),
            ("shimmy serve, until it is healthy", self.servers()?),
        ] {
            text.push_str(&format!("\n# {start}\n"));
            for name in called.into_iter().filter(|name| known.insert(name.clone())) {
                text.push_str(&name);
                text.push('\n');
            }
        }
        Ok(text)
    }

    fn command(&self, argument: &str) -> Result<BTreeSet<String>> {
        let profile = self.home.join("profile");
        let mut command = self.callgrind(&profile);
        command
            .arg(argument)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        ensure!(
            command.status()?.success(),
            "{}",
            process::display(&command)
        );
        self.called(&profile)
    }

    /// Of several servers: which of its threads does what is another one's each time.
    fn servers(&self) -> Result<BTreeSet<String>> {
        let mut called = BTreeSet::new();
        for _ in 0..SERVERS {
            called.append(&mut self.serve()?);
        }
        Ok(called)
    }

    fn serve(&self) -> Result<BTreeSet<String>> {
        let profile = self.home.join("profile");
        let port = server::free_port()?;
        let mut command = self.callgrind(&profile);
        command.args(["serve", "--bind", &format!("127.0.0.1:{port}")]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut server = Server::start(command.into(), port, &self.home.join("log"))?;
            server.wait_until_healthy().await?;
            ensure!(server.stop().await?, "the server does not end");
            Ok(())
        })?;
        self.called(&profile)
    }

    fn callgrind(&self, profile: &Path) -> Command {
        let mut command = ci::stranger::command(Path::new("valgrind"), &self.home);
        let mut out = std::ffi::OsString::from("--callgrind-out-file=");
        out.push(profile);
        command
            .env_remove("NO_COLOR")
            .args(["--tool=callgrind", "--demangle=no", "--compress-strings=no"])
            .arg(out)
            .arg(&self.binary);
        command
    }

    fn called(&self, profile: &Path) -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(profile).with_context(|| profile.display().to_string())?;
        let called = called(&text, &self.binary.display().to_string());
        // A program without names has one function, if any.
        ensure!(
            called.len() > 100,
            "the program does not name its functions"
        );
        Ok(called)
    }
}

/// The functions of a program that a profile by callgrind has, as names that other builds have, too.
///
/// Source: Valgrind's manual, "Callgrind Format Specification".
fn called(profile: &str, program: &str) -> BTreeSet<String> {
    let mut is_ours = false;
    let mut names = BTreeSet::new();
    for line in profile.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_ours = object == program;
        } else if let Some(name) = line.strip_prefix("fn=")
            && is_ours
        {
            let name = lasting(name);
            if is_name(&name) {
                names.insert(name);
            }
        }
    }
    names
}

/// Whether callgrind has read the name in the program, and has not made it up of an address.
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$*?".contains(&byte);
    name.bytes().all(is_part) && !name.starts_with("0x")
}

/// The part of a function's name that other builds have, too.
///
/// Rust names a generic function's instances by a hash at the end (`17h…E`), or, in the newer way, a
/// package by a hash before its name (`Cs…_`); LLVM numbers what it copies (`.123`, `.llvm.123`).
///
/// Source: the Rust compiler's manual, "Symbol Mangling"; its RFC 2603; the Itanium C++ ABI, 5.1.4.3.
fn lasting(name: &str) -> String {
    // What a function that calls itself is called while it does.
    let name = name.split('\'').next().unwrap_or(name);
    if let Some(of_rust) = name.strip_prefix("_R") {
        let end = of_rust.find('.').unwrap_or(of_rust.len());
        return format!("{}{ANYTHING}", without_packages(&name[..2 + end]));
    }
    match name.rfind("17h") {
        Some(hash) if name.starts_with("_ZN") && is_hash(&name[hash + 3..]) => {
            format!("{}{ANYTHING}", &name[..hash + 3])
        }
        _ => VARIANTS.iter().fold(name.to_owned(), |name, variant| {
            let (kind, end) = (&variant[..1], &variant[2..]);
            name.replace(variant, &format!("{kind}{ANY_DIGIT}{end}"))
        }),
    }
}

fn is_hash(text: &str) -> bool {
    text.split_at_checked(16).is_some_and(|(hash, end)| {
        hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && end.starts_with('E')
    })
}

/// The name with a star in each place of a package's hash.
fn without_packages(name: &str) -> String {
    let (mut kept, mut rest) = (String::new(), name);
    while let Some(at) = rest.find("Cs") {
        let (before, after) = rest.split_at(at + 2);
        kept.push_str(before);
        // `_` ends the hash, and then comes the length of the package's name.
        let digits = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let is_hash = after[digits..].starts_with('_')
            && after[digits + 1..].starts_with(|next: char| next.is_ascii_digit());
        rest = if is_hash {
            kept.push(ANYTHING);
            &after[digits..]
        } else {
            after
        };
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_s_own_functions_count() {
        let profile = "\
ob=/lib/libc.so.6
fn=malloc
1 2
ob=/here/shimmy
fl=???
fn=0x000000000116ae28
fn=(below main)
fn=main
1 5
cfn=_ZN6shimmy4main17h0123456789abcdefE
fn=_ZN6shimmy4main17h0123456789abcdefE
fn=_ZN4core3fmt5write17hfedcba9876543210E'2
";
        let called: Vec<String> = called(profile, "/here/shimmy").into_iter().collect();
        assert_eq!(
            called,
            ["_ZN4core3fmt5write17h*", "_ZN6shimmy4main17h*", "main"]
        );
    }

    #[test]
    fn names_are_those_of_other_builds_too() {
        for (name, expected) in [
            ("_start", "_start"),
            // C++'s, one of which looks like Rust's.
            (
                "_ZNSt6locale5facetD2Ev.isra.0",
                "_ZNSt6locale5facetD?Ev.isra.0",
            ),
            ("_ZN17hello5worldEv", "_ZN17hello5worldEv"),
            (
                "_ZN3std2rt10lang_start17h1c5a3a0f1d0b5b51E.llvm.42",
                "_ZN3std2rt10lang_start17h*",
            ),
            (
                "_RNvMs4_NtCslNYArtu3iFV_5alloc7raw_vecNtB5_11RawVecInner11finish_growCsjrHSEGnQ3l9_3std",
                "_RNvMs4_NtCs*_5alloc7raw_vecNtB5_11RawVecInner11finish_growCs*_3std*",
            ),
            (
                "_RNvNtCslNYArtu3iFV_5alloc5boxed14box_new_uninit.5142",
                "_RNvNtCs*_5alloc5boxed14box_new_uninit*",
            ),
        ] {
            assert_eq!(lasting(name), expected);
        }
    }
}
