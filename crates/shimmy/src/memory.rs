//! The machine's memory and this process's part of it, as the system counts them.

mod cgroup;

use std::path::Path;

use serde_json::{Map, Value};

/// What the system says; facts that it does not give are left out.
pub(crate) fn report() -> Value {
    let mut facts = Map::new();
    let (meminfo, status) = (meminfo(), process_status());
    let lines = [
        ("total_bytes", &meminfo, "MemTotal:"),
        ("available_bytes", &meminfo, "MemAvailable:"),
        ("process_resident_bytes", &status, "VmRSS:"),
        ("process_anonymous_bytes", &status, "RssAnon:"),
    ];
    for (name, text, label) in lines {
        if let Some(bytes) = kilobytes(text, label) {
            facts.insert(name.to_owned(), bytes.into());
        }
    }
    if let Some(bytes) = cgroup::available_bytes(Path::new("/")) {
        facts.insert("cgroup_available_bytes".to_owned(), bytes.into());
    }
    Value::Object(facts)
}

/// Memory that the machine can still give, within the limits of the control groups that this
/// process is in, if the system says.
pub(crate) fn available_bytes() -> Option<u64> {
    let machine = kilobytes(&meminfo(), "MemAvailable:");
    let group = cgroup::available_bytes(Path::new("/"));
    machine.into_iter().chain(group).min()
}

/// Memory that this process may use in all: nine tenths of what is available and what it has
/// already. The rest is for everybody else, and for what is not counted.
///
/// A model file's pages are available as long as it is not read into memory of our own, so they
/// are counted once here, too.
pub(crate) fn spendable_bytes() -> Option<u64> {
    let own = kilobytes(&process_status(), "RssAnon:")?;
    Some((available_bytes()? + own) / 10 * 9)
}

fn meminfo() -> String {
    std::fs::read_to_string("/proc/meminfo").unwrap_or_default()
}

fn process_status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// The value of a line such as `MemTotal:  24 kB`, in bytes.
fn kilobytes(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    count.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::kilobytes;

    #[test]
    fn lines_of_proc_are_read() {
        let text = "MemFree: 1 kB\nMemTotal:       24576000 kB\nOdd: x kB\n";
        assert_eq!(kilobytes(text, "MemTotal:"), Some(24_576_000 * 1024));
        assert_eq!(kilobytes(text, "Odd:"), None);
        assert_eq!(kilobytes(text, "Missing:"), None);
    }
}
