//! Numbers in a JSON schema that the compiler would round: it keeps all of them as floating-point
//! numbers. Owns which of them can be held to; must not know the rest of the schema.

use serde_json::{Map, Number, Value};

/// From here on not every whole number is a floating-point number.
const ROUNDED: f64 = 9_007_199_254_740_992.0;

/// From here on the compiler takes a least whole number for a smaller one.
const TOO_HIGH: f64 = 9_223_372_036_854_775_808.0;

/// The ends of what 64 bits can hold, which generated schemas have as bounds, and the floating-point
/// numbers next to them on the inner side: nothing that passes is out of bounds.
const ENDS: [(&str, i128, i128); 6] = [
    ("minimum", i64::MIN as i128, -9_223_372_036_854_774_784),
    (
        "exclusiveMinimum",
        i64::MIN as i128,
        -9_223_372_036_854_774_784,
    ),
    ("maximum", i64::MAX as i128, 9_223_372_036_854_774_784),
    (
        "exclusiveMaximum",
        i64::MAX as i128,
        9_223_372_036_854_774_784,
    ),
    ("maximum", u64::MAX as i128, 18_446_744_073_709_549_568),
    (
        "exclusiveMaximum",
        u64::MAX as i128,
        18_446_744_073_709_549_568,
    ),
];

/// Draws the bounds of a schema in that are the ends of what 64 bits can hold.
pub(super) fn draw_in(schema: &mut Map<String, Value>) {
    for (keyword, end, inner) in ENDS {
        if let Some(Value::Number(bound)) = schema.get_mut(keyword)
            && bound.as_i128() == Some(end)
            && let Some(inner) = Number::from_i128(inner)
        {
            *bound = inner;
        }
    }
}

/// Refuses what a schema asks of numbers and would be rounded; the error is the end of a sentence.
pub(super) fn check(schema: &Map<String, Value>) -> Result<(), String> {
    for keyword in ["const", "enum"] {
        check_values(keyword, schema.get(keyword).into_iter().collect())?;
    }
    for (keyword, twin) in [
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
        ("exclusiveMinimum", ""),
        ("exclusiveMaximum", ""),
        ("multipleOf", ""),
    ] {
        // An older way to say that a bound is none of the values.
        let is_exclusive = twin.is_empty() || schema.get(twin) == Some(&Value::Bool(true));
        if let Some(Value::Number(bound)) = schema.get(keyword)
            && !is_kept(keyword, is_exclusive, bound)
        {
            return Err(rounded(keyword, bound));
        }
    }
    Ok(())
}

/// Data, however deep, that an answer is to repeat.
fn check_values(keyword: &str, mut left: Vec<&Value>) -> Result<(), String> {
    while let Some(value) = left.pop() {
        match value {
            Value::Number(number) if !is_exact(number) => return Err(rounded(keyword, number)),
            Value::Array(list) => left.extend(list),
            Value::Object(object) => left.extend(object.values()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the compiler has this very number. One of more than 64 bits was rounded when it was read.
fn is_exact(number: &Number) -> bool {
    match (number.as_i128(), number.as_f64()) {
        // The compiler's whole numbers have 64 bits and a sign, and it cannot write the least of them.
        (Some(whole), Some(float)) => float.abs() < TOO_HIGH && float as i128 == whole,
        (None, Some(float)) => float.abs() < ROUNDED,
        _ => false,
    }
}

/// Whether no answer gets past a bound because it is rounded.
fn is_kept(keyword: &str, is_exclusive: bool, bound: &Number) -> bool {
    let is_end = |(of, end, _)| of == keyword && bound.as_i128() == Some(end);
    if ENDS.into_iter().any(is_end) {
        return true;
    }
    let (whole, float) = (bound.as_i128(), bound.as_f64().unwrap_or(f64::NAN));
    if whole.is_some_and(|whole| float as i128 != whole) {
        return false;
    }
    match keyword {
        "multipleOf" => true,
        // A bound that is none of the values is moved by one, which such a number swallows.
        "minimum" | "exclusiveMinimum" if float >= TOO_HIGH => false,
        "maximum" | "exclusiveMaximum" if float <= -TOO_HIGH => false,
        _ if is_exclusive => float.abs() < ROUNDED || float.abs() >= TOO_HIGH,
        _ => true,
    }
}

fn rounded(keyword: &str, number: &Number) -> String {
    format!("has a `{keyword}` of {number}, which is too large to be kept exactly")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(schema: Value) -> Option<String> {
        check(schema.as_object().expect("a schema")).err()
    }

    #[test]
    fn what_would_be_rounded_is_refused_by_its_keyword() {
        let large = 1_000_000_000_000_000_001_i64;
        for (keyword, schema) in [
            ("const", json!({ "const": 9_007_199_254_740_993_u64 })),
            ("const", json!({ "const": { "a": [-large] } })),
            ("const", json!({ "const": i64::MIN })),
            ("const", json!({ "const": 1_u64 << 63 })),
            (
                "const",
                json!({ "const": 123_456_789_012_345_678_901_234_567_890.0 }),
            ),
            (
                "enum",
                json!({ "enum": ["a", 1, 1_234_567_890_123_456_789_u64] }),
            ),
            ("minimum", json!({ "minimum": large })),
            ("minimum", json!({ "minimum": 1e19 })),
            (
                "minimum",
                json!({ "minimum": 1_i64 << 53, "exclusiveMinimum": true }),
            ),
            (
                "exclusiveMinimum",
                json!({ "exclusiveMinimum": 1_i64 << 53 }),
            ),
            ("maximum", json!({ "maximum": -large })),
            ("maximum", json!({ "maximum": -1e19 })),
            (
                "exclusiveMaximum",
                json!({ "exclusiveMaximum": 1_i64 << 54 }),
            ),
            ("multipleOf", json!({ "multipleOf": large })),
        ] {
            let reason = refusal(schema.clone()).unwrap_or_else(|| panic!("{schema}"));
            assert!(reason.contains(&format!("`{keyword}`")), "{reason}");
        }
    }

    #[test]
    fn what_is_kept_passes() {
        for schema in [
            json!({ "const": 9_007_199_254_740_992_u64, "enum": [1_u64 << 62, -0.5, "x"] }),
            json!({ "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64 }),
            json!({ "exclusiveMinimum": 0.1, "exclusiveMaximum": 1e300, "multipleOf": 0.01 }),
            json!({ "minimum": i64::MIN, "maximum": i64::MAX, "default": u64::MAX }),
            json!({ "minimum": 0, "maximum": u64::MAX }),
        ] {
            assert_eq!(refusal(schema.clone()), None, "{schema}");
        }
    }
}
