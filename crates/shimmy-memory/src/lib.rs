//! The C library's allocator, which all engines and the server share. Owns the wish that it give
//! memory back; must not know who asked for it.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(
        unsafe_code,
        reason = "the C library's functions are no part of Rust's"
    )
)]

/// Bytes from which on an allocation is a mapping of its own, which goes back to the system when it
/// is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING: std::ffi::c_int = 1 << 20;

/// Makes large buffers go back to the system when they are freed.
///
/// glibc raises this bound, to 32 MiB at most, whenever a mapping is freed, and keeps up to twice as
/// much at the end of each thread's heap. After the first model is gone the buffers of the next
/// ones come from there: of a 0.5B model, 53 MB stay for good. A fixed bound has no such memory.
pub fn configure() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // `malloc.h`; see mallopt(3).
        const M_MMAP_THRESHOLD: std::ffi::c_int = -3;
        unsafe extern "C" {
            fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        // SAFETY: glibc's own function; it takes the allocator's lock.
        unsafe { mallopt(M_MMAP_THRESHOLD, OWN_MAPPING) };
    }
}

/// Gives memory that was freed back to the system, where the C library keeps it (glibc does).
///
/// What is smaller leaves holes between what is still in use; of these, whole pages go back. Takes
/// some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's own function, which may be called at any time from any thread.
        unsafe { malloc_trim(0) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Anonymous memory of this process.
    fn anonymous() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("a line of it");
        let kilobytes = line.trim().trim_end_matches(" kB").parse::<usize>();
        kilobytes.expect("a number") << 10
    }

    #[test]
    fn what_is_freed_goes_back() {
        super::configure();
        let before = anonymous();
        let mut small: Vec<Vec<u8>> = (0..64 << 10).map(|_| vec![1; 1000]).collect();
        // What stays lies at the end, so that what is before it is a hole.
        let last = small.pop();
        let large = vec![1_u8; 64 << 20];
        assert!(anonymous() > before + (120 << 20));
        drop(large);
        drop(small);
        super::give_back();
        assert!(anonymous() < before + (16 << 20));
        drop(last);
    }
}
