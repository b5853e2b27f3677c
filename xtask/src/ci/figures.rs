//! How quick the release binary is where no model computes: its start, its list of models and its
//! downloads, each within its limit in `limits`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use shimmy_testkit::hub::FakeHub;
use shimmy_testkit::tiny;

use super::client::built;
use super::{Outcome, limits, stranger};
use crate::process;
use crate::workspace::Workspace;

/// Runs of which the median counts.
const RUNS: usize = 11;
/// The same for downloads, in which curl and we take turns.
const DOWNLOADS: usize = 3;
/// The size of the file that is downloaded.
const FILE_BYTES: usize = 256 << 20;
/// Lines to the hub, in Gbit/s. The first has a limit to keep: on faster ones, two cores that also are
/// the hub have little to spare, and say more of the machine than of the program.
const LINES: [u32; 2] = [1, 5];
const REPOSITORY: &str = "owner/figures-GGUF";
const FILE: &str = "figures-Q4_K_M.gguf";

pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    let binary = built(workspace)?;
    let folder = workspace.target.join("figures");
    let notes = [
        help(&binary, &folder)?,
        list(&binary, &folder)?,
        pull(&binary, &folder)?,
    ];
    for note in &notes {
        println!("{note}");
    }
    fs::remove_dir_all(&folder)?;
    Ok(Outcome::Passed(notes.join("; ")))
}

/// An empty folder in that of the figures.
fn empty(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn help(binary: &Path, folder: &Path) -> Result<String> {
    let home = empty(folder, "help")?;
    let mut command = stranger::command(binary, &home);
    command.arg("--help");
    let warm = of_runs(|| time(&mut command))?[RUNS / 2];
    within("shimmy --help", warm, limits::HELP)?;
    let warm = show(warm);
    if !forget(binary) {
        return Ok(format!("--help in {warm}"));
    }
    let cold = of_runs(|| {
        forget(binary);
        time(&mut command)
    })?;
    // The disk may be others' as well, but not every time.
    within("shimmy --help, read from the disk", cold[0], limits::HELP).context(
        "the linker has put what a start needs far apart: \
         `cargo xtask start` finds anew what that is (CONTRIBUTING.md)",
    )?;
    let cold = show(cold[RUNS / 2]);
    Ok(format!("--help in {warm}, {cold} when read from the disk"))
}

/// The times of all runs, the shortest first.
fn of_runs(mut run: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    let mut times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times)
}

/// Makes the system read the file from the disk the next time; false where that cannot be done.
///
/// Source: GNU coreutils' manual on dd, `nocache`.
fn forget(file: &Path) -> bool {
    let mut input = std::ffi::OsString::from("if=");
    input.push(file);
    let mut dd = Command::new("dd");
    dd.arg(input).args(["iflag=nocache", "count=0"]);
    dd.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    dd.status().is_ok_and(|status| status.success())
}

fn list(binary: &Path, folder: &Path) -> Result<String> {
    let home = empty(folder, "list")?;
    let models = home.join("models");
    fs::create_dir(&models)?;
    for number in 0..limits::LISTED {
        let name = format!("model-{number:03}");
        tiny::Model::new()
            .name(&name)
            .write(&models.join(format!("{name}.gguf")))?;
    }
    // What changed a moment ago is not remembered, because it may change again without a sign.
    process::pause(Duration::from_millis(2100));
    let mut command = stranger::command(binary, &home);
    command.arg("list");
    let output = command.output()?;
    let listed = String::from_utf8_lossy(&output.stdout).lines().count() - 1;
    ensure!(
        listed == limits::LISTED,
        "{listed} of {} models are listed",
        limits::LISTED
    );
    let again = of_runs(|| time(&mut command))?[RUNS / 2];
    let first = of_runs(|| {
        fs::remove_dir_all(home.join(".cache"))?;
        time(&mut command)
    })?[RUNS / 2];
    within("shimmy list", again, limits::LIST)?;
    let count = limits::LISTED;
    Ok(format!(
        "list of {count} in {}, the first time {}",
        show(again),
        show(first)
    ))
}

