//! What machine the figures are of, as far as the system tells.

use std::hint::black_box;
use std::time::Instant;
use std::{env, fs, thread};

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    memory_bytes: Option<u64>,
    kernel: Option<String>,
    system: &'static str,
    architecture: &'static str,
    /// Gigabytes that all cores together read from memory in a second: the bound of decode.
    pub(super) read_bandwidth: f64,
    /// Runnable processes of the last minute, before anything was measured.
    load_average: Option<f64>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory_info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cpu: field(&cpu_info, "model name").unwrap_or_else(|| env::consts::ARCH.to_owned()),
            cores: thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: field(&memory_info, "MemTotal").and_then(|text| {
                let kibibytes: u64 = text.strip_suffix("kB")?.trim().parse().ok()?;
                Some(kibibytes * 1024)
            }),
            kernel: kernel.map(|text| text.trim().to_owned()),
            system: env::consts::OS,
            architecture: env::consts::ARCH,
            read_bandwidth: read_bandwidth(),
            load_average: load_average(),
        }
    }
}

/// Bytes that each thread reads, more than any cache has.
const READ_BYTES: usize = 256 << 20;
/// The best counts: a thread that had to wait says nothing about memory.
const READ_ROUNDS: usize = 5;

/// Gigabytes per second that one thread for each core reads in sequence, all at once.
fn read_bandwidth() -> f64 {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory: Vec<Vec<u64>> = (0..threads).map(|_| vec![1; READ_BYTES / 8]).collect();
    let round = |_| {
        let start = Instant::now();
        thread::scope(|scope| {
            for memory in &memory {
                scope.spawn(|| black_box(sum(memory)));
            }
        });
        (threads * READ_BYTES) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..READ_ROUNDS).map(round).fold(0.0, f64::max)
}

fn sum(memory: &[u64]) -> u64 {
    // Several sums, so that the additions do not wait for each other.
    let mut sums = [0_u64; 16];
    for line in memory.chunks_exact(sums.len()) {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// Of the last minute.
pub(super) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC: x\nmodel name\t: other\n";
        assert_eq!(field(text, "model name").as_deref(), Some("AMD EPYC: x"));
        assert_eq!(field(text, "name"), None);
    }
}
