//! Layers with experts: which of them a row passes through, and rows brought together by expert, so
//! that the weights of each that is chosen are read once, and those of the others not at all. What a
//! row gets is added up in the order of its own choice, whatever rows are beside it.

use std::ops::Range;

use super::project::Target;
use super::{Stepper, sized};
use crate::kernels::add_scaled;
use crate::model::{Layer, Linear};
use crate::plan::Experts;
use crate::pool::Pool;
use crate::quant::TILE;

/// The experts of some rows.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Each row's experts with their weights, the heaviest first.
    chosen: Vec<(usize, f32)>,
    /// The numbers of these choices, by expert and then by row.
    order: Vec<usize>,
    /// Where each choice is in that order.
    places: Vec<usize>,
    /// The experts that were chosen.
    parts: Vec<Part>,
}

/// An expert, and where its choices are in the order.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) expert: usize,
    pub(super) places: Range<usize>,
}

impl Routes {
    /// Chooses for rows of scores, which take `stride` values each.
    fn choose(&mut self, pool: &mut Pool, scores: &mut [f32], stride: usize, experts: Experts) {
        let Experts { count, used } = experts;
        self.chosen.resize(scores.len() / stride * used, (0, 0.0));
        let chosen = &mut self.chosen[..];
        pool.for_pairs((chosen, used), (scores, stride), |_, chosen, scores| {
            choose(&scores[..count], chosen);
        });
        self.sort(count);
    }

    /// Brings the choices of each expert together.
    fn sort(&mut self, experts: usize) {
        let mut ends = vec![0; experts];
        for &(expert, _) in &self.chosen {
            ends[expert] += 1;
        }
        self.parts.clear();
        let mut first = 0;
        for (expert, end) in ends.iter_mut().enumerate() {
            let places = first..first + *end;
            // From here on it is where the expert's next choice comes.
            *end = first;
            first = places.end;
            if !places.is_empty() {
                self.parts.push(Part { expert, places });
            }
        }
        self.order.resize(self.chosen.len(), 0);
        self.places.clear();
        for (number, &(expert, _)) in self.chosen.iter().enumerate() {
            let place = ends[expert];
            ends[expert] += 1;
            self.order[place] = number;
            self.places.push(place);
        }
    }

    /// The choices of a row: where their results are, and their weights.
    fn of_row(&self, row: usize, used: usize) -> impl Iterator<Item = (usize, f32)> {
        let choices = row * used..(row + 1) * used;
        let weights = self.chosen[choices.clone()]
            .iter()
            .map(|&(_, weight)| weight);
        self.places[choices].iter().copied().zip(weights)
    }
}

/// The best of a row's experts, and their weights: the softmax of all scores, divided by what the
/// chosen ones have of it. The others cancel out, so it is the softmax of the chosen scores.
fn choose(scores: &[f32], chosen: &mut [(usize, f32)]) {
    let mut known = 0;
    for (expert, &score) in scores.iter().enumerate() {
        // Of equal ones the first.
        let at = chosen[..known].partition_point(|&(_, better)| better >= score);
        if at < chosen.len() {
            known = chosen.len().min(known + 1);
            chosen[at..known].rotate_right(1);
            chosen[at] = (expert, score);
        }
    }
    let largest = chosen.first().map_or(0.0, |&(_, score)| score);
    let mut sum = 0.0;
    for (_, weight) in &mut *chosen {
        *weight = (*weight - largest).exp();
        sum += *weight;
    }
    for (_, weight) in chosen {
        *weight /= sum;
    }
}

