//! Whether a text is understood, refused for the right reason, and how it comes out.

use super::*;

fn refusal(text: &str) -> String {
    to_lark(text).expect_err(text)
}

#[test]
fn gbnf_is_told_from_lark_by_its_first_definition() {
    for gbnf in [
        "root ::= \"a\"",
        "# start: x\n\n root\t::=\n\"a\"",
        "a-b ::= \"::\"",
    ] {
        assert!(is_gbnf(gbnf), "{gbnf}");
    }
    let lark = [
        "start: \"a ::= b\"",
        "// x ::= y\nstart: A\nA: /::=/",
        "%import common.INT\nstart: INT",
        "start::_ : \"a\"",
        "",
        "::= x",
    ];
    for lark in lark {
        assert!(!is_gbnf(lark), "{lark}");
    }
}

#[test]
fn a_grammar_without_recursion_is_one_word() {
    let lark = to_lark("root ::= (\"yes\" | \"no\") \"!\"{1,3}  # sure\n").expect("good");
    assert!(lark.starts_with("start: T"), "{lark}");
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let mistakes = [
        ("root ::= \"a", "line 1: a text is not closed"),
        ("root ::= \"a\"\nx ::= [a", "line 2: `[` is not closed"),
        ("root ::= (\"a\"\n | (\"b\")", "`(` of line 1 is not closed"),
        ("root ::= \"a\")", "`)` closes nothing"),
        ("root ::= * \"a\"", "nothing to repeat"),
        ("root ::= \"a\"{2", "`}` is missing"),
        ("root ::= \"a\"{x}", "a number must follow"),
        ("root ::= \"a\"{3,2}", "less than the first"),
        ("root ::= \"\\q\"", "`\\q` is no escape"),
        ("root ::= \"\\x4\"", "2 hexadecimal digits"),
        ("root ::= \"\\uD800\"", "D800 is no character's number"),
        ("root ::= [z-a]", "'z' to 'a' is empty"),
        ("root ::= []", "allows no character"),
        (
            "root ::= a\n\na = \"x\"",
            "line 3: `::=` is missing after `a`",
        ),
        (
            "root ::= \"a\"\nroot ::= \"b\"",
            "line 2: the rule `root` is defined a second time",
        ),
        ("root ::= \"a\" b", "line 1: the rule `b` is not defined"),
        ("start ::= \"a\"", "no rule `root`"),
        (
            "root ::= <think>",
            "references to tokens are not supported: <think>",
        ),
        ("root ::= !<[12]> \"a\"", "not supported: !<[12]>"),
        ("root ::= \"a\" ; \"b\"", "';' is unexpected"),
        ("root ::= root \"a\" | \"b\"", "left-recursive"),
        (
            "root ::= a\na ::= b? c\nc ::= a | \"x\"\nb ::= \"y\"",
            "left-recursive",
        ),
        ("root ::= \"a\" root \"b\"", "`root` never comes to an end"),
        ("root ::= \"a\"{20000}", "more than 10000 repetitions"),
        (
            "root ::= \"a\"{99999999999999}",
            "more than 10000 repetitions",
        ),
        (
            "root ::= ((\"a\"{1000}){1000})*",
            "too big: the group in line 1",
        ),
    ];
    for (text, part) in mistakes {
        let refusal = refusal(text);
        assert!(refusal.contains(part), "{text}\n{refusal}");
    }
}

