//! A server as a child process on a free loopback port: started, watched through `/proc`, and
//! stopped by its process id when it goes out of scope.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::http;
use crate::process::{self, pause};

/// A server that is not ready by then is broken.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Fine enough for figures in milliseconds, coarse enough not to compete with what is measured.
const POLL: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    log: PathBuf,
    pub(super) address: SocketAddr,
    /// When the process was about to be started.
    pub(super) started: Instant,
}

/// A loopback port that was free a moment ago.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

impl Server {
    /// Starts the command, which is to listen on the port; its output goes to the log.
    pub(super) fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self {
            child,
            log: log.to_owned(),
            address,
            started,
        })
    }

    /// Waits until `/health` answers 200; the time since the start.
    pub(super) fn wait_until_healthy(&mut self) -> Result<Duration> {
        loop {
            let status = http::request(self.address, "/health", None).map(|answer| answer.status);
            if matches!(status, Ok(200)) {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log_tail());
            }
            if self.started.elapsed() > START_LIMIT {
                bail!(
                    "the server is not healthy after {START_LIMIT:?}:\n{}",
                    self.log_tail()
                );
            }
            pause(POLL);
        }
    }

    /// Memory that belongs to the process alone, in bytes.
    pub(super) fn anonymous_memory(&self) -> Result<u64> {
        let text = self.proc_file("status")?;
        anonymous_bytes(&text).context("no RssAnon in the process's status")
    }

    /// The CPU time that the process has used so far.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let text = self.proc_file("stat")?;
        let ticks = cpu_ticks(&text).context("the process's stat cannot be read")?;
        Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second()))
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("{path} (Linux only)"))
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either may fail only because the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `RssAnon` of `/proc/PID/status` (proc_pid_status(5)), in bytes.
fn anonymous_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// User and system time of `/proc/PID/stat` (proc_pid_stat(5)): fields 14 and 15, counted after
/// the command name in parentheses, which may itself hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn ticks_per_second() -> f64 {
    // 100 on every Linux of today; the system is asked where it can be.
    let answer = process::find("getconf")
        .and_then(|getconf| Command::new(getconf).arg("CLK_TCK").output().ok())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    answer
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpu_time_are_read_from_proc() {
        assert_eq!(
            anonymous_bytes("VmRSS:\t 9 kB\nRssAnon:\t    1544 kB\n"),
            Some(1544 * 1024)
        );
        assert_eq!(anonymous_bytes("VmRSS:\t 9 kB\n"), None);
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 110 0 3 0 25 17 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(42));
    }
}
