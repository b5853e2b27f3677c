//! The C library's allocator, which llama.cpp and this process share. Owns the wish that it give
//! memory back.

/// Gives memory that was freed back to the system, where the C library keeps it (glibc does).
///
/// A model's buffers are freed on other threads than they were made on and leave holes between
/// what is still in use; glibc keeps those for later. After a model is gone, that can be gigabytes
/// that another process needs. Takes some milliseconds per gigabyte.
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
