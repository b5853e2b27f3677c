//! What may be drawn, and how often.

use proptest::prelude::*;

use super::*;

fn sampler(params: SamplingParams) -> Sampler {
    Sampler::new(
        SamplingParams {
            seed: Some(1),
            ..params
        },
        &[],
    )
}

fn open() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ..SamplingParams::default()
    }
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(
        prop_oneof![8 => -20.0_f32..20.0, 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY)],
        1..700,
    )
}

fn by_sorting(logits: &[f32]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = (0..)
        .zip(logits)
        .filter(|(_, logit)| logit.is_finite())
        .map(|(token, &logit)| Candidate { token, logit })
        .collect();
    all.sort_by(by_likelihood);
    all
}

proptest! {
    #[test]
    fn greedy_is_the_first_maximum(mut logits in logits()) {
        let best = by_sorting(&logits).first().map(|c| c.token);
        let mut sampler = sampler(SamplingParams { temperature: 0.0, ..open() });
        prop_assert_eq!(sampler.sample(&mut logits), best);
    }

    #[test]
    fn top_is_the_beginning_of_the_sorted_list(logits in logits(), k in 1_usize..200) {
        let mut out = Vec::new();
        top(&logits, k, &mut out);
        let mut sorted = by_sorting(&logits);
        sorted.truncate(k);
        prop_assert_eq!(out, sorted);
    }

    #[test]
    fn only_what_the_filters_leave_is_drawn(
        logits in logits(),
        seed: u64,
        k in 0_u32..20,
        top_p in 0.05_f32..1.0,
        min_p in 0.0_f32..1.0,
        typical_p in 0.05_f32..1.0,
    ) {
        let params =
            SamplingParams { top_k: k, top_p, min_p, typical_p, seed: Some(seed), ..open() };
        let drawn = Sampler::new(params, &[]).sample(&mut logits.clone());
        let sorted = by_sorting(&logits);
        prop_assert_eq!(drawn.is_none(), sorted.is_empty());
        if let Some(drawn) = drawn {
            let rank = sorted.iter().position(|c| c.token == drawn).expect("a finite logit");
            prop_assert!(k == 0 || rank < k as usize);
        }
    }

    #[test]
    fn the_same_seed_draws_the_same(logits in logits(), seed: u64) {
        let draw = || {
            let mut sampler = Sampler::new(SamplingParams { seed: Some(seed), ..open() }, &[]);
            (0..8).map(|_| sampler.sample(&mut logits.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(draw(), draw());
    }

    #[test]
    fn a_forbidden_token_is_never_drawn(mut logits in logits(), seed: u64) {
        logits.push(100.0);
        let forbidden = (logits.len() - 1) as Token;
        let params = SamplingParams {
            logit_bias: vec![(forbidden, f32::NEG_INFINITY)],
            seed: Some(seed),
            ..open()
        };
        prop_assert_ne!(Sampler::new(params, &[]).sample(&mut logits), Some(forbidden));
    }
}

#[test]
fn draws_follow_the_probabilities() {
    // p = 0.5, 0.25, 0.25; 20,000 draws stay within 5 standard deviations (0.0177).
    let logits = [2.0_f32.ln(), 0.0, 0.0];
    let mut sampler = sampler(open());
    let mut counts = [0_usize; 3];
    for _ in 0..20_000 {
        counts[sampler.sample(&mut logits.clone()).expect("a token") as usize] += 1;
    }
    let share = |token: usize| counts[token] as f64 / 20_000.0;
    assert!((share(0) - 0.50).abs() < 0.0177, "{counts:?}");
    assert!((share(1) - 0.25).abs() < 0.0177, "{counts:?}");
}

#[test]
fn top_p_keeps_the_token_that_crosses_the_line() {
    let mut sampler = sampler(SamplingParams {
        top_p: 0.6,
        ..open()
    });
    sampler.select_candidates(&[2.0_f32.ln(), 0.0, 0.0]);
    assert_eq!(
        sampler
            .candidates
            .iter()
            .map(|c| c.token)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn min_p_is_relative_to_the_likeliest() {
    let mut sampler = sampler(SamplingParams {
        min_p: 0.4,
        ..open()
    });
    sampler.select_candidates(&[0.0, 2.0_f32.ln(), -2.0]);
    assert_eq!(
        sampler
            .candidates
            .iter()
            .map(|c| c.token)
            .collect::<Vec<_>>(),
        [1, 0]
    );
}

#[test]
fn penalties_count_the_recent_tokens_only() {
    let params = SamplingParams {
        repeat_penalty: 2.0,
        presence_penalty: 1.0,
        frequency_penalty: 0.5,
        repeat_last_n: 3,
        ..open()
    };
    let sampler = Sampler::new(params, &[3, 0, 0, 1]);
    let mut logits = [4.0, -4.0, 4.0, 4.0];
    sampler.penalise(&mut logits);
    assert_eq!(
        logits,
        [4.0 / 2.0 - 1.0 - 1.0, -4.0 * 2.0 - 1.0 - 0.5, 4.0, 4.0]
    );
}

#[test]
fn a_patch_takes_effect_from_the_next_token() {
    let mut sampler = sampler(open());
    sampler.update(&SamplingPatch {
        temperature: Some(0.0),
        ..SamplingPatch::default()
    });
    assert_eq!(sampler.sample(&mut [0.0, 0.1, 0.0]), Some(1));
}
