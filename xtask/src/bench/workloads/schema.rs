//! Answers that must fit a JSON schema, beside free ones: what the constraint costs, or saves.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::single::decode_speed;
use super::{Spec, higher, lower, times_to_first};
use crate::bench::client::Ask;
use crate::bench::stage::Stage;

const REPEATS: u64 = 3;
const FREE_TOKENS: u32 = 128;
/// More than any answer that fits the schema needs.
const MOST_TOKENS: u32 = 600;
const PEOPLE: usize = 3;
const FIELDS: [&str; 5] = ["name", "age", "occupation", "is_member", "home_town"];

pub(super) const SPEC: Spec = Spec {
    name: "schema",
    about: "Three answers that must fit a JSON schema (and do), each beside a free answer of 128 \
            tokens to a like question. Warm-up: one short answer; no schema has been seen \
            before.",
    figures: &[
        higher("decode with a schema / decode without", "x"),
        higher("decode with a schema", "tok/s"),
        lower("time to first token with a schema, p50", "ms"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let (mut free, mut constrained) = (Vec::new(), Vec::new());
    for repeat in 0..REPEATS {
        let ask = Ask::user(question(stage, repeat), FREE_TOKENS);
        free.push(stage.chat(&server, &ask).await?);
        // Another question: a server that still knows the prompt must not look fast.
        let mut ask = Ask::user(question(stage, repeat + REPEATS), MOST_TOKENS);
        ask.ignore_eos = false;
        ask.schema = Some(schema());
        let answer = stage.chat(&server, &ask).await?;
        check(&answer.text)?;
        constrained.push(answer);
    }
    stage.finish(server).await?;
    let speed = decode_speed(&constrained)?;
    let [first, _] = times_to_first(&constrained)?;
    Ok(vec![speed / decode_speed(&free)?, speed, first])
}

fn question(stage: &Stage<'_>, part: u64) -> String {
    let place = stage.words(part).text(2);
    format!(
        "The {place} club has {PEOPLE} people who work there. Invent each one's name, age, \
         occupation, whether they are a member, and their home town. Answer as JSON."
    )
}

fn schema() -> Value {
    let text = json!({"type": "string", "minLength": 3, "maxLength": 24});
    let occupations = ["gardener", "teacher", "engineer", "librarian"];
    let person = json!({
        "type": "object",
        "properties": {
            "name": text,
            "age": {"type": "integer", "minimum": 18, "maximum": 99},
            "occupation": {"type": "string", "enum": occupations},
            "is_member": {"type": "boolean"},
            "home_town": text,
        },
        "required": FIELDS,
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "people": {"type": "array", "minItems": PEOPLE, "maxItems": PEOPLE, "items": person},
        },
        "required": ["people"],
        "additionalProperties": false,
    })
}

/// A server that leaves the schema out must not look fast.
fn check(text: &str) -> Result<()> {
    let fits = || {
        let answer: Value = serde_json::from_str(text).ok()?;
        let people = answer["people"].as_array()?;
        let has_fields = |person: &Value| {
            let person = person.as_object();
            person.is_some_and(|person| FIELDS.iter().all(|field| person.contains_key(*field)))
        };
        (people.len() == PEOPLE && people.iter().all(has_fields)).then_some(())
    };
    let shown = || text.chars().take(200).collect::<String>();
    fits().with_context(|| format!("an answer that does not fit the schema: {}", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_fit_is_an_error() {
        let person = json!({
            "name": "Ann", "age": 40, "occupation": "teacher", "is_member": true,
            "home_town": "Rye",
        });
        let three = json!({"people": [person, person, person]}).to_string();
        check(&three).expect("an answer that fits");
        assert!(check(&json!({"people": [person, person]}).to_string()).is_err());
        assert!(check(&three.replace("\"age\"", "\"old\"")).is_err());
        assert!(check("Here are three people:").is_err());
    }
}
