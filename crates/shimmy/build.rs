//! Tells the binary what it was compiled for, and links the unwinder into it on Linux, so that it needs
//! no library but libc and libm.
//!
//! Rust's standard library asks for `libgcc_s`, the shared one. Where the compiler has the static
//! twin, a linker script of that name, found first, stands for it. C++'s library is static too,
//! so there is one unwinder in the process either way.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    tell_what_it_is_for();
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") != "linux" || target("ENV") != "gnu" || !has_static_unwinder() {
        return;
    }
    let Some(folder) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    if fs::write(folder.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").is_ok() {
        println!("cargo:rustc-link-search=native={}", folder.display());
    }
}

/// For `shimmy doctor`: the target, and the processor that was asked for.
fn tell_what_it_is_for() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
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
