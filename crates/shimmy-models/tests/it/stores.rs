//! The stores of other programs: what is found in them, under which names, and what is refused.

use std::fs;
use std::path::Path;

use shimmy_models::{Capability, Discovery, Roots, Source, discover};
use shimmy_testkit::gguf::{Value, Writer};
use shimmy_testkit::tiny;

use crate::support::{OllamaStore, folder, names, problems, write, write_model};

fn search(folder: &Path, source: Source) -> Discovery {
    discover(Roots::new().add(folder, source))
}

/// A model whose embeddings are 64 wide, and what makes such of pictures.
fn projector(width: u32) -> Vec<u8> {
    Writer::new()
        .metadata("general.architecture", "clip")
        .metadata("general.type", "mmproj")
        .metadata("clip.has_vision_encoder", Value::Bool(true))
        .metadata("clip.vision.projection_dim", width)
        .to_bytes()
}

mod ollama {
    use super::*;

    #[test]
    fn models_have_the_names_that_ollamas_users_type() {
        let (_dir, root) = folder();
        let store = OllamaStore::new(&root);
        for number in 1..5 {
            let model = tiny::Model::new().seed(number.into());
            store.write_blob(number, model.to_bytes());
        }
        store
            .write_manifest("registry.ollama.ai/library/llama3.2/1b", &[("model", 1)])
            .write_manifest(
                "registry.ollama.ai/library/llama3.2/latest",
                &[("model", 2)],
            )
            .write_manifest("registry.ollama.ai/someone/theirs/7b", &[("model", 3)])
            .write_manifest("hf.co/Owner/Model-GGUF/Q4_K_M", &[("model", 4)]);
        write(
            &root.join("manifests/registry.ollama.ai/library/x/.DS_Store"),
            "",
        );
        let found = search(&root, Source::Ollama);
        let expected = [
            "hf.co/Owner/Model-GGUF:Q4_K_M",
            "llama3.2",
            "llama3.2:1b",
            "someone/theirs:7b",
        ];
        assert_eq!(names(&found), expected);
        assert_eq!(problems(&found), [""; 0]);
        let model = &found.models[2];
        assert_eq!(model.source, Source::Ollama);
        assert_eq!(model.path, store.blob(1));
        assert_eq!(model.digest, Some(OllamaStore::digest(1)));
        assert_eq!(model.summary.quantization.as_deref(), Some("F32"));
        let resolve = |name| shimmy_models::resolve(name, &names(&found)).ok();
        assert_eq!(resolve("llama3.2:latest"), Some(1));
        assert_eq!(resolve("llama3.2:1b"), Some(2));
    }

