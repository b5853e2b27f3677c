//! The machine's memory.

use super::Check;
use crate::commands::bytes;
use crate::memory;

/// Less than this is too little for the smallest useful model and its context.
const LITTLE: u64 = 1_000_000_000;

/// How much there is, and how much of it is free.
pub(super) fn memory() -> Check {
    let total = memory::report()["total_bytes"].as_u64();
    match (memory::available_bytes(), total) {
        (Some(free), Some(total)) => {
            let detail = format!("{} free of {}", bytes(free), bytes(total));
            match free < LITTLE {
                true => Check::warn(
                    "memory",
                    detail,
                    "close other programs, or use a small model and a small --ctx",
                ),
                false => Check::ok("memory", detail),
            }
        }
        _ => Check::ok("memory", "this system does not say"),
    }
}
