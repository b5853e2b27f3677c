//! The machine as llama.cpp sees it: devices, instruction sets, cores.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use llama_cpp_sys_2 as sys;

/// A device that computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its short name, such as "CPU" or "CUDA0".
    pub name: String,
    /// Its long name, such as that of the processor.
    pub description: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Bytes of its memory that are free, as far as its driver knows.
    pub memory_free: usize,
    /// Bytes of its memory.
    pub memory_total: usize,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A graphics card with its own memory.
    Gpu,
    /// A graphics unit that shares the processor's memory.
    IntegratedGpu,
    /// A library that computes on the processor, such as BLAS.
    Accelerator,
    /// One that this crate has no name for.
    Other,
}

/// The devices of this build and machine.
pub fn devices() -> Vec<Device> {
    crate::initialise();
    // SAFETY: the list of devices was made by `initialise` and does not change afterwards.
    let count = unsafe { sys::ggml_backend_dev_count() };
    (0..count).map(device).collect()
}

/// Whether this build can compute on a GPU and there is one.
pub fn gpu_offload_supported() -> bool {
    crate::initialise();
    // SAFETY: as in `devices`.
    unsafe { sys::llama_supports_gpu_offload() }
}

/// The instruction sets and libraries that this build computes with on the CPU, such as "AVX2".
pub fn cpu_features() -> &'static [String] {
    // llama.cpp builds the text in a buffer that all callers share: it is asked once.
    static FEATURES: OnceLock<Vec<String>> = OnceLock::new();
    FEATURES.get_or_init(|| {
        crate::initialise();
        // SAFETY: returns a NUL-terminated string that is valid until the next call, and this is
        // the only place that calls it, once.
        let info = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        parse_features(&info.to_string_lossy())
    })
}

/// The version of llama.cpp in this build.
pub fn llama_version() -> String {
    // SAFETY: returns a constant string.
    unsafe { owned(sys::llama_version()) }
}

/// Physical cores this process may use. Threads beside them on the same core share its arithmetic
/// units, which the kernels keep busy alone.
pub fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    match linux_cores() {
        Some(cores) if cores > 0 => cores.min(allowed),
        _ => allowed,
    }
}

fn device(index: usize) -> Device {
    // SAFETY: the index is less than the count of a list that does not change; a device and its
    // strings live as long as the process. `memory` writes two numbers.
    unsafe {
        let raw = sys::ggml_backend_dev_get(index);
        let (mut memory_free, mut memory_total) = (0, 0);
        sys::ggml_backend_dev_memory(raw, &raw mut memory_free, &raw mut memory_total);
        let kind = match sys::ggml_backend_dev_type(raw) {
            sys::GGML_BACKEND_DEVICE_TYPE_CPU => DeviceKind::Cpu,
            sys::GGML_BACKEND_DEVICE_TYPE_GPU => DeviceKind::Gpu,
            sys::GGML_BACKEND_DEVICE_TYPE_IGPU => DeviceKind::IntegratedGpu,
            sys::GGML_BACKEND_DEVICE_TYPE_ACCEL => DeviceKind::Accelerator,
            _ => DeviceKind::Other,
        };
        Device {
            name: owned(sys::ggml_backend_dev_name(raw)),
            description: owned(sys::ggml_backend_dev_description(raw)),
            kind,
            memory_free,
            memory_total,
        }
    }
}

/// Copies a C string; none becomes an empty one.
///
/// # Safety
///
/// `text` must be null or NUL-terminated and valid during the call.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller promises that it is NUL-terminated and valid.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Reads "CUDA : ARCHS = 890 | CPU : SSE3 = 1 | AVX = 0 | AVX2 = 1 | " → SSE3, AVX2.
fn parse_features(info: &str) -> Vec<String> {
    let mut backend = "";
    let mut features = Vec::new();
    for entry in info.split('|') {
        let mut entry = entry;
        if let Some((name, rest)) = entry.split_once(" : ") {
            (backend, entry) = (name.trim(), rest);
        }
        if let Some((name, value)) = entry.split_once('=')
            && backend == "CPU"
            && value.trim() != "0"
        {
            features.push(name.trim().to_owned());
        }
    }
    features
}

/// Counts the cores among the processors that this process may run on.
fn linux_cores() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let siblings = parse_cpu_list(allowed)?.into_iter().map(|cpu| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    });
    // Threads of one core name the same siblings.
    siblings
        .collect::<Option<BTreeSet<_>>>()
        .map(|cores| cores.len())
}

/// Reads "0-3,8,10-11".
fn parse_cpu_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::{parse_cpu_list, parse_features};

    #[test]
    fn features_are_those_of_the_cpu_that_are_on() {
        let info = "CUDA : ARCHS = 890 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX = 0 | REPACK = 1 | ";
        assert_eq!(parse_features(info), ["SSE3", "REPACK"]);
    }

    #[test]
    fn cpu_lists_are_ranges_and_numbers() {
        assert_eq!(
            parse_cpu_list("\t0-2,8,10-11\n"),
            Some(vec![0, 1, 2, 8, 10, 11])
        );
        assert_eq!(parse_cpu_list("all"), None);
    }
}