    #[test]
    fn what_belongs_to_a_model_comes_with_it() {
        let (_dir, root) = folder();
        let store = OllamaStore::new(&root);
        store
            .write_blob(1, tiny::Model::new().to_bytes())
            .write_blob(2, tiny::Adapter::new().to_bytes())
            .write_blob(3, projector(64))
            .write_blob(4, "{{ .Tools }} {{ .Thinking }} {{ .Prompt }}")
            .write_blob(5, "Be brief.")
            .write_blob(6, r#"{"temperature": 0.5}"#);
        let layers = [
            ("model", 1),
            ("adapter", 2),
            ("projector", 3),
            ("template", 4),
            ("system", 5),
            ("params", 6),
            ("license", 7),
        ];
        store.write_manifest("registry.ollama.ai/library/all/latest", &layers);
        let found = search(&root, Source::Ollama);
        assert_eq!(problems(&found), [""; 0]);
        assert!(found.adapters.is_empty() && found.projectors.is_empty());
        let model = &found.models[0];
        assert_eq!(model.companions.adapters, [store.blob(2)]);
        assert_eq!(model.companions.projectors, [store.blob(3)]);
        assert_eq!(model.companions.template, Some(store.blob(4)));
        assert_eq!(model.companions.system, Some(store.blob(5)));
        assert_eq!(model.companions.params, Some(store.blob(6)));
        assert_eq!(model.families(), ["llama", "clip"]);
        use Capability::{Completion, Thinking, Tools, Vision};
        assert_eq!(
            model.summary.capabilities,
            [Completion, Tools, Vision, Thinking]
        );
    }

    #[test]
    fn two_tags_of_one_thing_are_one_model_and_two_things_in_one_file_are_two() {
        let (_dir, root) = folder();
        let store = OllamaStore::new(&root);
        store
            .write_blob(1, tiny::Model::new().to_bytes())
            .write_blob(2, "Be brief.")
            .write_manifest("registry.ollama.ai/library/m/1b", &[("model", 1)])
            .write_manifest("registry.ollama.ai/library/m/latest", &[("model", 1)])
            .write_manifest(
                "registry.ollama.ai/library/brief/latest",
                &[("model", 1), ("system", 2)],
            );
        let found = search(&root, Source::Ollama);
        assert_eq!(names(&found), ["brief", "m:1b"]);
        assert_eq!(found.models[1].aliases, ["m"]);
    }

    #[test]
    fn a_digest_that_is_none_never_becomes_a_path() {
        let (_dir, base) = folder();
        let root = base.join("store");
        let store = OllamaStore::new(&root);
        write_model(&base.join("outside.gguf"));
        let digits = "ab".repeat(32);
        let bad = [
            format!("sha256:{}", &digits[1..]),
            format!("sha256:{digits}0"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:../../outside.gguf{}", &digits[..44]),
            "sha256:../../outside.gguf".to_owned(),
            format!("sha256-{digits}"),
            digits.clone(),
        ];
        for (number, digest) in bad.iter().enumerate() {
            let name = format!("registry.ollama.ai/library/bad/{number}");
            store.write_manifest_of(&name, [("model", digest.clone())].into_iter());
        }
        let found = search(&root, Source::Ollama);
        assert!(found.models.is_empty());
        assert_eq!(found.problems.len(), bad.len());
        for problem in problems(&found) {
            assert!(problem.contains("is no SHA-256 digest"), "{problem}");
        }
    }

    #[test]
    fn manifests_that_make_no_sense_are_told_of_and_hide_nothing() {
        let (_dir, root) = folder();
        let store = OllamaStore::new(&root);
        let library = root.join("manifests/registry.ollama.ai/library");
        store
            .write_blob(1, tiny::Model::new().to_bytes())
            .write_manifest("registry.ollama.ai/library/good/latest", &[("model", 1)])
            .write_manifest("registry.ollama.ai/library/lost/latest", &[("model", 9)])
            .write_manifest(
                "registry.ollama.ai/library/many/latest",
                &[("license", 1); 65],
            )
            .write_manifest("registry.ollama.ai/library/remote/cloud", &[]);
        write(&library.join("json/latest"), "{");
        write(&library.join("long/latest"), " ".repeat((1 << 20) + 1));
        let found = search(&root, Source::Ollama);
        assert_eq!(names(&found), ["good"]);
        let mut texts = problems(&found);
        texts.sort();
        assert_eq!(texts.len(), 4, "{texts:?}");
        for (text, part) in texts
            .iter()
            .zip(["EOF", "longer than", "is missing", "65 layers"])
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_folder_that_is_a_store_is_read_as_one_wherever_it_is() {
        let (_dir, root) = folder();
        let store = OllamaStore::new(&root);
        store
            .write_blob(1, tiny::Model::new().to_bytes())
            .write_manifest("registry.ollama.ai/library/m/1b", &[("model", 1)]);
        assert_eq!(names(&search(&root, Source::ModelDirs)), ["m:1b"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_blob_behind_a_link_out_of_the_store_is_not_listed() {
        let (_dir, base) = folder();
        let root = base.join("store");
        let store = OllamaStore::new(&root);
        write_model(&base.join("outside.gguf"));
        std::os::unix::fs::symlink(base.join("outside.gguf"), store.blob(1)).unwrap();
        store.write_manifest("registry.ollama.ai/library/m/1b", &[("model", 1)]);
        let found = search(&root, Source::Ollama);
        assert!(found.models.is_empty());
        assert!(problems(&found)[0].contains("leads out of the model folders"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_for_a_manifest_does_not_block() {
        let (_dir, root) = folder();
        OllamaStore::new(&root);
        let model = root.join("manifests/registry.ollama.ai/library/m");
        fs::create_dir_all(&model).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(model.join("latest"))
            .status();
        assert!(made.unwrap().success());
        assert!(search(&root, Source::Ollama).models.is_empty());
    }
}

#[cfg(unix)]
mod hugging_face {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";

    fn hash(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    /// Adds a file as Hugging Face's tools do: a blob, and a link to it in a snapshot.
    fn add(hub: &Path, repository: &str, revision: &str, file: &str, blob: &str) -> PathBuf {
        let folder = hub.join(repository);
        write_model(&folder.join("blobs").join(blob));
        let link = folder.join("snapshots").join(revision).join(file);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(file.matches('/').count() + 2);
        symlink(format!("{up}blobs/{blob}"), &link).unwrap();
        link
    }

    #[test]
    fn snapshots_are_listed_with_their_repository_and_digest() {
        let (_dir, hub) = folder();
        let link = add(
            &hub,
            "models--Owner--Tiny-GGUF",
            NEW,
            "Tiny.Q4_0.gguf",
            &hash('a'),
        );
        add(
            &hub,
            "models--Owner--Tiny-GGUF",
            NEW,
            "sub/Tiny.F16.gguf",
            &hash('b'),
        );
        add(&hub, "datasets--Owner--Data", NEW, "data.gguf", &hash('c'));
        let found = search(&hub, Source::HuggingFace);
        assert_eq!(names(&found), ["tiny.f16", "tiny.q4-0"]);
        assert_eq!(problems(&found), [""; 0]);
        let model = &found.models[1];
        assert_eq!(model.path, link);
        assert_eq!(model.repository.as_deref(), Some("Owner/Tiny-GGUF"));
        assert_eq!(model.digest, Some(format!("sha256:{}", hash('a'))));
    }

    #[test]
    fn of_two_revisions_the_older_one_says_which_it_is() {
        let (_dir, hub) = folder();
        let repository = "models--o--r";
        add(&hub, repository, OLD, "m.gguf", &hash('a'));
        add(&hub, repository, NEW, "m.gguf", &hash('b'));
        add(&hub, repository, OLD, "same.gguf", &hash('c'));
        let again = hub
            .join(repository)
            .join("snapshots")
            .join(NEW)
            .join("same.gguf");
        symlink(format!("../../blobs/{}", hash('c')), again).unwrap();
        write(&hub.join(repository).join("refs/main"), NEW);
        let found = search(&hub, Source::HuggingFace);
        assert_eq!(names(&found), ["m", "m@11111111", "same"]);
    }

    #[test]
    fn equal_names_get_their_repositories() {
        let (_dir, hub) = folder();
        add(&hub, "models--a--r", NEW, "m.gguf", &hash('a'));
        add(&hub, "models--b--r", NEW, "m.gguf", &hash('b'));
        let found = search(&hub, Source::HuggingFace);
        assert_eq!(names(&found), ["a-r-m", "b-r-m"]);
    }

    #[test]
    fn a_snapshot_that_links_out_of_the_cache_is_not_listed() {
        let (_dir, base) = folder();
        let hub = base.join("hub");
        write_model(&base.join("outside.gguf"));
        let snapshot = hub.join("models--o--r/snapshots").join(NEW);
        fs::create_dir_all(&snapshot).unwrap();
        symlink(base.join("outside.gguf"), snapshot.join("m.gguf")).unwrap();
        let found = search(&hub, Source::HuggingFace);
        assert!(found.models.is_empty());
        assert!(problems(&found)[0].contains("leads out of the model folders"));
    }

    #[test]
    fn a_cache_is_understood_in_any_folder() {
        let (_dir, root) = folder();
        add(&root, "models--o--r", NEW, "m.gguf", &hash('a'));
        write_model(&root.join("o_r_m-old-form.gguf"));
        let found = search(&root, Source::LlamaCpp);
        assert_eq!(names(&found), ["m", "o-r-m-old-form"]);
        assert_eq!(found.models[0].repository.as_deref(), Some("o/r"));
    }
}

#[test]
fn lm_studios_namesakes_get_their_folders() {
    let (_dir, root) = folder();
    write_model(&root.join("publisher/one/m.gguf"));
    write_model(&root.join("publisher/two/m.gguf"));
    let found = search(&root, Source::LmStudio);
    assert_eq!(names(&found), ["one-m", "two-m"]);
}

#[test]
fn packages_of_python_are_searched_near_their_surface() {
    let (_dir, packages) = folder();
    write_model(&packages.join("llm_tiny/Tiny.Q4.gguf"));
    write_model(&packages.join("other/weights/deep.gguf"));
    write_model(&packages.join("other/weights/far/too-deep.gguf"));
    write_model(&packages.join("other-1.0.dist-info/no.gguf"));
    let found = search(&packages, Source::PythonPackage);
    assert_eq!(names(&found), ["deep", "tiny.q4"]);
    assert_eq!(problems(&found), [""; 0]);
}

#[test]
fn a_projector_is_a_part_of_the_model_beside_it() {
    let (_dir, root) = folder();
    write_model(&root.join("a/sees.gguf"));
    write(&root.join("a/mmproj-sees.gguf"), projector(64));
    write_model(&root.join("b/blind.gguf"));
    write(&root.join("b/mmproj-other.gguf"), projector(4096));
    let found = search(&root, Source::ModelDirs);
    assert_eq!(names(&found), ["blind", "sees"]);
    assert_eq!(found.projectors.len(), 2);
    let sees = |at: usize| {
        let capabilities = &found.models[at].summary.capabilities;
        capabilities.contains(&Capability::Vision)
    };
    assert!(!sees(0) && sees(1));
    assert_eq!(
        found.models[1].companions.projectors,
        [root.join("a/mmproj-sees.gguf")]
    );
}

#[test]
fn an_adapter_is_listed_with_its_base_and_no_other() {
    let (_dir, root) = folder();
    let base = tiny::Model::new().name("tiny-LLAMA");
    write(&root.join("base.gguf"), base.to_bytes());
    write(
        &root.join("stranger.gguf"),
        tiny::Model::new().name("Another").to_bytes(),
    );
    write(
        &root.join("wider.gguf"),
        tiny::Model::other().name("Tiny Llama").to_bytes(),
    );
    write(&root.join("pirate.gguf"), tiny::Adapter::new().to_bytes());
    let found = search(&root, Source::ModelDirs);
    assert_eq!(found.adapters[0].bases, ["base"]);
}

#[cfg(unix)]
#[test]
fn a_hard_link_is_the_same_model() {
    let (_dir, root) = folder();
    write_model(&root.join("a.gguf"));
    fs::hard_link(root.join("a.gguf"), root.join("b.gguf")).unwrap();
    assert_eq!(names(&search(&root, Source::ModelDirs)), ["a"]);
}
