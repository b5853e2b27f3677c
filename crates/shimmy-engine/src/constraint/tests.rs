//! What a constraint allows, what is refused, and that neither takes long.

use super::*;
use crate::stub::StubTokenizer;

pub(crate) fn compile(constraint: &Constraint) -> Result<Follower, InvalidParameter> {
    Compiler::new(Arc::new(StubTokenizer::default())).compile(constraint)
}

/// The greedy answer of a model that always prefers the tokens of `wish`, in order.
fn forced(mut follower: Follower, wish: &str) -> String {
    let mut said = Vec::new();
    for byte in wish.bytes() {
        let mut logits = vec![0.0; 259];
        logits[byte as usize] = 1.0;
        follower.mask(&mut logits).expect("a mask");
        let best = logits
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .expect("one");
        let token = best.0 as Token;
        if token >= 256 {
            break;
        }
        said.push(token as u8);
        follower.accept(token).expect("an allowed token");
        if follower.is_complete() {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn what_fits_passes_and_what_does_not_is_forbidden() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "n": { "enum": ["a", "b"] } },
        "required": ["n"],
        "additionalProperties": false,
    });
    let follower = compile(&Constraint::JsonSchema(schema)).expect("a good schema");
    assert_eq!(forced(follower, r#"{"n":"b"}"#), r#"{"n":"b"}"#);
    let follower = compile(&Constraint::JsonObject).expect("any object");
    assert!(forced(follower, "plain text").starts_with('{'));
}

#[test]
fn a_schema_that_makes_no_sense_is_refused_by_name() {
    let error = compile(&Constraint::JsonSchema(serde_json::json!({ "type": 3 })));
    assert_eq!(error.err().expect("a refusal").field, "format");
    let error = compile(&Constraint::Grammar("start: (".to_owned()));
    assert_eq!(error.err().expect("a refusal").field, "grammar");
}

#[test]
fn a_format_that_nobody_can_check_is_a_note() {
    let schema = |format: &str, name: &str| {
        let text = serde_json::json!({ "type": "string", "format": format });
        Constraint::JsonSchema(serde_json::json!({ "properties": { name: text } }))
    };
    // A property may have the keyword's name.
    for name in ["key", "format"] {
        for format in ["password", "uri-reference", "path", "no-such-format"] {
            assert!(accepts(
                &schema(format, name),
                &format!("{{\"{name}\":\"x y\"}}")
            ));
        }
    }
    let text = serde_json::json!({ "type": "string", "format": "path" });
    let expression = crate::lark::Expression::schema(&text);
    assert!(accepts(
        &crate::lark::Grammar::default().finish(expression),
        "\"x\""
    ));
}

#[test]
fn each_format_that_can_be_checked_is_enforced() {
    for format in schema::FORMATS {
        let text = serde_json::json!({ "type": "string", "format": format });
        assert!(
            !accepts(&Constraint::JsonSchema(text), "\"x y\""),
            "{format}"
        );
    }
    let date = serde_json::json!({ "type": "string", "format": "date" });
    assert!(accepts(&Constraint::JsonSchema(date), "\"2024-01-31\""));
}

#[test]
fn a_schema_that_cannot_be_enforced_says_why_and_no_more() {
    let odd = serde_json::json!({ "properties": { "a": { "not": {} } } });
    let refusal = refusal(&Constraint::JsonSchema(odd));
    assert_eq!(
        refusal.reason,
        "cannot be used: Unimplemented keys: [\"not\"]"
    );
}

#[test]
fn whole_numbers_are_kept_to_the_last_digit() {
    let schema = |schema: serde_json::Value| Constraint::JsonSchema(schema);
    let whole = |keyword: &str, bound: serde_json::Value| {
        schema(serde_json::json!({ "type": "integer", keyword: bound }))
    };
    for large in [9_007_199_254_740_993_i64, 1_234_567_890_123_456_789] {
        let list = schema(serde_json::json!({ "properties": { "a": { "enum": [1, large] } } }));
        for (constraint, keyword) in [
            (schema(serde_json::json!({ "const": large })), "`const`"),
            (list, "`enum`"),
            (whole("minimum", large.into()), "`minimum`"),
            (whole("maximum", large.into()), "`maximum`"),
            (whole("multipleOf", large.into()), "`multipleOf`"),
        ] {
            let refusal = refusal(&constraint);
            assert!(refusal.reason.contains(keyword), "{refusal}");
        }
    }
    for exact in [1_u64 << 53, 1 << 60] {
        let constant = schema(serde_json::json!({ "const": exact }));
        assert!(accepts(&constant, &exact.to_string()), "{exact}");
        assert!(!accepts(&constant, &(exact + 1).to_string()));
    }
    // As generated schemas have them.
    for (keyword, end, past) in [
        ("maximum", "9223372036854775807", "9223372036854775808"),
        ("maximum", "18446744073709551615", "18446744073709551616"),
        (
            "exclusiveMaximum",
            "18446744073709551615",
            "18446744073709551615",
        ),
        ("minimum", "-9223372036854775808", "-9223372036854775809"),
    ] {
        let bound: serde_json::Value = serde_json::from_str(end).expect("a number");
        let ends = whole(keyword, bound);
        assert!(
            accepts(&ends, "7") && !accepts(&ends, past),
            "{keyword} {end}"
        );
    }
    let number = schema(serde_json::json!({ "type": "number", "maximum": i64::MAX }));
    assert!(accepts(&number, "7") && !accepts(&number, "9223372036854775808"));
}

/// Whether the answers of a constraint include this text.
pub(crate) fn accepts(constraint: &Constraint, text: &str) -> bool {
    let mut follower = compile(constraint).expect("a constraint that can be used");
    for byte in text.bytes() {
        let mut logits = vec![0.0; 259];
        if follower.is_complete() || follower.mask(&mut logits).is_err() {
            return false;
        }
        if logits[usize::from(byte)] != 0.0 {
            return false;
        }
        let token = Token::from(byte);
        follower.accept(token).expect("an allowed token");
    }
    let mut logits = vec![0.0; 259];
    // The stub's end token.
    follower.is_complete() || follower.mask(&mut logits).is_ok() && logits[258] == 0.0
}

fn refusal(constraint: &Constraint) -> InvalidParameter {
    let begun = std::time::Instant::now();
    let refusal = compile(constraint).err().expect("a refusal");
    // A second on a machine that does nothing else.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert!(refusal.reason.len() < 400, "{}", refusal.reason);
    refusal
}

#[test]
fn a_regex_holds_for_the_whole_answer() {
    let regex = |pattern: &str| Constraint::Regex(pattern.to_owned());
    let date = regex(r"^\d{4}-\d{2}/(a|b)?$");
    assert!(accepts(&date, "2024-02/") && accepts(&date, "2024-02/b"));
    assert!(!accepts(&date, "2024-2/") && !accepts(&date, "x2024-02/"));
    let harmless = regex("(a+)+$");
    assert!(accepts(&harmless, "aaaa") && !accepts(&harmless, "aaaab"));
    for (pattern, word) in [
        ("foo**", "repeats a repetition"),
        ("(?<=x)*", "look-behind"),
        ("a{1000000}", "at most 10000"),
        ("", "is empty"),
        ("(", "unclosed group"),
        (
            &format!("{}a{}", "(".repeat(60_000), ")".repeat(60_000)),
            "bytes",
        ),
        (
            &format!("{}a{}", "(".repeat(20_000), ")".repeat(20_000)),
            "nested",
        ),
        (r"[^\s\S]", "no answer"),
    ] {
        let refusal = refusal(&regex(pattern));
        assert_eq!(refusal.field, "regex");
        assert!(refusal.reason.contains(word), "{pattern:.20}: {refusal}");
    }
}

#[test]
fn schemas_that_would_hang_or_fetch_are_refused() {
    let mut deep = serde_json::Value::Bool(true);
    for _ in 0..1000 {
        // By hand: the macro would make a copy of every level at every level.
        let level = serde_json::Map::from_iter([("items".to_owned(), deep)]);
        deep = serde_json::Value::Object(level);
    }
    for (schema, word) in [
        (serde_json::json!({ "$ref": "#" }), "no answer"),
        (
            serde_json::json!({ "allOf": [{ "$ref": "#" }] }),
            "no answer",
        ),
        (
            serde_json::json!({ "$ref": "http://127.0.0.1:9/x" }),
            "fetched",
        ),
        (
            serde_json::json!({ "type": "array", "minItems": 1e9 }),
            "minItems",
        ),
        (
            serde_json::json!({ "type": "string", "pattern": "foo**" }),
            "repetition",
        ),
        (
            serde_json::json!({ "type": "string", "pattern": "(?<=x)*" }),
            "look-behind",
        ),
        (deep, "deep"),
    ] {
        let refusal = refusal(&Constraint::JsonSchema(schema));
        assert_eq!(refusal.field, "format");
        assert!(refusal.reason.contains(word), "{refusal}");
    }
    let harmless = serde_json::json!({ "type": "string", "pattern": "^(a+)+$" });
    assert!(accepts(&Constraint::JsonSchema(harmless), "\"aaa\""));
}

#[test]
fn a_schema_of_many_references_needs_no_deep_stack_of_its_caller() {
    let mut definitions = serde_json::Map::new();
    for n in 0..2000 {
        let next = serde_json::json!({ "$ref": format!("#/$defs/d{}", n + 1) });
        let link = serde_json::json!({ "type": "object", "properties": { "a": next } });
        definitions.insert(format!("d{n}"), link);
    }
    definitions.insert("d2000".to_owned(), serde_json::json!({ "type": "null" }));
    let schema = serde_json::json!({ "$ref": "#/$defs/d0", "$defs": definitions });
    assert!(accepts(
        &Constraint::JsonSchema(schema),
        r#"{"a":{"a":{}}}"#
    ));
}

#[test]
fn lark_grammars_that_would_overflow_a_stack_are_refused_or_work() {
    let grammar = |text: String| Constraint::Grammar(text);
    let brackets = format!("start: {}\"a\"{}", "(".repeat(60_000), ")".repeat(60_000));
    assert!(
        refusal(&grammar(brackets))
            .reason
            .contains("rules and groups")
    );
    let brackets = format!("start: {}\"a\"{}", "(".repeat(60), ")".repeat(60));
    assert!(refusal(&grammar(brackets)).reason.contains("nested"));
    let chain = |rules: usize, name: &str| {
        let mut text = format!("start: {name}0\n{name}{rules}: \"z\"\n");
        for n in 0..rules {
            text += &format!("{name}{n}: \"a\" {name}{} | \"b\"\n", n + 1);
        }
        grammar(text)
    };
    for name in ["r", "T"] {
        assert!(accepts(&chain(4000, name), "aab"), "{name}");
        assert!(
            refusal(&chain(6000, name))
                .reason
                .contains("rules and groups")
        );
    }
    let huge = format!("start: \"{}\"", "a".repeat(1 << 20));
    assert!(refusal(&grammar(huge)).reason.contains("bytes"));
    // Earley's parser takes left recursion as it comes.
    let left = grammar("start: start \"a\" | \"b\"".to_owned());
    assert!(accepts(&left, "baa"));
    let endless = grammar("start: start \"a\"".to_owned());
    assert!(refusal(&endless).reason.contains("no answer"));
}

#[test]
fn gbnf_comes_out_as_it_was_meant() {
    let gbnf = |text: &str| Constraint::Grammar(text.to_owned());
    let json = gbnf(
        r#"
        # as in llama.cpp's example, in short
        root   ::= object
        value  ::= object | array | string | number | ("true" | "false" | "null") ws

        object ::=
          "{" ws (
                    string ":" ws value
            ("," ws string ":" ws value)*
          )? "}" ws
        array  ::=
          "[" ws (
                    value
            ("," ws value)*
          )? "]" ws
        string ::=
          "\"" (
            [^"\\\x7F\x00-\x1F] |
            "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
          )* "\"" ws
        number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ws
        ws ::= | " " | "\n" [ \t]{0,20}
        "#
        .replace("\n        ", "\n")
        .as_str(),
    );
    for text in [
        "{}",
        "{ }",
        r#"{"a": [1, -2.5, true , null], "b": {"c": "d\n\u00e9 é" } }"#,
        "{\n  \"a\": [[], {}]}",
    ] {
        assert!(accepts(&json, text), "{text}");
    }
    for text in [
        "",
        "[]",
        "{\"a\"}",
        "{\"a\": 01}",
        "{\"a\": \"\\q\"}",
        "{\"a\": tru}",
    ] {
        assert!(!accepts(&json, text), "{text}");
    }

    let sum = gbnf("root ::= term ([-+*/] term)*\nterm ::= \"(\" root \")\" | [a-z]+ | [0-9]+");
    assert!(accepts(&sum, "(a+12)*((b))") && accepts(&sum, "ab"));
    assert!(!accepts(&sum, "(a+12") && !accepts(&sum, "a+"));

    // Nothing tells where the letters end but the whole.
    let clinging = gbnf("root ::= [a-z]* \"x\" | \"(\" root \")\"");
    assert!(accepts(&clinging, "x") && accepts(&clinging, "(abxx)"));
    assert!(!accepts(&clinging, "ab") && !accepts(&clinging, "(x"));

    let odd =
        gbnf("root ::= \"\\x41\\u00e9\\U0001F600\\t\\\\\\\"\" [^\\]a-c\\n-] .?\n | \"\" # or\n");
    assert!(accepts(&odd, "Aé😀\t\\\"d\n") && accepts(&odd, "") && accepts(&odd, "Aé😀\t\\\"ü"));
    assert!(!accepts(&odd, "Aé😀\t\\\"]") && !accepts(&odd, "Aé😀\t\\\"-"));
    let counted = gbnf("root ::= (\"ab\" | root2){2} \"c\"{0} \"d\"{1,}\nroot2 ::= \"e\"{2,3}");
    assert!(accepts(&counted, "abeed") && accepts(&counted, "eeeeeedd"));
    assert!(!accepts(&counted, "abd") && !accepts(&counted, "ababcd"));
}

#[test]
fn a_refused_grammar_says_which_field_it_was() {
    let refusal = refusal(&Constraint::Grammar("root ::= missing".to_owned()));
    assert_eq!(refusal.field, "grammar");
    assert!(refusal.reason.contains("`missing`"), "{refusal}");
}

#[test]
fn forced_tokens_are_those_that_the_masks_would_allow() {
    let grammar = "start: \"abc\" (\"-def\" | \"-dig\") \"ü!\"".to_owned();
    let constraint = Constraint::Grammar(grammar);
    let mut ahead = compile(&constraint).expect("good");
    let mut behind = ahead.clone();
    let mut said = Vec::new();
    // Where there is a choice, the second.
    while !ahead.is_complete() {
        let mut tokens = ahead.forced();
        if tokens.is_empty() {
            tokens.push(Token::from(b'i'));
        }
        for token in tokens {
            let mut logits = vec![0.0; 259];
            let only = behind.mask(&mut logits).expect("a mask");
            assert!(only == Some(token) || only.is_none() && token == Token::from(b'i'));
            ahead.accept(token).expect("allowed");
            behind.accept(token).expect("allowed");
            said.push(token as u8);
        }
    }
    assert_eq!(String::from_utf8_lossy(&said), "abc-digü!");
}
