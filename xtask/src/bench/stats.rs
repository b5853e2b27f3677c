//! Medians, percentiles and spreads. Knows numbers, not what they stand for.

use serde::Serialize;

/// The middle and the ends of the values of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Summary {
    /// Nothing for no values.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values)?,
            min: values.iter().copied().reduce(f64::min)?,
            max: values.iter().copied().reduce(f64::max)?,
        })
    }
}

/// The middle value; of an even number, the mean of the two middle ones.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50.0)
}

/// The value that `percent` of the values do not exceed, interpolated between the two nearest ones.
///
/// Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996), definition 7, which
/// is the default of NumPy and R.
pub(super) fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let position = percent / 100.0 * last as f64;
    let below = position.floor();
    let (low, high) = (sorted[below as usize], sorted[position.ceil() as usize]);
    Some(low + (high - low) * (position - below))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: Option<f64>, wanted: f64) -> bool {
        found.is_some_and(|found| (found - wanted).abs() < 1e-9)
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!(close(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        let eight = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0];
        assert!(close(percentile(&eight, 95.0), 76.5));
        assert!(close(percentile(&eight, 0.0), 10.0));
        assert!(close(percentile(&eight, 100.0), 80.0));
        assert!(close(percentile(&[7.0], 95.0), 7.0));
    }

    proptest! {
        #[test]
        fn a_summary_holds_every_value(values in prop::collection::vec(-1e9..1e9, 1..40)) {
            let summary = Summary::of(&values).expect("values");
            prop_assert!(summary.min <= summary.median && summary.median <= summary.max);
            prop_assert!(values.iter().all(|value| (summary.min..=summary.max).contains(value)));
        }

        #[test]
        fn a_higher_percentile_is_never_a_smaller_value(
            values in prop::collection::vec(-1e9..1e9, 1..40),
            low in 0.0..100.0,
            step in 0.0..100.0,
        ) {
            let high = f64::min(low + step, 100.0);
            prop_assert!(percentile(&values, low) <= percentile(&values, high));
        }
    }
}
