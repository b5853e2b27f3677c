//! The figures of all rounds as medians and ratios, for people and for scripts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::measure::{Round, median};

/// Everything that was measured, round by round.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) ours: Vec<Round>,
    pub(super) peer: Vec<Round>,
    /// Seconds from the start of `shimmy generate` to its first output.
    pub(super) in_process: Vec<f64>,
    /// llama-bench, tokens per second.
    pub(super) engine_decode: Vec<f64>,
    pub(super) engine_prefill: Vec<f64>,
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Our own figure, at most.
    AtMost(f64),
    /// The ratio ours / peer, at most.
    RatioAtMost(f64),
    /// The ratio ours / peer, at least.
    RatioAtLeast(f64),
}

#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    unit: &'static str,
    ours: f64,
    peer: f64,
    target: Target,
}

impl Row {
    fn new(
        name: &'static str,
        unit: &'static str,
        values: (Vec<f64>, Vec<f64>),
        target: Target,
    ) -> Self {
        let (mut ours, mut peer) = values;
        Self {
            name,
            unit,
            ours: median(&mut ours),
            peer: median(&mut peer),
            target,
        }
    }

    fn ratio(&self) -> f64 {
        self.ours / self.peer
    }

    /// Whether the target is met; nothing when one side was not measured.
    fn is_met(&self) -> Option<bool> {
        let (value, met) = match self.target {
            Target::AtMost(most) => (self.ours, self.ours <= most),
            Target::RatioAtMost(most) => (self.ratio(), self.ratio() <= most),
            Target::RatioAtLeast(least) => (self.ratio(), self.ratio() >= least),
        };
        (!value.is_nan()).then_some(met)
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::AtMost(most) => format!("<= {most} {}", self.unit),
            Target::RatioAtMost(most) => format!("<= {most:.2} x"),
            Target::RatioAtLeast(least) => format!(">= {least:.2} x"),
        }
    }
}

/// The rows of the table.
pub(super) fn rows(figures: &Figures) -> Vec<Row> {
    use Target::{AtMost, RatioAtLeast, RatioAtMost};
    let both = |value: fn(&Round) -> f64| {
        let of = |rounds: &[Round]| rounds.iter().map(value).collect::<Vec<f64>>();
        (of(&figures.ours), of(&figures.peer))
    };
    let health = both(|round| round.health.as_secs_f64() * 1e3);
    let first = both(|round| round.first_token.as_secs_f64() * 1e3);
    let in_process = figures
        .in_process
        .iter()
        .map(|seconds| seconds * 1e3)
        .collect();
    let (decode, peer_decode) = both(|round| round.decode);
    let (prefill, peer_prefill) = both(|round| round.prefill);
    let memory = both(|round| round.anonymous_bytes as f64 / 1e6);
    let idle = both(|round| round.idle_cpu.as_secs_f64() * 1e3);
    let engine = |values: &[f64]| values.to_vec();
    vec![
        Row::new("start to /health ok", "ms", health, AtMost(50.0)),
        Row::new(
            "start to first token, HTTP",
            "ms",
            first.clone(),
            RatioAtMost(0.5),
        ),
        Row::new(
            "start to first token, generate",
            "ms",
            (in_process, first.1),
            RatioAtMost(0.5),
        ),
        Row::new(
            "decode, beside the server",
            "tok/s",
            (decode.clone(), peer_decode),
            RatioAtLeast(1.0),
        ),
        Row::new(
            "decode, beside llama-bench",
            "tok/s",
            (decode, engine(&figures.engine_decode)),
            RatioAtLeast(0.98),
        ),
        Row::new(
            "prefill 512, server",
            "tok/s",
            (prefill.clone(), peer_prefill),
            RatioAtLeast(1.0),
        ),
        Row::new(
            "prefill 512, llama-bench",
            "tok/s",
            (prefill, engine(&figures.engine_prefill)),
            RatioAtLeast(0.98),
        ),
        Row::new("anonymous memory", "MB", memory, RatioAtMost(1.0)),
        Row::new("CPU time in 3 s of idling", "ms", idle, AtMost(0.0)),
    ]
}

/// The table for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<32} {:>10} {:>10} {:<6} {:>8}  {:<10} {}\n",
        "median of all rounds", "shimmy", "peer", "unit", "ratio", "target", "met"
    );
    for row in rows {
        let met = row
            .is_met()
            .map_or("-", |met| if met { "yes" } else { "no" });
        let _ = writeln!(
            text,
            "{:<32} {:>10} {:>10} {:<6} {:>8}  {:<10} {met}",
            row.name,
            number(row.ours, 1),
            number(row.peer, 1),
            row.unit,
            number(row.ratio(), 3),
            row.target_text(),
        );
    }
    text
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        "-".to_owned()
    }
}

/// The same for scripts, with the value of every round.
pub(super) fn json(rows: &[Row], figures: &Figures) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name, "unit": row.unit, "shimmy": row.ours, "peer": row.peer,
                "ratio": row.ratio(), "target": row.target_text(), "met": row.is_met(),
            })
        })
        .collect();
    let rounds = |rounds: &[Round]| -> Vec<Value> { rounds.iter().map(round).collect() };
    json!({
        "medians": rows,
        "rounds": {
            "shimmy": rounds(&figures.ours),
            "peer": rounds(&figures.peer),
            "generate_first_output_s": figures.in_process,
            "llama_bench_decode_tok_s": figures.engine_decode,
            "llama_bench_prefill_tok_s": figures.engine_prefill,
        },
    })
}

fn round(round: &Round) -> Value {
    json!({
        "health_s": round.health.as_secs_f64(),
        "first_token_s": round.first_token.as_secs_f64(),
        "decode_tok_s": round.decode,
        "prefill_tok_s": round.prefill,
        "anonymous_bytes": round.anonymous_bytes,
        "idle_cpu_s": round.idle_cpu.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, peer: f64, target: Target) -> Row {
        Row::new("x", "ms", (vec![ours], vec![peer]), target)
    }

    #[test]
    fn targets_are_judged_on_the_figure_they_name() {
        assert_eq!(row(40.0, 400.0, Target::AtMost(50.0)).is_met(), Some(true));
        assert_eq!(row(51.0, 400.0, Target::AtMost(50.0)).is_met(), Some(false));
        assert_eq!(row(1.0, 2.0, Target::RatioAtMost(0.5)).is_met(), Some(true));
        assert_eq!(
            row(97.0, 100.0, Target::RatioAtLeast(0.98)).is_met(),
            Some(false)
        );
        // A peer that was not measured gives no verdict.
        assert_eq!(
            row(97.0, f64::NAN, Target::RatioAtLeast(0.98)).is_met(),
            None
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let text = table(&[Row::new(
            "x",
            "ms",
            (vec![3.0], vec![]),
            Target::RatioAtMost(1.0),
        )]);
        let last = text.lines().last().expect("a row");
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields, ["x", "3.0", "-", "ms", "-", "<=", "1.00", "x", "-"]);
    }
}
