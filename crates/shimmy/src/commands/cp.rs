//! `shimmy cp`: one more name for a model.

use shimmy_models::AliasError;

use super::library::Library;
use super::print;
use crate::cli::CpArgs;
use crate::failure::Failure;

pub(super) fn run(args: CpArgs) -> Result<(), Failure> {
    let library = Library::open(args.models)?;
    let model = library.find(&args.name)?;
    let is_taken = |name: &String| name.eq_ignore_ascii_case(&args.alias);
    if library
        .found
        .models
        .iter()
        .any(|model| is_taken(&model.name))
    {
        return Err(Failure::usage(format!("{} is a model already", args.alias))
            .hint("choose a name that no file has"));
    }
    let mut aliases = library.aliases()?;
    aliases
        .insert(&args.alias, model)
        .map_err(|error| match error {
            AliasError::NotAName(_) => Failure::usage(error),
            other => other.into(),
        })?;
    aliases.save()?;
    print(&format!("{} is {} too\n", model.name, args.alias))
}