impl Stepper {
    /// What the experts of each of the normed rows add to the stream.
    pub(super) fn mix_experts(
        &mut self,
        layer: &Layer<Linear, Vec<f32>>,
        router: &Linear,
        experts: Experts,
        rows: usize,
    ) {
        let (width, inner) = (self.model.plan.width, self.model.plan.feed_forward);
        let Experts { count, used } = experts;
        let buffers = &mut self.buffers;
        let normed = &buffers.normed[..rows * width];
        let stride = count.next_multiple_of(TILE);
        let scores = sized(&mut buffers.scores, rows * stride);
        let target = Target {
            linear: router,
            out: &mut *scores,
        };
        self.projector.project(normed, width, &mut [target]);
        let routes = &mut buffers.routes;
        routes.choose(&mut self.projector.pool, scores, stride, experts);

        let choices = rows * used;
        let row = |&choice: &usize| &normed[choice / used * width..][..width];
        let inputs: Vec<&[f32]> = routes.order.iter().map(row).collect();
        let targets = &mut [
            Target {
                linear: &layer.gate,
                out: sized(&mut buffers.gate, choices * inner),
            },
            Target {
                linear: &layer.up,
                out: sized(&mut buffers.up, choices * inner),
            },
        ];
        self.projector
            .project_parts(&inputs, &routes.parts, inner, targets);
        self.gate(choices * inner);

        let buffers = &mut self.buffers;
        let inputs = buffers.gate[..choices * inner].chunks_exact(inner);
        let inputs: Vec<&[f32]> = inputs.collect();
        let target = Target {
            linear: &layer.down,
            out: sized(&mut buffers.of_experts, choices * width),
        };
        let routes = &buffers.routes;
        self.projector
            .project_parts(&inputs, &routes.parts, width, &mut [target]);
        let results = &buffers.of_experts[..choices * width];
        let added = sized(&mut buffers.added, rows * width);
        self.projector.pool.for_chunks(added, width, |row, added| {
            added.fill(0.0);
            for (place, weight) in routes.of_row(row, used) {
                add_scaled(added, &results[place * width..(place + 1) * width], weight);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Routes, choose};
    use crate::plan::Experts;
    use crate::pool::Pool;
    use proptest::prelude::*;

    #[test]
    fn the_best_are_chosen_and_their_weights_add_up_to_one() {
        let mut chosen = [(0, 0.0); 3];
        choose(&[1.0, 3.0, -2.0, 3.0, 2.0], &mut chosen);
        assert_eq!(chosen.map(|(expert, _)| expert), [1, 3, 4]);
        let sum: f32 = chosen.iter().map(|(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(chosen[0].1, chosen[1].1);
        assert!((chosen[2].1 / chosen[0].1 - (-1.0_f32).exp()).abs() < 1e-6);
    }

    #[test]
    fn scores_that_are_no_numbers_still_choose_somebody() {
        let mut chosen = [(9, 0.0); 2];
        choose(&[f32::NAN, f32::NAN, f32::INFINITY], &mut chosen);
        assert!(chosen.iter().all(|&(expert, _)| expert < 3));
    }

    proptest! {
        #[test]
        fn every_choice_has_one_place_among_those_of_its_expert(
            rows in 1..20_usize,
            (count, used) in (1..12_usize).prop_flat_map(|count| (Just(count), 1..=count)),
            seed in any::<u32>(),
        ) {
            let stride = count.next_multiple_of(16);
            let score = |at: usize| ((at as u32).wrapping_mul(2_654_435_761) ^ seed) as f32;
            let mut scores: Vec<f32> = (0..rows * stride).map(score).collect();
            let mut routes = Routes::default();
            // What is left of a step before does not matter.
            for _ in 0..2 {
                let experts = Experts { count, used };
                routes.choose(&mut Pool::new(2), &mut scores, stride, experts);
            }
            let ends = routes.parts.iter().map(|part| part.places.end);
            prop_assert!(routes.parts.iter().skip(1).map(|part| part.places.start).eq(
                ends.clone().take(routes.parts.len() - 1)
            ));
            prop_assert_eq!(ends.max(), Some(rows * used));
            for part in &routes.parts {
                let choices = &routes.order[part.places.clone()];
                prop_assert!(choices.is_sorted());
                for (&choice, place) in choices.iter().zip(part.places.clone()) {
                    prop_assert_eq!(routes.chosen[choice].0, part.expert);
                    prop_assert_eq!(routes.places[choice], place);
                }
            }
        }
    }
}
