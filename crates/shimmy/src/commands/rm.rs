//! `shimmy rm`: models off the disk, and names that users gave.

use serde_json::json;
use shimmy_models::{Aliases, Packages, Removal, RemoveError, is_called};

use super::library::Library;
use super::{bytes, print, print_json};
use crate::cli::RmArgs;
use crate::failure::Failure;

pub(super) fn run(args: RmArgs) -> Result<(), Failure> {
    let library = Library::open(args.models)?;
    let mut aliases = library.aliases()?;
    // All are looked up before any is removed.
    let mut removals = Vec::new();
    let mut orphans = Vec::new();
    for name in &args.names {
        removals.push(plan(
            &library,
            &mut aliases,
            name,
            &args.names,
            &mut orphans,
        )?);
    }
    for alias in orphans {
        aliases.remove(alias);
    }
    if !args.dry_run {
        for (_, removal) in &removals {
            removal.run()?;
        }
        aliases.save()?;
    }
    let removals = args.names.iter().zip(removals);
    if args.json {
        let removed: Vec<_> = removals
            .map(|(name, (is_alias, removal))| {
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
    for (name, (is_alias, removal)) in removals {
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

/// What removing a name removes, and whether it is only that name. Names that users gave go alone, and a
/// model not before those, unless they go with it. The names of a model that goes are `orphans`.
fn plan<'a>(
    library: &'a Library,
    aliases: &mut Aliases,
    name: &str,
    going: &[String],
    orphans: &mut Vec<&'a String>,
) -> Result<(bool, Removal), Failure> {
    if aliases.remove(name) {
        return Ok((true, Removal::default()));
    }
    let packages = library.settings.packages().map(Packages::at);
    let package = |name: &str| packages.as_ref()?.removal(name);
    if let Some(removal) = package(name) {
        return Ok((false, removal));
    }
    let model = library.find_whole(name)?;
    let mut names = [&model.name].into_iter().chain(&model.aliases);
    // The same name as it is written where it is kept.
    if let Some(known) = names.find(|known| is_called(name, known)) {
        if let Some(removal) = package(known) {
            return Ok((false, removal));
        }
        if aliases.remove(known) {
            return Ok((true, Removal::default()));
        }
    }
    let removal = Removal::plan(model).map_err(|error| match error {
        RemoveError::NotOurs { hint, .. } => Failure::new(&error).hint(hint),
        RemoveError::Io { .. } => error.into(),
    })?;
    let stays = |alias: &&String| !going.iter().any(|name| is_called(name, alias));
    if let Some(other) = model.given_names().into_iter().find(stays) {
        return Err(Failure::new(format!("{name} is {other} too"))
            .hint(format!("`shimmy rm {other} {name}` removes both")));
    }
    orphans.extend(&model.aliases);
    Ok((false, removal))
}
