//! `keep_alive`: how long a model stays in memory after a request, in seconds or in Go's words.

use std::time::Duration;

use serde_json::Value;

use crate::error::ApiError;
use crate::loader::KeepAlive;

/// Seconds above which a time is as good as for ever: a hundred years.
const FOREVER: f64 = 100.0 * 365.25 * 86_400.0;

const WORDS: &str =
    "must be a number of seconds or a duration such as \"5m\" or \"1h30m\"; negative is for ever";

/// Reads the field. Negative times mean for ever.
pub(crate) fn keep_alive(value: Option<&Value>) -> Result<KeepAlive, ApiError> {
    let seconds = match value {
        None | Some(Value::Null) => return Ok(KeepAlive::Default),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => seconds(text),
        Some(_) => None,
    };
    match seconds {
        Some(seconds) if !(0.0..=FOREVER).contains(&seconds) => Ok(KeepAlive::Forever),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map(KeepAlive::For)
            .map_err(|_| ApiError::field("keep_alive", WORDS)),
        None => Err(ApiError::field("keep_alive", WORDS)),
    }
}

/// The seconds of a duration as Go's `time.ParseDuration` reads it, and of a bare number.
fn seconds(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(number) = number(text) {
        return Some(sign * number);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (count, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        total += number(count)? * unit_seconds(unit)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sign * total)
}

/// Digits with at most one point: no sign, no exponent, no word.
fn number(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Option<KeepAlive> {
        keep_alive(Some(&value)).ok()
    }

    #[test]
    fn numbers_are_seconds_and_texts_are_gos_durations() {
        let after = |ms| Some(KeepAlive::For(Duration::from_millis(ms)));
        for (value, expected) in [
            (json!(0), after(0)),
            (json!(300), after(300_000)),
            (json!(1.5), after(1500)),
            (json!("0"), after(0)),
            (json!("0s"), after(0)),
            (json!("300"), after(300_000)),
            (json!("5m"), after(300_000)),
            (json!("+5m"), after(300_000)),
            (json!("1h30m"), after(5_400_000)),
            (json!("1.5h"), after(5_400_000)),
            (json!(".5s"), after(500)),
            (json!("1h0m0.25s"), after(3_600_250)),
            (json!("250ms"), after(250)),
            (json!("24h"), after(86_400_000)),
        ] {
            assert_eq!(read(value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn negative_and_endless_times_are_for_ever() {
        for value in [
            json!(-1),
            json!("-1"),
            json!("-1s"),
            json!("-5m"),
            json!(1e30),
            json!(u64::MAX),
            json!("9999999999h"),
        ] {
            assert_eq!(read(value.clone()), Some(KeepAlive::Forever), "{value}");
        }
    }

    #[test]
    fn absent_is_the_servers_own_and_nonsense_is_refused() {
        assert_eq!(keep_alive(None).unwrap(), KeepAlive::Default);
        assert_eq!(read(json!(null)), Some(KeepAlive::Default));
        for value in [
            json!(""),
            json!("-"),
            json!("m"),
            json!("5"),
            json!("5 m"),
            json!("5x"),
            json!("5m3"),
            json!("1e3s"),
            json!("inf"),
            json!("nan"),
            json!("1.2.3s"),
            json!(true),
            json!([5]),
        ] {
            let bare = value == json!("5");
            assert_eq!(read(value.clone()).is_some(), bare, "{value}");
        }
        let error = keep_alive(Some(&json!("soon"))).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("keep_alive"));
    }
}
