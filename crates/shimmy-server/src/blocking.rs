//! Where computation of some milliseconds happens: not on a thread that serves streams.

use crate::error::{ApiError, ErrorKind};

/// Bytes of a body from which rendering and tokenising leave the async threads.
const LONG_INPUT: usize = 16 << 10;

/// Whether a request of so many bytes takes long to prepare.
pub(crate) fn is_long(bytes: usize) -> bool {
    bytes > LONG_INPUT
}

/// Does `work`, on a thread of its own if it is `slow`: it would hold up every stream on this one.
pub(crate) async fn run<T: Send + 'static>(
    slow: bool,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if !slow {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "preparing a request panicked");
        ApiError::new(ErrorKind::Internal, "the request could not be prepared")
    })?
}