fn pull(binary: &Path, folder: &Path) -> Result<String> {
    if !process::works("curl", &["--version"]) {
        return Ok("pull not measured: no curl".to_owned());
    }
    let hub = FakeHub::start()?;
    let model = tiny::Model::new().to_bytes();
    let content: Vec<u8> = model.iter().copied().cycle().take(FILE_BYTES).collect();
    hub.add(REPOSITORY, FILE, content);
    let mut notes = Vec::new();
    for gigabits in LINES {
        hub.behave(|behaviour| behaviour.line = Some(gigabits * 125_000_000));
        let (ratio, speed) = beside_curl(binary, folder, &hub)?;
        let limit = limits::PULL_RATIO;
        ensure!(
            gigabits > LINES[0] || ratio >= limit,
            "shimmy pull has {ratio:.2} x curl's speed at {gigabits} Gbit/s; {limit} is the least"
        );
        notes.push(format!(
            "{speed:.0} MB/s at {gigabits} Gbit/s, {ratio:.2} x curl"
        ));
    }
    hub.behave(|behaviour| behaviour.line = None);
    let (ratio, speed) = beside_curl(binary, folder, &hub)?;
    let again = resume(binary, folder, &hub)?;
    Ok(format!(
        "pull has {}; {speed:.0} without a limit, {ratio:.2} x curl, which checks nothing; after a \
         kill in the middle {:.1} % came twice",
        notes.join("; "),
        100.0 * again as f64 / FILE_BYTES as f64
    ))
}

/// Our speed as a part of curl's, and in megabytes per second. One waits while the other runs.
fn beside_curl(binary: &Path, folder: &Path, hub: &FakeHub) -> Result<(f64, f64)> {
    let (mut ratios, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..DOWNLOADS {
        let home = empty(folder, "pull")?;
        let mut curl = stranger::command(Path::new("curl"), &home);
        curl.args(["--silent", "--show-error", "--fail", "--output", FILE]);
        let curl = time(curl.arg(format!("{}/{FILE}", hub.url())))?;
        let took = time(&mut pulling(binary, &home, hub))?;
        ratios.push(curl.as_secs_f64() / took.as_secs_f64());
        ours.push(took);
    }
    ratios.sort_by(f64::total_cmp);
    ours.sort();
    let speed = FILE_BYTES as f64 / 1e6 / ours[DOWNLOADS / 2].as_secs_f64();
    Ok((ratios[DOWNLOADS / 2], speed))
}

fn pulling(binary: &Path, home: &Path, hub: &FakeHub) -> Command {
    let mut command = stranger::command(binary, home);
    command
        .env("HF_ENDPOINT", hub.url())
        .args(["pull", REPOSITORY]);
    command
}

/// Kills a download in its middle and lets another finish it; the answer is the number of bytes that
/// were sent more than once.
fn resume(binary: &Path, folder: &Path, hub: &FakeHub) -> Result<usize> {
    let home = empty(folder, "pull")?;
    let before = hub.sent();
    hub.behave(|behaviour| {
        behaviour.budget = Some(FILE_BYTES / 2);
        behaviour.stalls = true;
    });
    let mut first = pulling(binary, &home, hub);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    hub.wait_until_sent(before + FILE_BYTES / 2);
    first.kill()?;
    first.wait()?;
    hub.behave(|behaviour| {
        behaviour.budget = None;
        behaviour.stalls = false;
    });
    time(&mut pulling(binary, &home, hub))?;
    let twice = hub.sent() - before - FILE_BYTES;
    ensure!(
        twice <= FILE_BYTES / 4,
        "{twice} bytes were fetched again after half of {FILE_BYTES} had come"
    );
    Ok(twice)
}

/// How long a command takes that must succeed.
fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let shown = process::display(command);
    let start = Instant::now();
    let output = command.output().with_context(|| shown.clone())?;
    let took = start.elapsed();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{shown} ended with {}: {errors}",
        output.status
    );
    Ok(took)
}

fn within(what: &str, took: Duration, limit: Duration) -> Result<()> {
    let (shown, most) = (show(took), show(limit));
    ensure!(took <= limit, "{what} takes {shown}; {most} is the most");
    Ok(())
}

fn show(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
