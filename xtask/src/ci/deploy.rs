//! The files by which others run and publish Shimmy: nothing here starts a container or a service, so
//! each file is held against what its own linter or schema says. A linter that is not here is named.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::package::TOOLS;
use super::{Outcome, pass_through};
use crate::process;
use crate::workspace::Workspace;

const COMPOSE: &str = "deploy/docker-compose.yml";
const KUBERNETES: &str = "deploy/kubernetes.yaml";
const SYSTEMD: &str = "deploy/shimmy.service";
const LAUNCHD: &str = "deploy/com.shimmy.serve.plist";
const HOMEBREW: &str = "deploy/shimmy.rb";
const WORKFLOWS: &str = ".github/workflows";

/// The files that name the image with its version.
const WITH_VERSION: [&str; 2] = [COMPOSE, KUBERNETES];

pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    check_versions(&workspace.root)?;
    let python = match TOOLS.python(workspace)? {
        Ok(python) => python,
        Err(other) => return Ok(other),
    };
    let tool = |name: &str| workspace.command(TOOLS.program(workspace, name));
    let schema = |name: &str| {
        let mut command = tool("check-jsonschema");
        command.args(["--builtin-schema", name]);
        command
    };
    let mut workflows = schema("vendor.github-workflows");
    for entry in fs::read_dir(workspace.root.join(WORKFLOWS)).context(WORKFLOWS)? {
        workflows.arg(entry?.path());
    }
    let mut plist = workspace.command(python);
    plist.args([
        "-c",
        "import plistlib, sys; plistlib.load(open(sys.argv[1], 'rb'))",
    ]);
    let mut commands = vec![
        with(tool("hadolint"), &["deploy/Dockerfile"]),
        with(schema("vendor.compose-spec"), &[COMPOSE]),
        with(tool("kubernetes-validate"), &["--strict", KUBERNETES]),
        workflows,
        // Actions that are not pinned, permissions that are too wide, texts of strangers in scripts.
        with(
            tool("zizmor"),
            &["--offline", "--no-progress", "--quiet", WORKFLOWS],
        ),
        with(plist, &[LAUNCHD]),
    ];
    let mut missing = Vec::new();
    for (program, command) in of_the_system(workspace)? {
        if process::find(program).is_some() {
            commands.push(command);
        } else {
            missing.push(program);
        }
    }
    if process::find("systemd-analyze").is_some() {
        check_unit(workspace)?;
    } else {
        missing.push("systemd-analyze");
    }
    for mut command in commands {
        match pass_through(&mut command)? {
            Outcome::Passed(_) => {}
            other => return Ok(other),
        }
    }
    Ok(Outcome::Passed(if missing.is_empty() {
        String::new()
    } else {
        format!("not checked, for want of {}", missing.join(", "))
    }))
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

/// The linters that come with a system or not at all.
fn of_the_system(workspace: &Workspace) -> Result<Vec<(&'static str, Command)>> {
    let mut scripts = workspace.command("shellcheck");
    scripts.args(["--external-sources", ".ci/run"]);
    for entry in fs::read_dir(workspace.root.join("scripts")).context("scripts/")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            scripts.arg(path);
        }
    }
    let ruby = with(workspace.command("ruby"), &["-c", HOMEBREW]);
    Ok(vec![("shellcheck", scripts), ("ruby", ruby)])
}

/// systemd's own reading of the unit, which ends with success whatever it has to say.
fn check_unit(workspace: &Workspace) -> Result<()> {
    // It wants the program to be there, which an uninstalled one is not.
    let unit = fs::read_to_string(workspace.root.join(SYSTEMD)).context(SYSTEMD)?;
    let folder = workspace.target.join("systemd");
    fs::create_dir_all(&folder)?;
    let copy = folder.join("shimmy.service");
    fs::write(
        &copy,
        unit.replace("/usr/local/bin/shimmy serve", "/bin/true serve"),
    )?;
    let mut verify = workspace.command("systemd-analyze");
    verify.args(["verify", "--recursive-errors=no"]).arg(copy);
    println!("$ {}", process::display(&verify));
    let said = verify.output()?;
    let said = String::from_utf8_lossy(&said.stderr);
    ensure!(said.trim().is_empty(), "{SYSTEMD}: {}", said.trim());
    Ok(())
}

/// What runs an image runs the one of this version.
fn check_versions(root: &Path) -> Result<()> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = "));
    let version = version
        .context("Cargo.toml has no version")?
        .trim_matches('"');
    for file in WITH_VERSION {
        let text = fs::read_to_string(root.join(file)).context(file)?;
        for image in images(&text) {
            ensure!(
                image == version,
                "{file} names the image of version {image}, but this is {version}"
            );
        }
    }
    Ok(())
}

/// The versions of our image that a text names.
fn images(text: &str) -> impl Iterator<Item = &str> {
    text.split("shimmy-rs/shimmy:").skip(1).map(|rest| {
        let end = rest.find(char::is_whitespace);
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_their_versions() {
        let text = "image: ghcr.io/shimmy-rs/shimmy:0.1.0\nimage: ghcr.io/shimmy-rs/shimmy:latest";
        assert_eq!(images(text).collect::<Vec<_>>(), ["0.1.0", "latest"]);
        assert_eq!(images("http://shimmy:11435").count(), 0);
    }
}
