//! The results as a table for people.

use std::fmt::Write as _;

use super::results::{Outcome, Results, Row, Run};
use super::stats::Summary;
use super::workloads::Target;

/// The table, what was not measured, and how it was measured.
pub(super) fn table(results: &Results, cores: usize) -> String {
    let rows = results.rows();
    let mut lines = vec![heads(results)];
    let mut text = String::new();
    for row in &rows {
        lines.push(fields(row));
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            lines
                .iter()
                .map(|line| width(&line[column]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut workload = None;
    line(&mut text, &lines[0], &widths);
    for (row, fields) in rows.iter().zip(&lines[1..]) {
        if workload.replace(row.workload) != Some(row.workload) {
            let _ = writeln!(text, "{}", row.workload.spec().name);
        }
        line(&mut text, fields, &widths);
    }
    text.push_str(
        "\nEach figure: the median of the rounds (lowest..highest); p50 and p95 are of the requests of a \
         round.\nRatio: ours / peer in the same round, likewise.\n",
    );
    for note in results.notes() {
        let _ = writeln!(text, "{note}");
    }
    text.push_str(&load(&results.runs, cores));
    text
}

/// A number with as many digits as mean something.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1000.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

fn heads(results: &Results) -> Vec<String> {
    let mut heads = vec!["".to_owned(), "unit".to_owned(), "better".to_owned()];
    heads.extend(results.sides.iter().map(|&side| side.to_owned()));
    heads.extend(
        results
            .sides
            .iter()
            .skip(1)
            .map(|side| format!("ratio to {side}")),
    );
    heads.push("target".to_owned());
    heads
}

fn fields(row: &Row) -> Vec<String> {
    let mut fields = vec![
        format!("  {}", row.figure.name),
        row.figure.unit.to_owned(),
        row.figure.better.to_string(),
    ];
    fields.extend(row.cells.iter().map(|cell| {
        cell.summary.map_or_else(
            || cell.missing.unwrap_or("-").to_owned(),
            |summary| spread(&summary),
        )
    }));
    fields.extend(row.ratios.iter().map(|ratio| {
        ratio
            .summary
            .map_or_else(|| "-".to_owned(), |summary| spread(&summary))
    }));
    fields.push(target(row));
    fields
}

fn spread(summary: &Summary) -> String {
    format!(
        "{} ({}..{})",
        number(summary.median),
        number(summary.min),
        number(summary.max)
    )
}

fn target(row: &Row) -> String {
    let target = match row.figure.target {
        None => return String::new(),
        Some(Target::AtMost(most)) => format!("<= {most} {}", row.figure.unit),
        Some(Target::RatioAtMost(most)) => format!("<= {most:.2} x"),
        Some(Target::RatioAtLeast(least)) => format!(">= {least:.2} x"),
    };
    let met = row
        .is_met()
        .map_or("", |met| if met { ": met" } else { ": missed" });
    format!("{target}{met}")
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn line(text: &mut String, fields: &[String], widths: &[usize]) {
    let mut line = String::new();
    for (column, (field, &wide)) in fields.iter().zip(widths).enumerate() {
        // Numbers stand to the right, words to the left.
        let is_number = column > 2 && column + 1 < fields.len();
        let _ = if is_number {
            write!(line, "{field:>wide$}  ")
        } else {
            write!(line, "{field:<wide$}  ")
        };
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// What the client took at most, and what else ran on the machine.
fn load(runs: &[Run], cores: usize) -> String {
    let mut text = String::new();
    let most = |share: &dyn Fn(&Run) -> Option<f64>| {
        let measured = runs
            .iter()
            .filter(|run| matches!(run.outcome, Outcome::Measured { .. }));
        let shares = measured.filter_map(|run| Some((run, share(run)?)));
        shares.max_by(|one, other| one.1.total_cmp(&other.1))
    };
    let client =
        |run: &Run| (run.load.wall_s > 0.0).then(|| run.load.client_cpu_s / run.load.wall_s);
    let others = |run: &Run| {
        let machine = run.load.wall_s * cores as f64;
        (machine > 0.0).then_some(run.load.others_cpu_s? / machine)
    };
    for (who, of, found) in [
        ("The client", "one core", most(&client)),
        ("Other processes", "the machine", most(&others)),
    ] {
        if let Some((run, share)) = found {
            let (name, percent) = (run.workload.spec().name, share * 100.0);
            let _ = writeln!(
                text,
                "{who} took at most {percent:.1} % of {of} ({name}, {}, round {}).",
                run.side, run.round
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let numbers = [12_345.6, 123.45, 1.234, 0.0254, 0.0].map(number);
        assert_eq!(numbers, ["12346", "123.5", "1.23", "0.025", "0"]);
    }

    #[test]
    fn a_row_has_medians_spreads_ratios_and_its_target() {
        let text = table(&results(), 2);
        let row = text
            .lines()
            .find(|line| line.contains("to /health ok"))
            .expect("a row");
        let fields: Vec<&str> = row
            .split("  ")
            .map(str::trim)
            .filter(|field| !field.is_empty())
            .collect();
        assert_eq!(
            fields,
            [
                "process start to /health ok",
                "ms",
                "lower",
                "15.0 (14.0..16.0)",
                "560.0 (320.0..600.0)",
                "failed",
                "0.025 (0.025..0.050)",
                "-",
                "<= 50 ms: met",
            ]
        );
    }

    #[test]
    fn a_workload_is_named_once_and_what_is_missing_is_explained() {
        let text = table(&results(), 2);
        assert_eq!(text.lines().filter(|line| *line == "start").count(), 1);
        assert!(text.contains("embeddings, shimmy: not supported: 404 <no such route>"));
        let row = text
            .lines()
            .find(|line| line.contains("texts embedded"))
            .expect("a row");
        assert!(row.contains("not supported"), "{row}");
    }

    #[test]
    fn the_busiest_run_is_the_one_that_is_told() {
        let mut results = results();
        results.runs[1].load.wall_s = 10.0;
        results.runs[1].load.client_cpu_s = 0.2;
        results.runs[1].load.others_cpu_s = Some(5.0);
        let text = table(&results, 2);
        assert!(text.contains("The client took at most 2.0 % of one core (start, peer, round 1)."));
        assert!(text.contains("Other processes took at most 25.0 % of the machine (start, peer"));
    }
}
