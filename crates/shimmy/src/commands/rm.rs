//! `shimmy rm`: models off the disk, and names that users gave.

use serde_json::json;
use shimmy_models::{ModelFile, Removal, RemoveError};

use super::library::Library;
use super::{bytes, print, print_json};
use crate::cli::RmArgs;
use crate::failure::Failure;

pub(super) fn run(args: RmArgs) -> Result<(), Failure> {
    let library = Library::open(args.models)?;
    let mut aliases = library.aliases()?;
    // All are looked up before any is removed.
    let mut removals = Vec::new();
    for name in &args.names {
        let is_alias = aliases.remove(name);
        let removal = match is_alias {
            true => Removal::default(),
            false => plan(library.find_whole(name)?)?,
        };
        removals.push((name, is_alias, removal));
    }
    if !args.dry_run {
        for (_, _, removal) in &removals {
            removal.run()?;
        }
        if removals.iter().any(|(_, is_alias, _)| *is_alias) {
            aliases.save()?;
        }
    }
    if args.json {
        let removed: Vec<_> = removals
            .iter()
            .map(|(name, is_alias, removal)| {
                json!({
                    "name": name,
                    "alias": is_alias,
                    "files": removal.files,
                    "freed_bytes": removal.freed_bytes,
                })
            })
            .collect();
        return print_json(&json!({ "removed": removed, "dry_run": args.dry_run }));
    }
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut text = String::new();
    for (name, is_alias, removal) in removals {
        let what = match is_alias {
            true => "only a name".to_owned(),
            false => bytes(removal.freed_bytes),
        };
        text.push_str(&format!("{verb} {name} ({what})\n"));
        for path in removal.files {
            text.push_str(&format!("  {}\n", path.display()));
        }
    }
    print(&text)
}

fn plan(model: &ModelFile) -> Result<Removal, Failure> {
    Removal::plan(model).map_err(|error| match error {
        RemoveError::NotOurs { hint, .. } => Failure::new(&error).hint(hint),
        RemoveError::Io { .. } => error.into(),
    })
}
