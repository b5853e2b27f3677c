//! Searching folders: what is listed once, what is a problem, what is passed over.

use std::fs;
use std::path::Path;

use shimmy_models::{Discovery, Problem, ProblemReason, Roots, Source, discover};
use shimmy_testkit::tiny;

use crate::support::{folder, names, write_model};

fn search(folders: &[&Path]) -> Discovery {
    let mut roots = Roots::new();
    for folder in folders {
        roots.add(*folder, Source::ModelDirs);
    }
    discover(&roots)
}

#[test]
fn models_adapters_and_problems_are_kept_apart() {
    let (_dir, root) = folder();
    write_model(&root.join("b/Model_B.gguf"));
    write_model(&root.join("a.gguf"));
    tiny::Adapter::new()
        .write(&root.join("pirate.gguf"))
        .unwrap();
    fs::write(root.join("broken.gguf"), b"PK\x03\x04").unwrap();
    fs::write(root.join("readme.txt"), b"not a model").unwrap();
    fs::create_dir(root.join(".cache")).unwrap();
    write_model(&root.join(".cache/hidden.gguf"));

    let found = search(&[&root]);
    assert_eq!(names(&found), ["a", "model-b"]);
    assert_eq!(found.adapters.len(), 1);
    assert_eq!(found.adapters[0].name, "pirate");
    assert_eq!(found.problems.len(), 1);
    let text = found.problems[0].to_string();
    assert!(
        text.contains("broken.gguf: not a GGUF file: it starts with"),
        "{text}"
    );
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["models"][0]["name"], "a");
    assert!(json["problems"][0]["reason"].is_string());
}

#[test]
fn a_root_that_is_not_there_is_a_problem_if_somebody_named_it() {
    let (_dir, root) = folder();
    let absent = root.join("does-not-exist");
    for (source, problems) in [
        (Source::ModelDirs, 1),
        (Source::ModelPaths, 1),
        (Source::Home, 0),
        (Source::Ollama, 0),
    ] {
        let found = discover(Roots::new().add(&absent, source));
        assert_eq!(found.problems.len(), problems, "{source:?}");
        let is_told = |problem: &Problem| matches!(problem.reason, ProblemReason::Absent);
        assert!(found.problems.iter().all(is_told), "{source:?}");
    }
}

#[test]
fn a_root_that_is_a_file_is_a_problem() {
    let (_dir, root) = folder();
    let file = root.join("a.gguf");
    write_model(&file);
    let found = search(&[&file]);
    assert!(found.models.is_empty());
    assert_eq!(found.problems[0].path, file);
}

#[test]
fn a_split_model_is_one_complete_or_not() {
    let (_dir, root) = folder();
    let parts = tiny::Model::new().write_shards(&root, "Big", 3).unwrap();
    let found = search(&[&root]);
    assert_eq!(names(&found), ["big"]);
    assert_eq!(found.models[0].shards, parts);
    assert!(found.models[0].missing.is_empty());

    fs::remove_file(&parts[1]).unwrap();
    let found = search(&[&root]);
    assert_eq!(names(&found), ["big"]);
    assert_eq!(found.models[0].missing, parts[1..2]);
    assert_eq!(found.models[0].summary.parameter_count, None);

    fs::remove_file(&parts[0]).unwrap();
    let found = search(&[&root]);
    assert_eq!(found.models[0].path, parts[0]);
    assert_eq!(found.models[0].missing, parts[..2]);
    assert_eq!(found.models[0].summary.architecture, None);
    assert!(found.problems.is_empty());
}

#[test]
fn a_file_in_two_roots_is_listed_once_under_the_first() {
    let (_dir, root) = folder();
    write_model(&root.join("inner/a.gguf"));
    let mut roots = Roots::new();
    roots.add(root.join("inner"), Source::ModelPaths);
    roots.add(&root, Source::Home);
    let found = discover(&roots);
    assert_eq!(names(&found), ["a"]);
    assert_eq!(found.models[0].source, Source::ModelPaths);
}

