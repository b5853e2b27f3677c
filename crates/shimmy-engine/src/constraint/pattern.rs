//! What is refused in a regular expression before it is compiled.
//!
//! Compiling takes no time that grows with what a pattern could match, so most of what is known
//! to hang other engines is harmless. Left are repetitions that are written out while an answer
//! is followed, and what other engines call an error but this one would take in a sense that
//! nobody meant.

/// Bytes of a pattern, at most.
const BYTES: usize = 64 << 10;

/// Repetitions of one part, at most.
const REPETITIONS: u32 = 10_000;

/// Checks a pattern; an error says what is wrong, as the end of a sentence.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > BYTES {
        return Err(format!("has more than {BYTES} bytes"));
    }
    let mut rest = pattern.chars().peekable();
    let mut in_set = false;
    // Whether a quantifier just ended, so that another would repeat a repetition.
    let mut is_repeated = false;
    while let Some(c) = rest.next() {
        let was_repeated = std::mem::take(&mut is_repeated);
        match c {
            '\\' if rest.next().is_none() => return Err("ends in a backslash".to_owned()),
            // The next character was taken with it.
            '\\' => {}
            ']' => in_set = false,
            _ if in_set => {}
            '[' => {
                in_set = true;
                // Right at the beginning, a bracket is one of the set.
                rest.next_if_eq(&'^');
                rest.next_if_eq(&']');
            }
            '*' | '+' | '?' if was_repeated => return Err(twice()),
            '*' | '+' | '?' => {
                is_repeated = true;
                // Not a second quantifier: it makes the first one lazy.
                rest.next_if_eq(&'?');
            }
            '(' => {
                // `(?` begins a kind of group, and `?` repeats nothing there.
                rest.next_if_eq(&'?');
            }
            '{' => {
                let inside: String = rest.clone().take_while(|&c| c != '}').take(24).collect();
                if is_count(&inside) {
                    if was_repeated {
                        return Err(twice());
                    }
                    check_count(&inside)?;
                    rest.nth(inside.len());
                    is_repeated = true;
                    rest.next_if_eq(&'?');
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn twice() -> String {
    "repeats a repetition: put the first one in a group if that is meant".to_owned()
}

fn is_count(inside: &str) -> bool {
    inside.starts_with(|c: char| c.is_ascii_digit())
        && inside
            .chars()
            .all(|c| c.is_ascii_digit() || c == ',' || c == ' ')
}

fn check_count(inside: &str) -> Result<(), String> {
    let mut counts = inside.split(',').map(str::trim).filter(|n| !n.is_empty());
    let fits = |count: &str| count.parse().is_ok_and(|n: u32| n <= REPETITIONS);
    match counts.find(|count| !fits(count)) {
        Some(count) => Err(format!(
            "repeats something {count} times; at most {REPETITIONS} are supported"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harmless_passes() {
        let harmless = [
            "",
            "(a+)+$",
            "a*?b+?",
            "[*+]{3}",
            r"\**",
            r"\{1}{2}",
            "[]a]*",
            "[^]*]+",
            "(?:ab)*",
            "(?i)x?",
            "a{2,5}?",
            "{",
            "a{b}",
            "(a*)*",
            r"[\]*]*+".trim_end_matches('+'),
        ];
        for pattern in harmless {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn repetitions_of_repetitions_and_huge_ones_are_refused() {
        for pattern in ["foo**", "a+*", "a{2}{3}", "a?+", "(b)*?*", "x{3}?{4}"] {
            let refusal = check(pattern).expect_err(pattern);
            assert!(refusal.contains("repeats a repetition"), "{refusal}");
        }
        for pattern in ["a{1000000000}", "a{0,99999999999999}", "(a{1}){10001,}"] {
            let refusal = check(pattern).expect_err(pattern);
            assert!(refusal.contains("at most 10000"), "{refusal}");
        }
        assert!(check("a\\").is_err());
        assert!(check(&"a".repeat(BYTES + 1)).is_err());
    }
}
