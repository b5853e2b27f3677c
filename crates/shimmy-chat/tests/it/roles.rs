//! Roles as they come: a conversation that a template refuses is folded, and nothing is lost.

use shimmy_chat::{Message, TemplateError};

use super::{chat, render, template, text};

/// Refuses systems and anything but user, assistant, user, ….
const ALTERNATING: &str = include_str!("reference/alternating.jinja");

/// Takes a system message in front, alternating or not, and ignores it elsewhere.
const SYSTEM_FIRST: &str = "\
{% for m in messages %}{% if m.role == 'system' %}{% if not loop.first %}\
{{ raise_exception('System message must be at the beginning.') }}{% endif %}{% endif %}\
[{{ m.role }}]{{ m.content }}{% endfor %}";

const SILENT: &str = "\
{% for m in messages %}{% if loop.first or m.role != 'system' %}[{{ m.role }}]{{ m.content }}\
{% endif %}{% endfor %}";

#[test]
fn messages_that_fit_are_left_alone() {
    let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    let template = template(source, &[]);
    assert_eq!(
        text(
            &template,
            &[("user", "a"), ("user", "b"), ("system", "c"), ("odd", "d")]
        ),
        "[user]a[user]b[system]c[odd]d"
    );
}

#[test]
fn developer_is_system() {
    let template = template(
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}",
        &[],
    );
    assert_eq!(
        text(&template, &[("developer", "a"), ("user", "b")]),
        "[system]a[user]b"
    );
}

#[test]
fn systems_move_to_the_front_where_they_must_be() {
    let messages = [
        ("system", "s1"),
        ("user", "a"),
        ("user", "b"),
        ("developer", "s2"),
    ];
    assert_eq!(
        text(&template(SYSTEM_FIRST, &[]), &messages),
        "[system]s1\n\ns2[user]a[user]b"
    );
}

#[test]
fn systems_that_would_be_left_out_in_silence_move_too() {
    let messages = [("user", "a"), ("system", "s"), ("user", "b")];
    assert_eq!(
        text(&template(SILENT, &[]), &messages),
        "[system]s[user]a[user]b"
    );
}

#[test]
fn neighbours_of_one_role_are_merged() {
    let template = template(ALTERNATING, &[]);
    assert_eq!(
        text(
            &template,
            &[
                ("user", "a"),
                ("user", "b"),
                ("assistant", "c"),
                ("assistant", "d"),
                ("user", "e")
            ]
        ),
        "<s><start_of_turn>user\na\n\nb<end_of_turn>\n<start_of_turn>model\nc\n\nd<end_of_turn>\n\
         <start_of_turn>user\ne<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn a_refused_system_joins_the_first_user() {
    let template = template(ALTERNATING, &[]);
    assert_eq!(
        text(&template, &[("system", "s"), ("user", "a")]),
        "<s><start_of_turn>user\ns\n\na<end_of_turn>\n<start_of_turn>model\n"
    );
    assert_eq!(
        text(&template, &[("developer", "s")]),
        "<s><start_of_turn>user\ns<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn no_order_of_roles_is_refused_and_no_text_is_lost() {
    const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];
    let templates = [
        template(ALTERNATING, &[]),
        template(SYSTEM_FIRST, &[]),
        template(SILENT, &[]),
    ];
    for code in 0..ROLES.len().pow(4) {
        let messages: Vec<Message> = (0..4)
            .map(|at| {
                Message::new(
                    ROLES[code / ROLES.len().pow(at) % ROLES.len()],
                    format!("text{at}"),
                )
            })
            .collect();
        for template in &templates {
            let prompt = render(template, &messages).unwrap().text();
            for message in &messages {
                assert_eq!(
                    prompt.matches(&message.content).count(),
                    1,
                    "{messages:?}\n{prompt}"
                );
            }
        }
    }
}

#[test]
fn results_of_two_calls_stay_apart() {
    let source = "{% for m in messages %}{% if m.role == 'system' and not loop.first %}\
                  {{ raise_exception('no') }}{% endif %}\
                  [{{ m.role }}]{{ m.content }}{{ m.tool_call_id }}{% endfor %}";
    let result = |id: &str| Message {
        tool_call_id: Some(id.into()),
        ..Message::new("tool", "r")
    };
    let messages = [
        Message::new("user", "a"),
        result("1"),
        result("2"),
        Message::new("system", "s"),
    ];
    assert_eq!(
        render(&template(source, &[]), &messages).unwrap().text(),
        "[system]s[user]a[tool]r1[tool]r2"
    );
}

#[test]
fn a_template_that_refuses_everything_says_why_in_its_own_words() {
    let source = "{{ raise_exception('I only speak ' ~ messages | length) }}";
    let error = render(
        &template(source, &[]),
        &chat(&[("user", "a"), ("user", "b")]),
    )
    .unwrap_err();
    // The words are about the two messages that came, not about the folded one.
    assert_eq!(
        error,
        TemplateError::Render {
            reason: "I only speak 2".to_owned()
        }
    );
    assert_eq!(
        error.to_string(),
        "the chat template refused the conversation: I only speak 2"
    );
}
