//! Tells the binary what it was compiled for. On Linux it links the unwinder into it, so that it needs
//! no library but libc and libm, and lays out its file for a quick start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The layout, and the mark in it that stands for the functions of `CALLED_AT_START`.
const LAYOUT: &str = "link/layout.ld";
const CALLED_AT_START: &str = "link/called-at-start.txt";
const MARK: &str = "@CALLED_AT_START@\n";

fn main() {
    for file in ["build.rs", LAYOUT, CALLED_AT_START] {
        println!("cargo:rerun-if-changed={file}");
    }
    tell_what_it_is_for();
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let Some(folder) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    if target("OS") == "linux" && target("ENV") == "gnu" {
        link_the_unwinder(&folder);
        if target("ARCH") == "x86_64" && is_linked_by_lld(&folder) {
            lay_out(&folder);
        }
    }
}

/// For `shimmy doctor`: the target, and the processor that was asked for.
fn tell_what_it_is_for() {
    println!("cargo:rustc-env=BUILT_FOR_TARGET={}", variable("TARGET"));
    println!("cargo:rustc-env=BUILT_WITH_PROFILE={}", variable("PROFILE"));
    // Of all flags only this: others may hold the builder's folders.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let processor = flags
        .split(['\u{1f}', ' '])
        .filter_map(|flag| {
            flag.strip_prefix("-C")
                .unwrap_or(flag)
                .strip_prefix("target-cpu=")
        })
        .next_back();
    let processor = processor.unwrap_or("generic");
    println!("cargo:rustc-env=BUILT_FOR_PROCESSOR={processor}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Rust's standard library asks for `libgcc_s`, the shared one. Where the compiler has the static
/// twin, a linker script of that name, found first, stands for it. C++'s library is static too,
/// so there is one unwinder in the process either way.
fn link_the_unwinder(folder: &Path) {
    if has_static_unwinder()
        && fs::write(folder.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").is_ok()
    {
        println!("cargo:rustc-link-search=native={}", folder.display());
    }
}

/// Whether the C compiler that links has `libgcc_eh.a`; it answers with a path if so, and with
/// the bare name if not.
fn has_static_unwinder() -> bool {
    let answer = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    answer.is_ok_and(|answer| {
        String::from_utf8(answer.stdout).is_ok_and(|path| PathBuf::from(path.trim()).is_absolute())
    })
}

/// Whether lld links: Rust's own for this target, unless somebody chose another one. An empty program,
/// built as this one will be, says what its linker was called with.
fn is_linked_by_lld(folder: &Path) -> bool {
    let source = folder.join("empty.rs");
    if fs::write(&source, "fn main() {}\n").is_err() {
        return false;
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--print", "link-args", "--target", &variable("TARGET")])
        .arg("--out-dir")
        .args([folder, &source])
        .stderr(Stdio::null());
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = std::ffi::OsString::from("linker=");
        flag.push(linker);
        rustc.arg("-C").arg(flag);
    }
    let Ok(answer) = rustc.output() else {
        return false;
    };
    let said = String::from_utf8_lossy(&answer.stdout);
    // The last one counts.
    let linker = said.rsplit_once("-fuse-ld=").map(|(_, linker)| linker);
    answer.status.success() && linker.is_some_and(|linker| linker.starts_with("lld"))
}

/// Has the program linked by the layout, with the functions that a start calls before all others.
/// Finding those takes lld seconds: too long for a build that nobody waits to see start.
fn lay_out(folder: &Path) {
    let (Ok(layout), Ok(called)) = (
        fs::read_to_string(LAYOUT),
        fs::read_to_string(CALLED_AT_START),
    ) else {
        println!("cargo:warning=link/ cannot be read: the program's file is not laid out");
        return;
    };
    let is_optimised = variable("OPT_LEVEL") != "0";
    let called: String = called
        .lines()
        .filter(|line| is_optimised && !line.is_empty() && !line.starts_with('#'))
        .map(|name| format!("    *(.text.{name} .text.unlikely.{name})\n"))
        .collect();
    let whole = folder.join("layout.ld");
    if fs::write(&whole, layout.replace(MARK, &called)).is_ok() {
        println!("cargo:rustc-link-arg-bins=-T{}", whole.display());
    }
}
