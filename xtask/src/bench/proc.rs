//! What Linux tells about processes in `/proc`: memory and CPU time of a server with all its
//! processes, of this program, and of the machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process;

/// What a server's processes use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// Memory that belongs to them alone, in bytes.
    pub(super) anonymous_bytes: u64,
    /// CPU time since the start, of processes that have ended too.
    pub(super) cpu: Duration,
}

/// Of all processes in the group.
pub(super) fn of_group(group: u32) -> Result<Usage> {
    let mut usage = Usage::default();
    let entries = fs::read_dir("/proc").context("/proc (Linux only)")?;
    for entry in entries.flatten() {
        // Processes come and go while this reads: one that is gone uses nothing.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some(stat) = Stat::parse(&stat).filter(|stat| stat.group == u64::from(group)) else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        usage.anonymous_bytes += anonymous_bytes(&status).unwrap_or(0);
        usage.cpu += ticks(stat.ticks);
    }
    Ok(usage)
}

/// CPU time of a group's processes, by which of their threads took it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Split {
    /// Of the threads whose names begin as asked for.
    pub(super) engine: Duration,
    /// Of all others, those that have ended too.
    pub(super) others: Duration,
}

/// The CPU time of threads whose names begin with one of `names`, and of the others of the group.
pub(super) fn split(group: u32, names: &[&str]) -> Result<Split> {
    let mut engine = Duration::ZERO;
    let entries = fs::read_dir(format!("/proc/{group}/task")).context("the server has ended")?;
    for task in entries.flatten().map(|entry| entry.path()) {
        // Threads end while this reads; the engine's do not.
        let comm = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if names.iter().any(|name| comm.starts_with(name)) {
            engine += of_schedstat(&task.join("schedstat"))?;
        }
    }
    let all = of_group(group)?.cpu;
    Ok(Split {
        engine,
        others: all.saturating_sub(engine),
    })
}

/// CPU time of the calling thread.
pub(super) fn of_this_thread() -> Result<Duration> {
    of_schedstat(Path::new("/proc/thread-self/schedstat"))
}

fn of_schedstat(path: &Path) -> Result<Duration> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("{shown} (Linux only)"))?;
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(
        nanoseconds.context("schedstat without a time")?,
    ))
}

/// CPU time that all processors have spent on anything but waiting, since the machine's start.
pub(super) fn of_machine() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat (Linux only)")?;
    Ok(ticks(
        busy_ticks(&text).context("/proc/stat without a line of times")?,
    ))
}

/// The fields of `/proc/PID/stat` (proc_pid_stat(5)) that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    group: u64,
    /// User and system time, with that of children that were waited for.
    ticks: u64,
}

impl Stat {
    /// Fields are counted after the command's name in parentheses, which may itself hold spaces
    /// and parentheses: the group is the 5th field, the times are the 14th to 17th.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let group = fields.get(2)?.parse().ok()?;
        let times = fields.get(11..15)?.iter().map(|field| field.parse::<u64>());
        Some(Self {
            group,
            ticks: times.sum::<Result<u64, _>>().ok()?,
        })
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

/// The first line of `/proc/stat` (proc_stat(5)) without idle and iowait, and without the guests'
/// times, which user and nice already hold.
fn busy_ticks(stat: &str) -> Option<u64> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = times
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let (user, rest) = times.get(..8)?.split_at(3);
    Some(user.iter().chain(&rest[2..]).sum())
}

fn ticks(count: u64) -> Duration {
    static PER_SECOND: OnceLock<f64> = OnceLock::new();
    let per_second = PER_SECOND.get_or_init(|| {
        // 100 on every Linux of today; the system is asked where it can be.
        let answer = process::find("getconf")
            .and_then(|getconf| Command::new(getconf).arg("CLK_TCK").output().ok())
            .and_then(|output| String::from_utf8(output.stdout).ok());
        let told = answer.and_then(|text| text.trim().parse().ok());
        told.filter(|&ticks| ticks > 0.0).unwrap_or(100.0)
    });
    Duration::from_secs_f64(count as f64 / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_times_are_read_from_proc() {
        assert_eq!(
            anonymous_bytes("VmRSS:\t 9 kB\nRssAnon:\t    1544 kB\n"),
            Some(1544 * 1024)
        );
        assert_eq!(anonymous_bytes("VmRSS:\t 9 kB\n"), None);
        let stat = "7 (a (b) c) S 1 6 7 0 -1 4194304 110 0 3 0 25 17 2 1 20 0 1 0 5 6 7";
        assert_eq!(
            Stat::parse(stat),
            Some(Stat {
                group: 6,
                ticks: 45
            })
        );
        assert_eq!(Stat::parse("7 (a) S 1 6"), None);
        let stat = "cpu  10 20 30 4000 500 6 7 8 90 90\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(stat), Some(81));
        assert_eq!(busy_ticks("intr 1 2\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_thread_and_the_machine_have_used_time() {
        // The system counts a running thread's time from tick to tick.
        while of_this_thread().expect("a time").is_zero() {}
        assert!(of_machine().expect("a time") > Duration::ZERO);
    }
}
