//! Links the unwinder into the binary on Linux, so that it needs no library but libc and libm.
//!
//! Rust's standard library asks for `libgcc_s`, the shared one. Where the compiler has the static
//! twin, a linker script of that name, found first, stands for it. C++'s library is static too,
//! so there is one unwinder in the process either way.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
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