#[test]
fn huge_grammars_are_refused_in_time() {
    let begun = std::time::Instant::now();
    let brackets = format!("root ::= {}\"a\"{}", "(".repeat(60_000), ")".repeat(60_000));
    assert!(refusal(&brackets).contains("too deep"));
    let mut chain = String::from("root ::= r0\n");
    for n in 0..5000 {
        chain += &format!("r{n} ::= \"a\" r{}\n", n + 1);
    }
    assert!(refusal(&(chain + "r5000 ::= \"z\"")).contains("too deep"));
    let many: String = (0..60_000).map(|n| format!("r{n} ::= \"a\"\n")).collect();
    assert!(refusal(&format!("root ::= r0\n{many}")).contains("more than 100000 rules"));
    let stars = format!("root ::= \"a\"{}", "*".repeat(200_000));
    assert!(refusal(&stars).contains("more than 100000"));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

mod against_a_simple_reading {
    //! Random grammars, read once more character by character as llama.cpp does.

    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::super::parse::parse;
    use super::super::{Body, Characters, Grammar, Item};
    use crate::constraint::Follower;
    use crate::constraint::tests::{accepts, compile};
    use crate::params::Constraint;
    use crate::runner::Token;

    /// Something that may refer to rules from `first` on; the last one is a letter.
    fn symbol(first: usize) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => prop::sample::select(vec!["\"a\"", "\"ab\"", "\"b\"", "\"ba\"", "\"\"", "\"c\""])
                .prop_map(str::to_owned),
            2 => prop::sample::select(vec!["[ab]", "[^a]", "[a-c]"]).prop_map(str::to_owned),
            3 => (first..5).prop_map(|n| format!("r{n}")),
        ]
    }

    fn item(first: usize) -> impl Strategy<Value = String> {
        let group = prop::collection::vec(symbol(first), 1..3).prop_map(|s| s.join(" | "));
        let atom = prop_oneof![3 => symbol(first), 1 => group.prop_map(|s| format!("({s})"))];
        let repetition = prop::sample::select(vec!["", "", "", "*", "+", "?", "{2}", "{1,3}"]);
        (atom, repetition).prop_map(|(atom, repetition)| atom + repetition)
    }

    fn body(first: usize) -> impl Strategy<Value = String> {
        let sequence = prop::collection::vec(item(first), 0..4);
        let sequence = sequence.prop_map(|items| format!("\"\" {}", items.join(" ")));
        prop::collection::vec(sequence, 1..4).prop_map(|sequences| sequences.join("\n  | "))
    }

    /// Rules of the letters a, b and c; without recursion each uses later ones only.
    fn grammar(is_recursive: bool) -> impl Strategy<Value = String> {
        let body = |rule: usize| body(if is_recursive { 0 } else { rule + 1 });
        (body(0), body(1), body(2), body(3)).prop_map(|(a, b, c, d)| {
            format!("root ::= r0\nr0 ::= {a}\nr1 ::= {b}\nr2 ::= {c}\nr3 ::= {d}\nr4 ::= \"b\"")
        })
    }

    /// Reads a text, remembering where each rule can end that begins somewhere.
    struct Reader<'a> {
        grammar: &'a Grammar,
        text: Vec<char>,
        known: HashMap<(usize, usize), BTreeSet<usize>>,
    }

    impl Reader<'_> {
        fn ends(&mut self, rule: usize, at: usize) -> BTreeSet<usize> {
            if let Some(known) = self.known.get(&(rule, at)) {
                return known.clone();
            }
            let next = self.text.get(at).copied();
            let ends = match &self.grammar.rules[rule].body {
                Body::Text(letter) => match letter.chars().next() {
                    None => BTreeSet::from([at]),
                    wanted if wanted == next => BTreeSet::from([at + 1]),
                    Some(_) => BTreeSet::new(),
                },
                Body::Set(_, set) => {
                    let fits = next.is_some_and(|c| set.meets(Characters::range(c, c)));
                    fits.then_some(at + 1).into_iter().collect()
                }
                Body::Choice(sequences) => {
                    let mut all = BTreeSet::new();
                    for sequence in sequences {
                        let mut places = BTreeSet::from([at]);
                        for &item in sequence {
                            places = places
                                .iter()
                                .flat_map(|&at| self.repeated(item, at))
                                .collect();
                        }
                        all.extend(places);
                    }
                    all
                }
            };
            self.known.insert((rule, at), ends.clone());
            ends
        }

        fn repeated(&mut self, item: Item, at: usize) -> BTreeSet<usize> {
            let (mut places, mut all) = (BTreeSet::from([at]), BTreeSet::new());
            for times in 0.. {
                if times >= item.least {
                    let known = all.len();
                    all.extend(&places);
                    if all.len() == known {
                        break;
                    }
                }
                if item.most == Some(times) || places.is_empty() {
                    break;
                }
                let each = places.iter().flat_map(|&at| self.ends(item.rule, at));
                places = each.collect();
            }
            all
        }
    }

    fn fits(grammar: &Grammar, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let end = text.len();
        let known = HashMap::new();
        let mut reader = Reader {
            grammar,
            text,
            known,
        };
        reader.ends(grammar.root, 0).contains(&end)
    }

    /// An answer drawn by `draws`, if it comes to an end in time.
    fn answer(follower: &mut Follower, draws: &[u8]) -> Option<String> {
        let mut said = Vec::new();
        for &draw in draws {
            if follower.is_complete() {
                return String::from_utf8(said).ok();
            }
            let mut logits = vec![0.0; 259];
            follower
                .mask(&mut logits)
                .expect("an answer never gets stuck");
            if logits[258] == 0.0 && draw % 3 == 0 {
                return String::from_utf8(said).ok();
            }
            let letters: Vec<usize> = (97..100).filter(|&t| logits[t] == 0.0).collect();
            if letters.is_empty() {
                // Only an end, or other characters than these, may come.
                return (logits[258] == 0.0).then(|| String::from_utf8_lossy(&said).into_owned());
            }
            let token = letters[draw as usize % letters.len()] as Token;
            said.push(token as u8);
            follower.accept(token).expect("an allowed token");
        }
        None
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn what_is_answered_fits(
            text in grammar(true),
            draws in prop::collection::vec(prop::collection::vec(any::<u8>(), 20), 4),
        ) {
            let Ok(follower) = compile(&Constraint::Grammar(text.clone())) else {
                // Left recursion, or no end.
                return Ok(());
            };
            let grammar = parse(&text).expect("it was compiled");
            for draws in draws {
                if let Some(said) = answer(&mut follower.clone(), &draws) {
                    prop_assert!(fits(&grammar, &said), "{text}\n{said:?}");
                }
            }
        }

        #[test]
        fn without_recursion_what_fits_can_be_answered(
            text in grammar(false),
            said in "[abc]{0,7}",
        ) {
            let constraint = Constraint::Grammar(text.clone());
            let grammar = parse(&text).expect("as it was made");
            prop_assert_eq!(accepts(&constraint, &said), fits(&grammar, &said), "{}", text);
        }
    }
}
