//! What a search found wrong, in the log.

use std::sync::Once;

use shimmy_models::{Problem, ProblemReason};

/// Says it quietly, because `shimmy discover` is there for it, but for what makes every search slow.
pub(super) fn log(problems: &[Problem]) {
    static HAS_WARNED: Once = Once::new();
    for problem in problems {
        match problem.reason {
            ProblemReason::NotRemembered(_) => HAS_WARNED.call_once(|| tracing::warn!("{problem}")),
            _ => tracing::debug!("{problem}"),
        }
    }
}
