//! Which engine runs a model. Owns the rule and what `--engine` may say in this build; must not know
//! how an engine is opened.

use shimmy_models::Metadata;

use super::OpenOptions;

/// What `--engine` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// Whichever is known to run a model well.
    #[default]
    Auto,
    /// The one in Rust.
    Native,
    /// llama.cpp.
    Llama,
}

/// An engine for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Native,
    Llama,
}

/// What the native engine has to say of a model.
#[allow(
    dead_code,
    reason = "each set of features leaves out what is said without or with the engine"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Native {
    /// It is not in this build.
    Absent,
    /// It cannot run it, for this reason.
    Unsupported(String),
    /// It could, but nobody has compared it with llama.cpp on such a model or such a processor.
    Unverified,
    /// It runs it, and as it should.
    Verified,
}

/// What the choice depends on.
#[derive(Debug, Clone)]
struct Facts {
    wanted: Engine,
    native: Native,
    has_llama: bool,
    /// Layers are to be on a GPU.
    on_gpu: bool,
}

impl Engine {
    /// Whether this build can do what the settings ask for; the reason is fit for users.
    pub(crate) fn check(self, gpu_layers: Option<u32>) -> Result<(), String> {
        match self {
            Self::Native if !cfg!(feature = "native") => Err(
                "this build of shimmy has no native engine: build it with `--features native`"
                    .to_owned(),
            ),
            Self::Llama if !cfg!(feature = "llama") => Err(
                "this build of shimmy has no llama.cpp: build it with `--features llama`"
                    .to_owned(),
            ),
            Self::Native if gpu_layers.is_some_and(|layers| layers > 0) => Err(
                "the native engine computes on the CPU: leave out --gpu-layers or --engine native"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// The engine for the model with this header; the reason of a failure is fit for users.
pub(super) fn choose(metadata: &Metadata, options: &OpenOptions) -> Result<Chosen, String> {
    decide(Facts {
        wanted: options.which,
        native: super::native_says(metadata),
        has_llama: cfg!(feature = "llama"),
        on_gpu: options.gpu_layers != Some(0) && super::gpu_bytes().is_some(),
    })
}

/// The rule. A model that nobody has compared goes to llama.cpp where there is one.
fn decide(facts: Facts) -> Result<Chosen, String> {
    let Facts {
        wanted,
        native,
        has_llama,
        on_gpu,
    } = facts;
    match (wanted, native) {
        (Engine::Llama, _) => Ok(Chosen::Llama),
        (Engine::Native, Native::Unsupported(reason)) if has_llama => {
            Err(format!("{reason}; --engine llama may run it"))
        }
        (Engine::Auto, Native::Verified) if !on_gpu => Ok(Chosen::Native),
        (Engine::Auto, _) if has_llama => Ok(Chosen::Llama),
        (_, Native::Verified | Native::Unverified) => Ok(Chosen::Native),
        (_, Native::Unsupported(reason)) => Err(format!(
            "{reason}, and this build of shimmy has no llama.cpp: build it with `--features llama`"
        )),
        (_, Native::Absent) => Err(
            "this build of shimmy has no engine for it: build it with `--features llama`"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: Engine, native: &Native, has_llama: bool, on_gpu: bool) -> Option<Chosen> {
        decide(Facts {
            wanted,
            native: native.clone(),
            has_llama,
            on_gpu,
        })
        .ok()
    }

    #[test]
    fn by_itself_only_what_is_verified_and_needs_no_gpu_leaves_llama() {
        let unsupported = Native::Unsupported("too new".to_owned());
        for native in [Native::Absent, unsupported, Native::Unverified] {
            assert_eq!(
                chosen(Engine::Auto, &native, true, false),
                Some(Chosen::Llama)
            );
        }
        let verified = Native::Verified;
        assert_eq!(
            chosen(Engine::Auto, &verified, true, true),
            Some(Chosen::Llama)
        );
        assert_eq!(
            chosen(Engine::Auto, &verified, true, false),
            Some(Chosen::Native)
        );
    }

    #[test]
    fn without_llama_all_that_can_be_run_is_run() {
        for native in [Native::Unverified, Native::Verified] {
            assert_eq!(
                chosen(Engine::Auto, &native, false, false),
                Some(Chosen::Native)
            );
        }
        assert_eq!(chosen(Engine::Auto, &Native::Absent, false, false), None);
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused_with_what_is_missing() {
        for native in [Native::Absent, Native::Unverified, Native::Verified] {
            assert_eq!(
                chosen(Engine::Llama, &native, true, false),
                Some(Chosen::Llama)
            );
        }
        assert_eq!(
            chosen(Engine::Native, &Native::Unverified, true, false),
            Some(Chosen::Native)
        );
        for has_llama in [true, false] {
            let facts = Facts {
                wanted: Engine::Native,
                native: Native::Unsupported("no architecture x".to_owned()),
                has_llama,
                on_gpu: false,
            };
            let reason = decide(facts).unwrap_err();
            assert!(reason.contains("no architecture x"), "{reason}");
            assert!(reason.contains("llama"), "{reason}");
        }
    }
}
