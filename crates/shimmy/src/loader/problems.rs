//! What a search found wrong, in the log.

use std::sync::Once;

use shimmy_models::{Problem, ProblemReason};

/// Says it quietly, because `shimmy discover` is there for it, but for what makes every search slow or
/// takes all given names away. That is said once.
pub(super) fn log(problems: &[Problem]) {
    static ON_MEMORY: Once = Once::new();
    static ON_NAMES: Once = Once::new();
    for problem in problems {
        match problem.reason {
            ProblemReason::NotRemembered(_) => ON_MEMORY.call_once(|| tracing::warn!("{problem}")),
            ProblemReason::Aliases(_) => ON_NAMES.call_once(|| tracing::warn!("{problem}")),
            _ => tracing::debug!("{problem}"),
        }
    }
}
