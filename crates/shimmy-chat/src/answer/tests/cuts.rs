//! Answers come in pieces: their cuts change nothing, and their length costs time and no more.

use proptest::prelude::*;

use super::notations::TWO_CALLS;
use super::*;

#[test]
fn time_grows_with_the_text_and_no_faster() {
    // The worst there is: every piece begins a call that turns out to be none. A reader that looked
    // at a text again would take minutes for a megabyte of it.
    for (name, piece) in [
        ("hermes", "<tool_call>{\"name\": \"<tool_call>"),
        ("hermes", "<tool_call>{\"arguments\": {\"a\": \"<tool_call>"),
        ("mistral-named", "[TOOL_CALLS]a[TOOL_CALL"),
        ("qwen-coder", "<function=weather><parameter=city><function="),
        ("llama-python", "[weather(city=["),
        ("harmony", "<|channel|>analysis<|channel|><|messag"),
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        let mut parser = format(name).parser();
        let mut deltas = Vec::new();
        parser.push(&text, &mut deltas);
        parser.finish(&mut deltas);
        assert!(!deltas.is_empty());
    }
}

fn texts() -> impl Strategy<Value = (&'static str, String)> {
    let whole = prop::sample::select(TWO_CALLS.to_vec());
    // Parts of texts in any order: what no model should write, and some will.
    let mixed = prop::collection::vec(
        (
            whole.clone(),
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
        ),
        1..4,
    );
    let mixed = mixed.prop_map(|parts| {
        let name = parts[0].0.0;
        let mut text = String::new();
        for ((_, part), from, to) in &parts {
            let bounds: Vec<usize> = part.char_indices().map(|(at, _)| at).collect();
            let (a, b) = (
                bounds[from.index(bounds.len())],
                bounds[to.index(bounds.len())],
            );
            text.push_str(&part[a.min(b)..a.max(b)]);
        }
        (name, text)
    });
    let marked =
        (whole.clone(), r"[ \n<>/a{}\[\]\(\),;:=\x22'\\]{0,12}").prop_map(|((name, text), odd)| {
            let cut = text.len() / 2;
            let cut = (cut..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            (
                name,
                format!("<think>{odd}</think>{}{odd}{}", &text[..cut], &text[cut..]),
            )
        });
    prop_oneof![
        whole.prop_map(|(name, text)| (name, text.to_owned())),
        mixed,
        marked
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn what_is_read_does_not_depend_on_the_cuts(
        (name, text) in texts(),
        cuts in prop::collection::vec(1_usize..9, 40),
        only_one_call in any::<bool>(),
        must_call in any::<bool>(),
        is_forced in any::<bool>(),
        are_thoughts_open in any::<bool>(),
    ) {
        let format = formed(name, |parts| {
            parts.only_one_call = only_one_call;
            parts.must_call = must_call;
            parts.is_forced = is_forced;
            parts.are_thoughts_open = are_thoughts_open;
        });
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        for cut in cuts {
            let at = rest.char_indices().nth(cut).map_or(rest.len(), |(at, _)| at);
            let (piece, after) = rest.split_at(at);
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(read(&format, &pieces), read(&format, &[&text]));
    }
}
