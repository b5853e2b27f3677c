//! A server as a child process on a free loopback port: started, watched until it is ready, and
//! stopped by its process id, at the latest when it goes out of scope.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::proc;
use super::signals::{self, Ending};

/// A server that is not ready by then is broken.
const START_LIMIT: Duration = Duration::from_secs(120);
/// For writing caches to disk; what is not gone by then is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// What the names of our threads that compute begin with: llama.cpp's have the engine's name.
const ENGINE_THREADS: [&str; 2] = ["engine ", "compute-"];
/// The least time between two looks at a server that starts.
const POLL: Duration = Duration::from_millis(1);
/// Looks grow rarer with the time that has passed: a late look is wrong by a hundredth at most, and
/// a server that takes long is not held up by being asked.
const LOOKS: u32 = 100;

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// The first process, and the group of all that it starts.
    group: u32,
    log: PathBuf,
    pub(super) client: Client,
    /// When the process was about to be started.
    pub(super) started: Instant,
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

impl Server {
    /// Starts the command, which is to listen on the port; its output goes to the log.
    pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        signals::own_group(&mut command);
        command
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let started = Instant::now();
        let child = command.spawn().with_context(|| {
            let program = command.as_std().get_program();
            format!("{} cannot be started", program.display())
        })?;
        Ok(Self {
            group: child.id().context("a process without an id")?,
            child,
            log: log.to_owned(),
            client: Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            started,
        })
    }

    /// Waits until `/health` answers 200; the time since the start.
    pub(crate) async fn wait_until_healthy(&mut self) -> Result<Duration> {
        loop {
            if matches!(self.client.status("/health").await, Ok(200)) {
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
            sleep(POLL.max(self.started.elapsed() / LOOKS)).await;
        }
    }

    /// What all its processes use.
    pub(super) fn usage(&self) -> Result<proc::Usage> {
        proc::of_group(self.group)
    }

    /// The CPU time of its threads that compute, and of the others.
    pub(super) fn cpu_by_engine(&self) -> Result<proc::Split> {
        proc::split(self.group, &ENGINE_THREADS)
    }

    /// Asks the server to end and waits until it has; one that does not is killed. Whether it ended
    /// by itself.
    pub(crate) async fn stop(mut self) -> Result<bool> {
        signals::end_group(self.group, Ending::Asked);
        let ended = timeout(STOP_LIMIT, self.child.wait()).await.is_ok();
        if !ended {
            signals::end_group(self.group, Ending::Forced);
            self.child
                .wait()
                .await
                .context("the server cannot be waited for")?;
        }
        Ok(ended)
    }

    /// The end of what the server wrote.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        signals::end_group(self.group, Ending::Forced);
    }
}

/// Reads a file to its end, so that servers find it in memory: disks are not what is compared.
pub(super) fn read_through(file: &Path) -> Result<()> {
    let mut open = File::open(file).with_context(|| file.display().to_string())?;
    io::copy(&mut open, &mut io::sink()).with_context(|| file.display().to_string())?;
    Ok(())
}
