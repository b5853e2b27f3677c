//! Every template, read by a parser of its language.

use clap::ValueEnum;
use yaml_rust2::{Yaml, YamlLoader};

use super::*;

fn args(template: Template) -> InitArgs {
    InitArgs {
        template,
        output: None,
        port: 8123,
        model: "owner/model:Q4_K_M".to_owned(),
        image: "registry/shimmy:1".to_owned(),
    }
}

fn text(template: Template) -> String {
    let places = Places {
        program: "/opt/a & b/shimmy".to_owned(),
        home: "/Users/me".to_owned(),
    };
    filled(&args(template), &places).unwrap()
}

fn yaml(template: Template) -> Vec<Yaml> {
    YamlLoader::load_from_str(&text(template)).unwrap()
}

#[test]
fn all_are_filled_in_and_none_is_open_without_a_token() {
    for &template in Template::value_variants() {
        let text = text(template);
        assert!(!text.contains("{{"), "{template:?}: {text}");
        let is_open = text.contains("0.0.0.0") || text.contains("[::]");
        assert!(!is_open || text.contains("SHIMMY_API_KEY"), "{template:?}");
        if template != Template::Railway {
            assert!(text.contains("8123"), "{template:?}");
        }
    }
}

#[test]
fn the_compose_file_asks_for_a_token_and_publishes_on_loopback() {
    let file = &yaml(Template::Compose)[0];
    let service = &file["services"]["shimmy"];
    assert_eq!(service["image"].as_str(), Some("registry/shimmy:1"));
    assert_eq!(service["ports"][0].as_str(), Some("127.0.0.1:8123:8123"));
    let key = service["environment"]["SHIMMY_API_KEY"].as_str().unwrap();
    assert!(key.starts_with("${SHIMMY_API_KEY:?"), "{key}");
    assert_eq!(
        service["healthcheck"]["test"][1].as_str(),
        Some("/usr/local/bin/shimmy")
    );
}

#[test]
fn the_manifests_belong_together() {
    let documents = yaml(Template::Kubernetes);
    let kinds: Vec<_> = documents
        .iter()
        .filter_map(|part| part["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["PersistentVolumeClaim", "Deployment", "Service"]);
    let pod = &documents[1]["spec"]["template"];
    let label = "app.kubernetes.io/name";
    assert_eq!(
        pod["metadata"]["labels"][label],
        documents[2]["spec"]["selector"][label]
    );
    let spec = &pod["spec"];
    let (pull, serve) = (&spec["initContainers"][0], &spec["containers"][0]);
    assert_eq!(pull["args"][1].as_str(), Some("owner/model:Q4_K_M"));
    assert_eq!(serve["ports"][0]["containerPort"].as_i64(), Some(8123));
    assert_eq!(serve["securityContext"], pull["securityContext"]);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(
            serve[probe]["httpGet"]["path"]
                .as_str()
                .unwrap()
                .starts_with("/health/")
        );
    }
    assert_eq!(
        serve["env"][1]["name"].as_str(),
        Some("SHIMMY_API_KEY_FILE")
    );
    let volumes = spec["volumes"].as_vec().unwrap().iter();
    let volumes: Vec<_> = volumes.map(|volume| &volume["name"]).collect();
    for mount in serve["volumeMounts"].as_vec().unwrap() {
        assert!(volumes.contains(&&mount["name"]), "{mount:?}");
    }
}

#[test]
fn the_unit_has_its_sections_and_a_quoted_program() {
    let text = text(Template::Systemd);
    let mut sections = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            Some(section) => sections.push(section),
            None => assert!(line.split_once('=').is_some(), "{line}"),
        }
    }
    assert_eq!(sections, ["Unit", "Service", "Install"]);
    assert!(text.contains("ExecStart=\"/opt/a & b/shimmy\" serve\n"));
    assert!(text.contains("=127.0.0.1:8123\n"));
    assert_eq!(in_unit("a%b\"c\\d").unwrap(), "a%%b\\\"c\\\\d");
}

#[test]
fn the_property_list_is_xml() {
    let text = text(Template::Launchd);
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let strings = document
        .descendants()
        .filter(|node| node.has_tag_name("string"));
    let strings: Vec<_> = strings.filter_map(|node| node.text()).collect();
    assert!(strings.contains(&"/opt/a & b/shimmy"), "{strings:?}");
    assert!(strings.contains(&"/Users/me/Library/Logs/shimmy.log"));
}

#[test]
fn the_settings_of_the_hosts_are_toml_and_json() {
    let fly: toml::Table = text(Template::Fly).parse().unwrap();
    assert_eq!(
        fly["http_service"]["internal_port"].as_integer(),
        Some(8123)
    );
    assert_eq!(fly["env"]["PORT"].as_str(), Some("8123"));
    let railway: serde_json::Value = serde_json::from_str(&text(Template::Railway)).unwrap();
    assert_eq!(railway["build"]["builder"], "DOCKERFILE");
}

#[test]
fn the_dockerfile_has_instructions_only() {
    let text = text(Template::Docker).replace("\\\n", " ");
    let known = [
        "FROM",
        "COPY",
        "RUN",
        "USER",
        "WORKDIR",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "CMD",
    ];
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (word, rest) = line.split_once(' ').unwrap();
        assert!(known.contains(&word), "{line}");
        // A list in brackets is JSON, or Docker takes it for a shell's command.
        if let (Some(at), true) = (rest.find('['), word == "RUN" || word == "CMD") {
            serde_json::from_str::<Vec<String>>(&rest[at..]).unwrap();
        }
    }
    assert!(text.contains("USER shimmy"));
}

#[test]
fn what_could_mean_something_else_is_refused() {
    for model in ["", "a b", "a\"b", "a\nb", "$(reboot)", "-x", "{{port}}"] {
        let args = InitArgs {
            model: model.to_owned(),
            ..args(Template::Compose)
        };
        let places = Places {
            program: String::new(),
            home: String::new(),
        };
        assert!(filled(&args, &places).is_err(), "{model:?}");
    }
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fly.toml");
    let args = InitArgs {
        output: Some(path.clone()),
        ..args(Template::Fly)
    };
    run(&args).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert!(run(&args).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}
