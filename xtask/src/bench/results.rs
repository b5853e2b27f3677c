//! All runs, and the rows that they make: a figure of a workload, a cell for each side, a ratio for
//! each peer.

use serde::Serialize;

use super::stage::Record;
use super::stats::Summary;
use super::workloads::{Better, Figure, MEMORY, Target, Workload};

/// One run of one workload against one side.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) round: u32,
    #[serde(serialize_with = "name_of")]
    pub(super) workload: Workload,
    pub(super) side: &'static str,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    pub(super) load: Load,
    #[serde(flatten)]
    pub(super) record: Record,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// A value for each figure of the workload.
    Measured {
        values: Vec<f64>,
    },
    /// The server does not have what the workload needs.
    NotSupported {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

/// Who used the machine during a run, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Load {
    pub(super) wall_s: f64,
    /// CPU time of the client, which is this program.
    pub(super) client_cpu_s: f64,
    pub(super) server_cpu_s: Option<f64>,
    /// CPU time of everything else on the machine.
    pub(super) others_cpu_s: Option<f64>,
    /// Runnable processes of the last minute, at the end of the run.
    pub(super) load_average: Option<f64>,
}

fn name_of<S: serde::Serializer>(workload: &Workload, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(workload.spec().name)
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(serialize_with = "name_of")]
    pub(super) workload: Workload,
    #[serde(flatten)]
    pub(super) figure: Figure,
    /// Ours first.
    pub(super) cells: Vec<Cell>,
    /// Ours / peer, of each peer.
    pub(super) ratios: Vec<Ratio>,
}

/// A figure of one side.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) side: &'static str,
    /// Of each round that was measured.
    pub(super) values: Vec<f64>,
    pub(super) summary: Option<Summary>,
    /// What kept rounds from being measured: "not supported" or "failed".
    pub(super) missing: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) side: &'static str,
    /// Of ours and the peer's value of the same round, over the rounds.
    pub(super) summary: Option<Summary>,
}

/// Every run so far.
#[derive(Debug)]
pub(super) struct Results {
    /// Names, ours first.
    pub(super) sides: Vec<&'static str>,
    pub(super) workloads: Vec<Workload>,
    pub(super) runs: Vec<Run>,
}

impl Results {
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for &workload in &self.workloads {
            let figures = workload.spec().figures;
            let own = figures.iter().enumerate();
            rows.extend(own.map(|(index, figure)| self.row(workload, *figure, Some(index))));
            let memory = self.row(workload, MEMORY, None);
            if memory.cells.iter().any(|cell| cell.summary.is_some()) {
                rows.push(memory);
            }
        }
        rows
    }

    /// What is not supported or has failed, in words, each thing once.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for run in &self.runs {
            let (what, reason) = match &run.outcome {
                Outcome::Measured { .. } => continue,
                Outcome::NotSupported { reason } => ("not supported".to_owned(), reason),
                Outcome::Failed { reason } => (format!("failed in round {}", run.round), reason),
            };
            let name = run.workload.spec().name;
            let note = format!("{name}, {}: {what}: {reason}", run.side);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    pub(super) fn has_failures(&self) -> bool {
        let mut outcomes = self.runs.iter().map(|run| &run.outcome);
        outcomes.any(|outcome| matches!(outcome, Outcome::Failed { .. }))
    }

    /// Whether it is known that the side cannot do it.
    pub(super) fn is_unsupported(&self, workload: Workload, side: &str) -> bool {
        self.of(workload, side)
            .any(|run| matches!(run.outcome, Outcome::NotSupported { .. }))
    }

    fn of<'a>(&'a self, workload: Workload, side: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs
            .iter()
            .filter(move |run| run.workload == workload && run.side == side)
    }

    /// The row of a workload's figure with this index, or of its memory.
    fn row(&self, workload: Workload, figure: Figure, index: Option<usize>) -> Row {
        let values = |side: &str| -> Vec<(u32, f64)> {
            let runs = self.of(workload, side);
            runs.filter_map(|run| Some((run.round, run.value(index)?)))
                .collect()
        };
        let cell = |&side: &&'static str| {
            let values: Vec<f64> = values(side).into_iter().map(|(_, value)| value).collect();
            Cell {
                side,
                summary: Summary::of(&values),
                values,
                missing: self.missing(workload, side),
            }
        };
        let ours = self
            .sides
            .first()
            .map(|side| values(side))
            .unwrap_or_default();
        let ratio = |&side: &&'static str| {
            let theirs = values(side);
            let pairs = ours.iter().filter_map(|(round, ours)| {
                let (_, theirs) = theirs.iter().find(|(other, _)| other == round)?;
                Some(ours / theirs)
            });
            let ratios: Vec<f64> = pairs.filter(|ratio| ratio.is_finite()).collect();
            Ratio {
                side,
                summary: Summary::of(&ratios),
            }
        };
        Row {
            workload,
            figure,
            cells: self.sides.iter().map(cell).collect(),
            ratios: self.sides.iter().skip(1).map(ratio).collect(),
        }
    }

    fn missing(&self, workload: Workload, side: &str) -> Option<&'static str> {
        let outcomes = self.of(workload, side).map(|run| &run.outcome);
        let mut missing = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Measured { .. } => {}
                Outcome::NotSupported { .. } => return Some("not supported"),
                Outcome::Failed { .. } => missing = Some("failed"),
            }
        }
        missing
    }
}

