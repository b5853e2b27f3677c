//! A hostile template or argument ends as an error, soon and in bounded memory.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use shimmy_chat::{ChatTemplate, TemplateError};

use super::{chat, render, render_with, template, vocabulary};

/// Alone on a machine, every case here takes under a second; the tests share one with others, and
/// without the limits the cases would take hours.
const PATIENCE: Duration = Duration::from_secs(10);

/// The error, which must not take long.
fn error_of(source: &str) -> TemplateError {
    let template = template(source, &[]);
    let start = Instant::now();
    let result = render(&template, &chat(&[("user", "u")]));
    let took = start.elapsed();
    assert!(took < PATIENCE, "{source} took {took:?}");
    result.expect_err(source)
}

fn assert_limited(source: &str) {
    let error = error_of(source);
    assert!(
        matches!(
            error,
            TemplateError::OutOfFuel | TemplateError::TooLong { .. }
        ),
        "{source}: {error}"
    );
}

#[test]
fn endless_work_runs_out_of_fuel() {
    assert_limited(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    );
    assert_limited(
        "{% set ns = namespace(n=0) %}{% for a in range(99999) %}{% for b in range(99999) %}{% set ns.n = ns.n + 1 %}{% endfor %}{% endfor %}",
    );
    assert_limited(
        "{% set x = range(90000) | list %}{% for a in x %}{% if x | sort | first == 1 %}{% endif %}{% endfor %}",
    );
}

#[test]
fn growing_text_is_stopped() {
    assert_limited(
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    );
    assert_limited(
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    );
    assert_limited(
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
    );
    assert_limited(
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x.replace('', ns.x) %}{% endfor %}",
    );
    assert_limited(
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x.join([ns.x, ns.x, ns.x]) %}{% endfor %}",
    );
    assert_limited(
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    );
    assert_limited(
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    );
    assert_limited("{{ 'a' * 999999999 }}");
    assert_limited("{% for a in range(99999) %}{{ 'a' * 9999 }}{% endfor %}");
}

#[test]
fn deep_and_wide_values_are_refused() {
    for source in [
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{{ range(999999999) | list }}",
        "{{ '{:>999999999}'.format('x') }}",
        "{{ '{:>{}}'.format('x', 999999999) }}",
        "{{ [1] | tojson(indent=999999999) }}",
    ] {
        let error = error_of(source);
        assert!(
            matches!(error, TemplateError::Render { .. }),
            "{source}: {error}"
        );
    }
}

#[test]
fn no_file_and_no_inside_is_reached() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% include 'chat' %}",
        "{% import '/etc/passwd' as x %}",
        "{% extends '/etc/passwd' %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ debug() }}",
    ] {
        let error = error_of(source);
        assert!(
            matches!(error, TemplateError::Render { .. }),
            "{source}: {error}"
        );
        assert!(!error.to_string().contains("root:"), "{error}");
    }
}

#[test]
fn names_that_the_template_gets_from_us_are_refused() {
    let template = template("{{ messages[0].content }}", &[]);
    for name in [
        "messages",
        "tools",
        "bos_token",
        "eos_token",
        "add_generation_prompt",
        "raise_exception",
        "strftime_now",
        "namespace",
    ] {
        let mut kwargs = Map::new();
        kwargs.insert(name.to_owned(), Value::Null);
        let error = render_with(&template, &chat(&[("user", "u")]), &kwargs).unwrap_err();
        assert_eq!(error, TemplateError::ReservedKwarg(name.to_owned()));
    }
}

#[test]
fn bad_syntax_is_told_with_its_line() {
    let error = ChatTemplate::new(Some("a\nb {% for %}\n"), vocabulary(&[])).unwrap_err();
    assert!(
        matches!(error, TemplateError::Syntax { line: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn a_long_conversation_is_within_the_limits() {
    let template = template(
        include_str!("reference/smollm2.jinja"),
        &["<|im_start|>", "<|im_end|>"],
    );
    let long = "x".repeat(1 << 20);
    let prompt = render(&template, &chat(&[("user", &long)])).unwrap();
    assert!(prompt.text().contains(&long));
    let many = vec![shimmy_chat::Message::new("user", "x"); 4_000];
    assert_eq!(
        render(&template, &many)
            .unwrap()
            .text()
            .matches("user\nx<")
            .count(),
        4_000
    );
}

#[test]
fn a_value_nested_beyond_the_stack_is_no_crash() {
    // Nesting costs the least fuel in a loop that does nothing else; then the value is used.
    let loops = "{% for a in range(99999) %}{% for b in range(99999) %}";
    let ends = "{% endfor %}{% endfor %}";
    for (start, step) in [
        ("[1]", "[ns.x]"),
        ("{}", "{1: ns.x}"),
        ("[1]", "ns.x | reverse"),
    ] {
        let head = format!("{{% set ns = namespace(x={start}) %}}");
        let grow = format!("{{% set ns.x = {step} %}}");
        assert_limited(&format!("{head}{loops}{grow}{ends}"));
        for usage in [
            "ns.x == ns.x",
            "ns.x",
            "ns.x | tojson",
            "ns.x | list",
            "ns.x | length",
            "ns.x | sort",
            "{ns.x: 1}",
            "1 in ns.x",
            "ns.x | first",
        ] {
            let source =
                format!("{head}{{% for a in range(40000) %}}{grow}{{% endfor %}}{{{{ {usage} }}}}");
            // Some are an error and some are not; what counts is that there is an answer.
            let start = Instant::now();
            let _ = render(&template(&source, &[]), &chat(&[("user", "u")]));
            assert!(
                start.elapsed() < PATIENCE,
                "{source} took {:?}",
                start.elapsed()
            );
        }
    }
}
