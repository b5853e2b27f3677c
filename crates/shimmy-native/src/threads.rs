//! How many threads compute. Owns what is read about the processor.

use std::collections::HashSet;
use std::fs;

/// Physical cores that this process may use: two threads of one core only get in each other's way.
pub(crate) fn physical_cores() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let siblings = |processor: usize| {
        let topology = format!("/sys/devices/system/cpu/cpu{processor}/topology");
        fs::read_to_string(format!("{topology}/thread_siblings_list")).ok()
    };
    let allowed = fs::read_to_string("/proc/thread-self/status").ok();
    let allowed = allowed.as_deref().and_then(allowed_processors);
    // Where the system says nothing, every processor counts.
    allowed
        .and_then(|allowed| cores(&allowed, siblings))
        .map_or(usable, |cores| cores.clamp(1, usable))
}

/// How many cores these processors are part of, if the system says it of all.
fn cores(processors: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let cores: Option<HashSet<String>> = processors.iter().map(|&cpu| siblings(cpu)).collect();
    cores.map(|cores| cores.len()).filter(|&cores| cores > 0)
}

/// The processors that a thread may use, by the words of `/proc`: `Cpus_allowed_list:\t0-3,8`.
fn allowed_processors(status: &str) -> Option<Vec<usize>> {
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut processors = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        processors.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processors_that_may_be_used_make_cores() {
        // Four cores of two threads each.
        let siblings = |processor: usize| {
            let first = processor % 4;
            (processor < 8).then(|| format!("{first},{}\n", first + 4))
        };
        let status = |list: &str| format!("Name:\tx\nCpus_allowed_list:\t{list}\nMems:\t0\n");
        for (list, expected) in [("0-7", 4), ("0,4", 1), ("1-2,6", 2), ("3", 1)] {
            let allowed = allowed_processors(&status(list)).expect("a list");
            assert_eq!(cores(&allowed, siblings), Some(expected), "{list}");
        }
        assert_eq!(cores(&[7, 8], siblings), None);
        assert_eq!(allowed_processors(&status("none")), None);
        assert!(physical_cores() >= 1);
    }
}
