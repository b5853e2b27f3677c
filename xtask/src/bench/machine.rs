//! What machine the figures are of, as far as the system tells.

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
            load_average: load_average(),
        }
    }
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