impl Run {
    /// The value of a figure, or of the memory in MB.
    fn value(&self, index: Option<usize>) -> Option<f64> {
        let Outcome::Measured { values } = &self.outcome else {
            return None;
        };
        match index {
            Some(index) => values.get(index).copied(),
            None => self.record.anonymous_bytes.map(|bytes| bytes as f64 / 1e6),
        }
    }
}

impl Row {
    /// Whether the target is met beside the first peer; nothing without a target or a figure.
    pub(super) fn is_met(&self) -> Option<bool> {
        let ours = self.cells.first()?.summary.map(|summary| summary.median);
        let ratio = self.ratios.first().and_then(|ratio| ratio.summary);
        let ratio = ratio.map(|summary| summary.median);
        match self.figure.target? {
            Target::AtMost(most) => Some(ours? <= most),
            Target::RatioAtMost(most) => Some(ratio? <= most),
            Target::RatioAtLeast(least) => Some(ratio? >= least),
        }
    }
}

impl Ratio {
    /// Whether ours is the better one; equal is neither.
    pub(super) fn is_better(&self, better: Better) -> Option<bool> {
        let median = self.summary?.median;
        match better {
            _ if (median - 1.0).abs() < f64::EPSILON => None,
            Better::Lower => Some(median < 1.0),
            Better::Higher => Some(median > 1.0),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn run(
        round: u32,
        workload: Workload,
        side: &'static str,
        outcome: Outcome,
    ) -> Run {
        Run {
            round,
            workload,
            side,
            outcome,
            load: Load::default(),
            record: Record::default(),
        }
    }

    /// Two peers; ours 14 and 16 and 15 ms to health, the first peer three rounds, the other none.
    pub(in crate::bench) fn results() -> Results {
        let start = |round, side, health, first| {
            let values = vec![health, first];
            let mut run = run(round, Workload::Start, side, Outcome::Measured { values });
            run.record.anonymous_bytes = Some(72_000_000);
            run
        };
        let refused = |side| {
            let reason = "404 <no such route> & \"more\"".to_owned();
            run(
                1,
                Workload::Embeddings,
                side,
                Outcome::NotSupported { reason },
            )
        };
        let failed = Outcome::Failed {
            reason: "silence for 300s".to_owned(),
        };
        Results {
            sides: vec!["shimmy", "peer", "peer-tuned"],
            workloads: vec![Workload::Start, Workload::Embeddings, Workload::Idle],
            runs: vec![
                start(1, "shimmy", 14.0, 200.0),
                start(1, "peer", 560.0, 800.0),
                run(1, Workload::Start, "peer-tuned", failed.clone()),
                refused("shimmy"),
                run(
                    1,
                    Workload::Embeddings,
                    "peer",
                    Outcome::Measured { values: vec![50.0] },
                ),
                start(2, "shimmy", 16.0, 210.0),
                start(2, "peer", 320.0, 700.0),
                run(2, Workload::Start, "peer-tuned", failed),
                start(3, "shimmy", 15.0, 190.0),
                start(3, "peer", 600.0, 760.0),
                run(
                    1,
                    Workload::Idle,
                    "shimmy",
                    Outcome::Measured { values: vec![0.0] },
                ),
                run(
                    1,
                    Workload::Idle,
                    "peer",
                    Outcome::Measured { values: vec![0.0] },
                ),
            ],
        }
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let rows = results().rows();
        let health = &rows[0];
        assert_eq!(health.cells[0].values, [14.0, 16.0, 15.0]);
        assert_eq!(health.cells[1].summary.map(|cell| cell.median), Some(560.0));
        // Of 14/560, 16/320 and 15/600; not 15/560.
        let ratio = health.ratios[0].summary.expect("a ratio");
        assert!((ratio.median - 0.025).abs() < 1e-12, "{ratio:?}");
        assert!((ratio.max - 0.05).abs() < 1e-12, "{ratio:?}");
        assert_eq!(health.ratios[0].is_better(Better::Lower), Some(true));
        assert_eq!(health.ratios[0].is_better(Better::Higher), Some(false));
        assert_eq!(health.is_met(), Some(true));
    }

    #[test]
    fn what_was_not_measured_is_never_a_number() {
        let rows = results().rows();
        let cells = |row: &Row| -> Vec<(Option<f64>, Option<&str>)> {
            let cells = row.cells.iter();
            let cells = cells.map(|cell| (cell.summary.map(|one| one.median), cell.missing));
            cells.collect()
        };
        assert_eq!(cells(&rows[0])[2], (None, Some("failed")));
        assert!(rows[0].ratios[1].summary.is_none());
        let embeddings = rows.iter().find(|row| row.workload == Workload::Embeddings);
        let embeddings = embeddings.expect("a row");
        assert_eq!(
            cells(embeddings),
            [
                (None, Some("not supported")),
                (Some(50.0), None),
                (None, None)
            ]
        );
        assert!(
            embeddings
                .ratios
                .iter()
                .all(|ratio| ratio.summary.is_none())
        );
        // Nothing divided by nothing is no ratio.
        let idle = rows.last().expect("a row");
        assert_eq!(idle.workload, Workload::Idle);
        assert!(idle.ratios[0].summary.is_none());
        assert_eq!(idle.is_met(), Some(true));
    }

    #[test]
    fn memory_is_a_row_where_it_was_measured() {
        let rows = results().rows();
        let memory: Vec<&Row> = rows
            .iter()
            .filter(|row| row.figure.name == MEMORY.name)
            .collect();
        assert_eq!(memory.len(), 1);
        assert_eq!(memory[0].cells[0].values, [72.0, 72.0, 72.0]);
    }

    #[test]
    fn notes_say_what_is_missing_and_why() {
        let results = results();
        assert_eq!(
            results.notes(),
            [
                "start, peer-tuned: failed in round 1: silence for 300s",
                "embeddings, shimmy: not supported: 404 <no such route> & \"more\"",
                "start, peer-tuned: failed in round 2: silence for 300s",
            ]
        );
        assert!(results.has_failures());
        assert!(results.is_unsupported(Workload::Embeddings, "shimmy"));
        assert!(!results.is_unsupported(Workload::Embeddings, "peer"));
    }
}
