//! The C library's allocator, which llama.cpp and this process share. Owns the wish that it give
//! memory back.

/// Bytes from which on an allocation is a mapping of its own, which goes back to the system when it
/// is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING: std::ffi::c_int = 1 << 20;

/// Makes large buffers go back to the system when they are freed.
///
/// glibc raises this bound, to 32 MiB at most, whenever a mapping is freed, and keeps up to twice as
/// much at the end of each thread's heap. After the first model is gone the buffers of the next
/// ones come from there: of a 0.5B model, 53 MB stay for good. A fixed bound has no such memory.
pub(crate) fn configure() {
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
/// What is smaller leaves holes between what is still in use; glibc keeps those for later. Takes
/// some milliseconds.
pub fn return_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's own function, which may be called at any time from any thread.
        unsafe { malloc_trim(0) };
    }
}