#[test]
fn equal_names_get_their_folders() {
    let (_dir, root) = folder();
    write_model(&root.join("one/model.gguf"));
    write_model(&root.join("two/model.gguf"));
    assert_eq!(names(&search(&[&root])), ["one-model", "two-model"]);
}

#[test]
fn the_base_models_folder_is_not_searched_deeper() {
    let (_dir, root) = folder();
    write_model(&root.join("base.gguf"));
    write_model(&root.join("downloads/other.gguf"));
    let mut roots = Roots::new();
    roots.add(&root, Source::BaseFolder);
    assert_eq!(names(&discover(&roots)), ["base"]);
}

#[test]
fn folders_too_deep_are_named_and_hide_nothing() {
    let (_dir, root) = folder();
    let deep = |levels: usize| (0..levels).fold(root.clone(), |path, _| path.join("d"));
    write_model(&deep(8).join("reached.gguf"));
    write_model(&deep(9).join("too-deep.gguf"));
    let found = search(&[&root]);
    assert_eq!(names(&found), ["reached"]);
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].path, deep(9));
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::{folder, fs, names, search, tiny, write_model};

    #[test]
    fn links_out_of_the_folder_are_warned_of_and_not_followed() {
        let (_dir, base) = folder();
        let root = base.join("models");
        write_model(&base.join("outside/secret.gguf"));
        write_model(&root.join("a.gguf"));
        symlink(base.join("outside/secret.gguf"), root.join("file.gguf")).unwrap();
        symlink(base.join("outside"), root.join("folder")).unwrap();
        symlink("nowhere.gguf", root.join("dangling.gguf")).unwrap();
        symlink("/etc/hostname", root.join("note.txt")).unwrap();

        let found = search(&[&root]);
        assert_eq!(names(&found), ["a"]);
        let paths: Vec<_> = found.problems.iter().map(|problem| &problem.path).collect();
        let expected = ["dangling.gguf", "file.gguf", "folder"].map(|name| root.join(name));
        assert_eq!(paths, expected.iter().collect::<Vec<_>>());
        let text = found.problems[1].to_string();
        assert!(text.contains("leads out of the model folders"), "{text}");
    }

    #[test]
    fn a_part_behind_a_link_out_of_the_folder_keeps_its_model_out() {
        let (_dir, base) = folder();
        let root = base.join("models");
        fs::create_dir(&root).unwrap();
        let parts = tiny::Model::new().write_shards(&root, "big", 2).unwrap();
        fs::rename(&parts[1], base.join("moved.gguf")).unwrap();
        symlink(base.join("moved.gguf"), &parts[1]).unwrap();
        let found = search(&[&root]);
        assert!(found.models.is_empty());
        assert_eq!(found.problems.len(), 1);
    }

    #[test]
    fn links_within_the_folder_list_a_file_once_and_loops_end() {
        let (_dir, root) = folder();
        write_model(&root.join("z/real.gguf"));
        symlink(root.join("z/real.gguf"), root.join("alias.gguf")).unwrap();
        symlink(&root, root.join("z/loop")).unwrap();
        let found = search(&[&root]);
        assert_eq!(names(&found), ["real"]);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
    }

    #[test]
    fn a_blob_without_an_ending_is_listed_under_its_links_name() {
        let (_dir, root) = folder();
        write_model(&root.join("blobs/0123abcd"));
        fs::create_dir_all(root.join("snapshots/main")).unwrap();
        let link = root.join("snapshots/main/hub.gguf");
        symlink("../../blobs/0123abcd", &link).unwrap();
        let found = search(&[&root]);
        assert_eq!(names(&found), ["hub"]);
        assert_eq!(found.models[0].path, link);
    }

    #[test]
    fn a_pipe_named_like_a_model_does_not_block() {
        let (_dir, root) = folder();
        let pipe = root.join("pipe.gguf");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        symlink(&pipe, root.join("link.gguf")).unwrap();
        let found = search(&[&root]);
        assert!(found.models.is_empty());
    }
}
