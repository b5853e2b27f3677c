//! Keys and queries turned so that no number of a head stands out, before they are rounded to bytes: a
//! Walsh–Hadamard transform of both leaves their products as they are. Owns that transform; must not know
//! how anything is rounded.
//!
//! Where one key of 32 is a hundred times the others, the scale that they share leaves nothing of these.
//! Models with biases of keys, Qwen2.5 among them, have such keys.

/// Turns a head's keys as they are written.
pub(crate) fn spread_keys(keys: &mut [f32]) {
    let doublings = doublings(keys.len());
    spread(keys, doublings, doublings.div_ceil(2));
}

/// Turns a head's query before it meets them.
pub(super) fn spread_query(query: &mut [f32]) {
    let doublings = doublings(query.len());
    spread(query, doublings, doublings / 2);
}

/// How often one number doubles before as many do not divide a head any more.
fn doublings(head: usize) -> u32 {
    head.trailing_zeros()
}

/// Transforms blocks of two to the power of `doublings` numbers and halves the results `halvings` times.
/// Of keys and queries together all doublings are taken back, exactly.
///
/// Source: B. J. Fino and V. R. Algazi, "Unified Matrix Treatment of the Fast Walsh–Hadamard Transform"
/// (1976).
fn spread(numbers: &mut [f32], doublings: u32, halvings: u32) {
    for step in 0..doublings {
        let half = 1 << step;
        for pair in numbers.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
    }
    let part = 1.0 / (1_u32 << halvings) as f32;
    for number in numbers {
        *number *= part;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Random;
    use super::*;

    #[test]
    fn products_stay_and_nothing_stands_out() {
        let mut random = Random(1);
        for head in [8, 24, 64, 80, 96, 128, 256] {
            let (mut keys, mut query) = (random.floats(head), random.floats(head));
            keys[5] = 100.0;
            let product = |keys: &[f32], query: &[f32]| -> f64 {
                let pairs = keys.iter().zip(query);
                pairs
                    .map(|(key, query)| f64::from(*key) * f64::from(*query))
                    .sum()
            };
            let before = product(&keys, &query);
            spread_keys(&mut keys);
            spread_query(&mut query);
            let after = product(&keys, &query);
            assert!(
                (before - after).abs() < 1e-3,
                "{head}: {after} for {before}"
            );
            let largest = keys.iter().fold(0.0_f32, |all, key| all.max(key.abs()));
            assert!(largest <= 110.0 / 8_f32.sqrt(), "{head}: {largest}");
        }
    }
}
