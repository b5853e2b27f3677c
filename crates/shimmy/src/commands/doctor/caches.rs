//! The folders of what was computed before: packed weights, and prefixes of earlier requests.

use std::path::Path;

use shimmy_engine::{KeptFiles, kept_prefixes};

use super::Check;
use crate::backend::{self, DiskOptions};
use crate::cli::{PrefixArgs, WeightsArgs};
use crate::commands::bytes;
use crate::config;

/// How much is in the folders, and whether it will be believed.
pub(super) fn checks(weights: &WeightsArgs, prefixes: &PrefixArgs) -> Vec<Check> {
    let weights = config::weights_folder(weights);
    let prefixes = config::prefix_folder(prefixes);
    let weights = check("weights", "model", &weights, backend::kept_weights);
    let prefixes = check("prefixes", "prefix", &prefixes, |folder| {
        Some(kept_prefixes(folder))
    });
    weights.into_iter().chain(prefixes).collect()
}

/// None where this build keeps no such files.
fn check(
    name: &'static str,
    file: &str,
    place: &DiskOptions,
    look: impl Fn(&Path) -> Option<KeptFiles>,
) -> Option<Check> {
    let Some(folder) = &place.folder else {
        return Some(Check::ok(name, "none are kept"));
    };
    let kept = look(folder)?;
    let shown = folder.display();
    if folder.exists() && !folder.is_dir() {
        return Some(Check::warn(
            name,
            format!("{shown} is no folder, so nothing is kept"),
            "move it away, or choose another folder",
        ));
    }
    let count = match kept.count {
        0 => "nothing".to_owned(),
        1 => format!("1 {file}, {}", bytes(kept.bytes)),
        count => format!("{count} {}, {}", plural(file), bytes(kept.bytes)),
    };
    let detail = format!("{count} of at most {} in {shown}", bytes(place.bytes));
    let Some(damaged) = kept.damaged.first() else {
        return Some(Check::ok(name, detail));
    };
    Some(Check::warn(
        name,
        format!(
            "{detail}; {} damaged: {}",
            kept.damaged.len(),
            damaged.display()
        ),
        "nothing is lost: it is computed anew; or delete the files",
    ))
}

fn plural(word: &str) -> String {
    match word.ends_with('x') {
        true => format!("{word}es"),
        false => format!("{word}s"),
    }
}
