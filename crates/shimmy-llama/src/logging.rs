//! llama.cpp's log: goes to `tracing` (target `llama`), and tells the caller of a failed call why
//! it failed. llama.cpp has no other channel for reasons.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::panic::catch_unwind;

use llama_cpp_sys_2 as sys;

/// What llama.cpp said during one call.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    errors: Vec<String>,
    /// `(placed, all)` of "offloaded 12/33 layers to GPU", which no function reports.
    pub(crate) offloaded: Option<(u32, u32)>,
}

impl Captured {
    /// The error lines as one sentence part.
    pub(crate) fn reason(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        for line in &self.errors {
            let line = without_function(line);
            // The last line of every failed load; it only repeats what the caller says anyway.
            if line != "failed to load model" && !reasons.contains(&line) {
                reasons.push(line);
            }
        }
        if reasons.is_empty() {
            "llama.cpp gave no reason".to_owned()
        } else {
            reasons.join("; ")
        }
    }

    fn note(&mut self, level: sys::ggml_log_level, line: &str) {
        if level == sys::GGML_LOG_LEVEL_ERROR {
            self.errors.push(line.trim().to_owned());
        } else if let Some(offloaded) = parse_offloaded(line) {
            self.offloaded = Some(offloaded);
        }
    }
}

/// One thread's unfinished line and, during [`capture`], what was said so far.
///
/// By thread, because lines arrive in pieces and several models may load at once; llama.cpp logs
/// on the thread that called it.
struct ThreadLog {
    line: String,
    level: sys::ggml_log_level,
    captured: Option<Captured>,
}

thread_local! {
    static LOG: RefCell<ThreadLog> = const {
        RefCell::new(ThreadLog {
            line: String::new(),
            level: sys::GGML_LOG_LEVEL_NONE,
            captured: None,
        })
    };
}

/// Takes over llama.cpp's log, which goes to stderr otherwise.
pub(crate) fn install() {
    // SAFETY: `receive` is a function of the expected signature that lives forever and uses no
    // user data. The setter is not thread-safe; `crate::initialise` runs it once, before any
    // other call into llama.cpp.
    unsafe { sys::llama_log_set(Some(receive), std::ptr::null_mut()) };
}

/// Runs `call` and returns with its result what llama.cpp said meanwhile on this thread.
///
/// Captures must not be nested: the inner one would take the outer one's lines.
pub(crate) fn capture<T>(call: impl FnOnce() -> T) -> (T, Captured) {
    LOG.with_borrow_mut(|log| log.captured = Some(Captured::default()));
    let result = call();
    let captured = LOG.with_borrow_mut(|log| log.captured.take());
    (result, captured.unwrap_or_default())
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated buffer that lives until this function returns.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A panic, of a tracing subscriber say, must not reach the C++ frames below. Its message has
    // been printed by the panic hook, and one lost log line is all the harm there is.
    let _ = catch_unwind(|| append(level, &text));
}

/// Adds a piece of text to this thread's line and passes on the lines it completes.
fn append(level: sys::ggml_log_level, text: &str) {
    for piece in text.split_inclusive('\n') {
        // The borrow ends before the line is emitted: a subscriber may do as it likes. A thread
        // that is being torn down has no log any more, and nobody to read it.
        let finished = LOG.try_with(|log| log.borrow_mut().push(level, piece));
        if let Ok(Some((level, captured, line))) = finished {
            emit(level, captured, line.trim_end());
        }
    }
}

impl ThreadLog {
    /// Returns the line if the piece completes it: its level, whether it was captured, its text.
    fn push(
        &mut self,
        level: sys::ggml_log_level,
        piece: &str,
    ) -> Option<(sys::ggml_log_level, bool, String)> {
        // A continuation has the level of what it continues.
        if level != sys::GGML_LOG_LEVEL_CONT {
            self.level = level;
        }
        self.line.push_str(piece);
        if !piece.ends_with('\n') {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        if let Some(captured) = &mut self.captured {
            captured.note(self.level, &line);
        }
        Some((self.level, self.captured.is_some(), line))
    }
}

/// Quiet by default: llama.cpp warns of much that is harmless, and its information is for those
/// who debug it. A captured error is reported by the caller, in context.
fn emit(level: sys::ggml_log_level, captured: bool, line: &str) {
    match level {
        _ if line.is_empty() => {}
        sys::GGML_LOG_LEVEL_ERROR if !captured => tracing::warn!(target: "llama", "{line}"),
        sys::GGML_LOG_LEVEL_DEBUG => tracing::trace!(target: "llama", "{line}"),
        _ => tracing::debug!(target: "llama", "{line}"),
    }
}

/// `llama_model_load: error loading …` → `error loading …`.
fn without_function(line: &str) -> &str {
    match line.split_once(": ") {
        Some((function, rest))
            if function.contains('_')
                && function
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':') =>
        {
            rest.trim()
        }
        _ => line,
    }
}

fn parse_offloaded(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once("offloaded ")?;
    let (counts, _) = rest.split_once(" layers to GPU")?;
    let (placed, all) = counts.split_once('/')?;
    Some((placed.parse().ok()?, all.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{append, capture, parse_offloaded, sys};

    #[test]
    fn pieces_of_a_line_become_one_reason_without_the_function() {
        let ((), captured) = capture(|| {
            append(sys::GGML_LOG_LEVEL_ERROR, "llama_model_load: error ");
            append(sys::GGML_LOG_LEVEL_CONT, "loading\nload_it: second");
            append(sys::GGML_LOG_LEVEL_CONT, "\n");
            append(sys::GGML_LOG_LEVEL_INFO, "llama_model_load: all is well\n");
            append(sys::GGML_LOG_LEVEL_ERROR, "load_it: failed to load model\n");
        });
        assert_eq!(captured.reason(), "error loading; second");
    }

    #[test]
    fn nothing_is_captured_outside_a_capture() {
        append(sys::GGML_LOG_LEVEL_ERROR, "earlier\n");
        let ((), captured) = capture(|| ());
        assert_eq!(captured.reason(), "llama.cpp gave no reason");
    }

    #[test]
    fn the_placement_is_read_from_its_line() {
        let line = "load_tensors: offloaded 12/33 layers to GPU\n";
        assert_eq!(parse_offloaded(line), Some((12, 33)));
        assert_eq!(
            parse_offloaded("load_tensors: offloading 12 repeating layers to GPU\n"),
            None
        );
    }
}
