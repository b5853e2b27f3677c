//! The machine's memory and this process's part of it, as the system counts them.

use serde_json::{Map, Value};

/// What the system says; facts that it does not give are left out.
pub(crate) fn report() -> Value {
    let mut facts = Map::new();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
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
    Value::Object(facts)
}

/// Memory that the machine can still give, if the system says.
#[cfg_attr(
    not(feature = "llama"),
    expect(dead_code, reason = "no devices without an engine")
)]
pub(crate) fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    kilobytes(&meminfo, "MemAvailable:")
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
