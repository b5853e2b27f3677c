//! An answer that repeats most of its prompt, as edits of code do.

use anyhow::{Context as _, Result};

use super::single::decode_speed;
use super::{Spec, higher};
use crate::bench::client::Ask;
use crate::bench::stage::Stage;
use crate::bench::stats::median;

const ANSWER_TOKENS: u32 = 160;
/// The name that the edit changes, and what it is replaced by, of each repeat.
const NAMES: [[&str; 2]; 3] = [
    ["total", "sum_of_prices"],
    ["invoice", "customer_bill"],
    ["basket", "shopping_cart"],
];

pub(super) const SPEC: Spec = Spec {
    name: "code-edit",
    about: "A file of code is to be given back with one name changed, 160 tokens of it, three \
            times in turn. How much really was repeated depends on the model and is shown. \
            Warm-up: one short answer.",
    figures: &[
        higher("decode, one stream", "tok/s"),
        higher("answer's lines found in the prompt", "%"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let (mut answers, mut shares) = (Vec::new(), Vec::new());
    for [name, new_name] in NAMES {
        let code = code(name);
        let question = format!(
            "```python\n{code}```\nRename the function `{name}` to `{new_name}`. Answer with the \
             whole file and nothing else."
        );
        let answer = stage
            .chat(&server, &Ask::user(question, ANSWER_TOKENS))
            .await?;
        shares.push(repeated(&answer.text, &code) * 100.0);
        answers.push(answer);
    }
    stage.finish(server).await?;
    Ok(vec![
        decode_speed(&answers)?,
        median(&shares).context("no answers")?,
    ])
}

fn code(name: &str) -> String {
    format!(
        "from dataclasses import dataclass\n\n\n\
         @dataclass\nclass Item:\n    title: str\n    price: float\n    count: int = 1\n\n\n\
         def {name}(items, discount=0.0):\n    result = 0.0\n    for item in items:\n        \
         result += item.price * item.count\n    return result * (1.0 - discount)\n\n\n\
         def describe(items):\n    lines = []\n    for item in items:\n        \
         lines.append(f\"{{item.title}}: {{item.price}} x {{item.count}}\")\n    \
         lines.append(f\"total: {{{name}(items)}}\")\n    return lines\n\n\n\
         if __name__ == \"__main__\":\n    cart = [Item(\"tea\", 3.5, 2), Item(\"bread\", 2.0)]\n    \
         for line in describe(cart):\n        print(line)\n"
    )
}

/// The part of the answer's lines, but for empty ones and fences, that the code has too.
fn repeated(answer: &str, code: &str) -> f64 {
    let counts = |line: &&str| !line.trim().is_empty() && !line.starts_with("```");
    let lines: Vec<&str> = answer.lines().filter(counts).collect();
    let found = lines
        .iter()
        .filter(|line| code.lines().any(|other| other == **line));
    found.count() as f64 / lines.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_the_prompt_count_as_repeated() {
        let code = code("total");
        assert!((repeated(&code, &code) - 1.0).abs() < f64::EPSILON);
        let answer = "```python\n    title: str\ntitle: str\n\n```";
        assert!((repeated(answer, &code) - 0.5).abs() < f64::EPSILON);
        assert!(repeated("", &code).abs() < f64::EPSILON);
    }
}
