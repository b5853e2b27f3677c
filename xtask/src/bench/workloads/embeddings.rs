//! Embedding many texts, as an index of documents is built.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Spec, higher};
use crate::bench::prompts::check_length;
use crate::bench::side::Role;
use crate::bench::stage::Stage;

const REQUESTS: u64 = 8;
const TEXTS: usize = 32;
const TEXT_TOKENS: u64 = 32;

pub(super) const SPEC: Spec = Spec {
    name: "embeddings",
    about: "256 texts of 32 tokens to /v1/embeddings, 32 texts a request, one request after the \
            other. Warm-up: one request with one text. llama-server is started with --embedding \
            --pooling mean.",
    figures: &[higher("texts embedded", "texts/s")],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let mut server = stage.start(Role::Embeddings)?;
    server.wait_until_healthy().await?;
    let words = stage.ruler().words_of_text(TEXT_TOKENS as f64);
    let body = |request: u64, texts: usize| {
        let mut source = stage.words(request);
        let texts: Vec<String> = (0..texts).map(|_| source.text(words)).collect();
        json!({"input": texts, "encoding_format": "float"})
    };
    let (warm_up, bodies) = (
        body(0, 1),
        (1..=REQUESTS).map(|request| body(request, TEXTS)),
    );
    let bodies: Vec<Value> = bodies.collect();
    server.client.post("/v1/embeddings", &warm_up).await?;
    let began = Instant::now();
    let mut answers = Vec::new();
    for body in &bodies {
        answers.push(server.client.post("/v1/embeddings", body).await?);
    }
    let took = began.elapsed();
    for answer in &answers {
        check(answer)?;
    }
    stage.finish(server).await?;
    let texts = REQUESTS as f64 * TEXTS as f64;
    Ok(vec![texts / took.as_secs_f64()])
}

/// One vector for each text, all of one length, no two alike.
fn check(answer: &Value) -> Result<()> {
    let data = answer["data"]
        .as_array()
        .context("an answer without data")?;
    let vectors: Vec<&Vec<Value>> = data
        .iter()
        .filter_map(|item| item["embedding"].as_array())
        .collect();
    let length = vectors.first().map_or(0, |vector| vector.len());
    ensure!(
        vectors.len() == TEXTS && length > 0 && vectors.iter().all(|one| one.len() == length),
        "an answer that is not {TEXTS} vectors of one length"
    );
    ensure!(
        vectors.windows(2).all(|pair| pair[0] != pair[1]),
        "the same vector for different texts"
    );
    let tokens = answer["usage"]["prompt_tokens"].as_u64();
    let tokens = tokens.context("an answer without usage.prompt_tokens")?;
    check_length(tokens as f64 / TEXTS as f64, TEXT_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(vector: impl Fn(usize) -> Value, tokens: usize) -> Value {
        let data: Vec<Value> = (0..TEXTS)
            .map(|index| json!({"embedding": vector(index)}))
            .collect();
        json!({"data": data, "usage": {"prompt_tokens": tokens}})
    }

    #[test]
    fn vectors_that_cannot_be_real_are_an_error() {
        check(&answer(|index| json!([index, 1]), 32 * TEXTS)).expect("good vectors");
        assert!(check(&answer(|_| json!([0.5, 1]), 32 * TEXTS)).is_err());
        assert!(
            check(&answer(
                |index| json!(vec![index; index % 2 + 1]),
                32 * TEXTS
            ))
            .is_err()
        );
        assert!(check(&answer(|_| json!([]), 32 * TEXTS)).is_err());
        assert!(check(&answer(|index| json!([index, 1]), 64 * TEXTS)).is_err());
        assert!(check(&json!({"data": []})).is_err());
    }
}
