//! How many threads compute. Owns what is read about the processor.

use std::collections::HashSet;

/// Physical cores that this process may use: two threads of one core only get in each other's way.
pub(crate) fn physical_cores() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    // Where the system says nothing, every processor counts.
    siblings().map_or(usable, |cores| cores.clamp(1, usable))
}

/// The number of physical cores of the machine, if the system says.
fn siblings() -> Option<usize> {
    let mut cores = HashSet::new();
    for entry in std::fs::read_dir("/sys/devices/system/cpu").ok()? {
        let path = entry.ok()?.path().join("topology/thread_siblings_list");
        if let Ok(list) = std::fs::read_to_string(path) {
            cores.insert(list);
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}
