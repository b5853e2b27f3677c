//! Calls that an answer must have: when they are told of, and when they are over.

use super::*;
use crate::notation::Spelling;

/// Calls as the notation spells them where they are forced.
fn spelled(notation: &Notation, calls: &[(&str, &str)]) -> Option<String> {
    let spelling = notation.spelling;
    let calls = calls.iter().map(|(name, arguments)| {
        let call = spelling.call.replace(Spelling::NAME, name);
        call.replace(Spelling::ARGUMENTS, arguments)
    });
    let calls: Vec<String> = calls.collect();
    let calls = match (spelling.between, calls.as_slice()) {
        (Some(between), _) => calls.join(between),
        (None, [only]) => only.clone(),
        (None, _) => return None,
    };
    Some(format!("{}{calls}{}", spelling.open, spelling.close))
}

#[test]
fn a_forced_call_is_told_of_at_once() {
    let mut parser = formed("hermes", |parts| parts.is_forced = true).parser();
    let mut deltas = Vec::new();
    parser.push(
        "<tool_call>{\"name\": \"weather\", \"arguments\": {\"c",
        &mut deltas,
    );
    let call = Delta::ToolCall {
        index: 0,
        name: "weather".to_owned(),
    };
    let json = "{\"c".to_owned();
    assert_eq!(deltas, [call, Delta::ToolArguments { index: 0, json }]);
}

#[test]
fn a_required_call_that_is_cut_is_a_call_as_soon_as_its_name_is_there_and_never_text() {
    const ROME: (&str, &str) = ("weather", r#"{"city": "Rome"}"#);
    for notation in NOTATIONS {
        let format = formed(notation.name, |parts| {
            parts.is_forced = true;
            parts.must_call = true;
        });
        let two = spelled(notation, &[ROME, ("time", "{}")]);
        let text = two.or_else(|| spelled(notation, &[ROME])).expect("a call");
        let arguments = text.find("{\"city").expect("arguments") + 2;
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let cut = &text[..end];
            let read = read(&format, &[cut]);
            assert_eq!(read.content, "", "{}: {cut}", notation.name);
            if end >= arguments {
                let (name, json) = &read.calls[0];
                assert_eq!(name, ROME.0, "{}: {cut}", notation.name);
                assert!(ROME.1.starts_with(json), "{}: {cut}", notation.name);
            }
        }
        let all = 1 + usize::from(notation.spelling.between.is_some());
        assert_eq!(read(&format, &[&text]).calls.len(), all, "{text}");
    }
}

#[test]
fn a_required_call_that_is_repeated_ends_the_answer_and_is_not_told_of() {
    const ROME: (&str, &str) = ("weather", r#"{"city": "Rome"}"#);
    const RIGA: (&str, &str) = ("weather", r#"{"city": "Riga"}"#);
    const TIME: (&str, &str) = ("time", "{}");
    let mut tested = 0;
    for notation in NOTATIONS {
        let Some(text) = spelled(notation, &[ROME, RIGA, TIME, TIME, ROME]) else {
            continue;
        };
        let name = notation.name;
        let format = formed(name, |parts| {
            parts.is_forced = true;
            parts.must_call = true;
        });
        let mut parser = format.parser();
        let mut deltas = Vec::new();
        for c in text.chars() {
            parser.push(c.encode_utf8(&mut [0; 4]), &mut deltas);
        }
        assert!(parser.is_over(), "{name}: {text}");
        parser.finish(&mut deltas);
        let told = Read::of(deltas);
        let calls = told.calls.iter().map(|(name, text)| (&**name, &**text));
        assert_eq!(calls.collect::<Vec<_>>(), [ROME, RIGA, TIME], "{name}");
        // Wherever a repeat is cut off, it is not there.
        let twice = spelled(notation, &[ROME, ROME]).unwrap();
        let once = spelled(notation, &[ROME]).unwrap();
        let once = &once[..once.len() - notation.spelling.close.len()];
        for end in (once.len()..twice.len()).filter(|end| twice.is_char_boundary(*end)) {
            let told = read(&format, &[&twice[..end]]);
            assert_eq!(told.calls.len(), 1, "{name}: {}", &twice[..end]);
            assert!(!told.content.contains("Rome"), "{name}: {told:?}");
        }
        tested += 1;
    }
    assert!(tested > 15, "{tested}");
}

#[test]
fn who_calls_unasked_may_call_the_same_again() {
    let call = r#"<tool_call>{"name": "time", "arguments": {}}</tool_call>"#;
    let format = formed("hermes", |parts| parts.is_forced = true);
    assert_eq!(read(&format, &[call, call]).calls.len(), 2);
}
