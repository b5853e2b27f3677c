//! What is put together means what it says, whatever is in its pieces.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::constraint::tests::{accepts, compile};

fn only(expression: Expression) -> Constraint {
    Grammar::default().finish(expression)
}

#[test]
fn a_call_of_a_tool_after_thoughts() {
    let mut grammar = Grammar::default();
    let thoughts = grammar.text_until("</think>");
    let parameters = json!({
        "type": "object", "additionalProperties": false, "required": ["town"],
        "properties": { "town": { "type": "string" } },
    });
    let arguments = grammar.rule(Expression::schema(&parameters));
    let call = |name: &str, arguments: Expression| {
        Expression::sequence([
            Expression::literal(&format!("{{\"name\": \"{name}\", \"arguments\": ")),
            arguments,
            Expression::literal("}"),
        ])
    };
    let calls = [
        call("weather", arguments.clone()),
        call("time", arguments.clone()),
    ];
    let start = Expression::sequence([thoughts, Expression::one_of(calls)]);
    let constraint = grammar.finish(start);

    let call = "Rome?\nYes.</think>{\"name\": \"time\", \"arguments\": {\"town\": \"Rome\"}}";
    assert!(accepts(&constraint, call));
    assert!(accepts(&constraint, &call.replace("Rome?\nYes.", "")));
    assert!(!accepts(&constraint, "Rome?</think>"));
    assert!(!accepts(&constraint, &call.replace("time", "date")));
    assert!(!accepts(&constraint, &call.replace("town", "city")));
}

#[test]
fn text_without_a_marker_ends_where_the_marker_would() {
    let mut grammar = Grammar::default();
    let text = grammar.text_without(["<call>", "/*"]);
    let plain = grammar.finish(text);
    assert!(accepts(&plain, "a < b, <cal\n* /"));
    assert!(accepts(&plain, ""));
    assert!(!accepts(&plain, "so: <call>"));
    assert!(!accepts(&plain, "so: /* no */"));
    let mut grammar = Grammar::default();
    let begun = grammar.text_until("<call>");
    let call = Expression::sequence([begun, Expression::literal("{}</call>")]);
    let rest = grammar.text_without(["<call>"]);
    let mixed = grammar.finish(Expression::sequence([call.repeated(0, None), rest]));
    assert!(accepts(
        &mixed,
        "Let me see. <call>{}</call> And <call>{}</call> So."
    ));
    assert!(accepts(&mixed, "<call>{}</call>") && accepts(&mixed, "Nothing to call <."));
    assert!(!accepts(&mixed, "so: <call>"));
}

#[test]
fn repetitions_hold_what_they_repeat_together() {
    let pair = Expression::sequence([Expression::literal("a"), Expression::literal("b")]);
    let some = only(pair.clone().repeated(1, Some(2)));
    assert!(accepts(&some, "ab") && accepts(&some, "abab"));
    assert!(!accepts(&some, "") && !accepts(&some, "abb") && !accepts(&some, "ababab"));
    let either = Expression::one_of([pair, Expression::literal("c")]);
    let then = only(Expression::sequence([either, Expression::literal("!")]));
    assert!(accepts(&then, "ab!") && accepts(&then, "c!") && !accepts(&then, "ab"));
    let none = only(Expression::sequence([
        Expression::one_of([]),
        Expression::literal("x").repeated(0, Some(0)),
        Expression::literal("y"),
    ]));
    assert!(accepts(&none, "y") && !accepts(&none, "xy"));
}

#[test]
fn a_token_can_be_one_without_text() {
    let marker = only(Expression::sequence([
        Expression::token(257),
        Expression::literal("user"),
    ]));
    let mut follower = compile(&marker).expect("good");
    let mut logits = vec![0.0; 259];
    follower.mask(&mut logits).expect("a mask");
    let allowed = (0..259).filter(|&token| logits[token] == 0.0);
    assert_eq!(allowed.collect::<Vec<_>>(), [257]);
}

#[test]
fn a_regex_may_hold_slashes_and_ends_at_its_end() {
    let path = only(Expression::regex(r"(/[a-z]+)+\.(txt|\/)"));
    assert!(accepts(&path, "/etc/motd.txt") && accepts(&path, "/a./"));
    assert!(!accepts(&path, "/etc/motd.txts"));
    assert!(accepts(&only(Expression::regex("")), ""));
}

proptest! {
    #[test]
    fn a_literal_is_itself_whatever_is_in_it(text in any::<String>(), other in "[a-z]{1,3}") {
        let constraint = only(Expression::literal(&text));
        prop_assert!(accepts(&constraint, &text));
        prop_assert!(!accepts(&constraint, &(text.clone() + &other)));
    }
}
