//! One file per subcommand. Answers and JSON go to standard output, everything else to standard
//! error.

mod answer;
mod bench;
mod completions;
mod config;
mod cp;
mod discover;
mod doctor;
mod generate;
mod gpu_info;
mod init;
mod library;
mod list;
mod man;
mod model;
mod probe;
mod ps;
mod pull;
mod rm;
mod run;
mod screen;
mod serve;
mod server;
mod show;
mod stop;

use std::io::Write;

use crate::cli::Command;
use crate::failure::Failure;

/// Runs a subcommand to its end.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::List(args) => list::run(args),
        Command::Discover(args) => discover::run(args),
        Command::Pull(args) => pull::run(args),
        Command::Show(args) => show::run(args),
        Command::Cp(args) => cp::run(args),
        Command::Rm(args) => rm::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Run(args) => run::run(*args),
        Command::Generate(args) => generate::run(*args),
        Command::Bench(args) => bench::run(args),
        Command::Ps(args) => ps::run(&args),
        Command::Stop(args) => stop::run(&args),
        Command::Doctor(args) => doctor::run(args),
        Command::GpuInfo(args) => gpu_info::run(&args),
        Command::Config(args) => config::run(args),
        Command::Init(args) => init::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Writes to standard output; a reader that went away is an error like any other here, and
/// `Failure` makes it a success.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a value as indented JSON.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Bytes for people: `98.4 MB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Numbers of weights for people: `135M`, `1.5B`.
fn parameters(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{}K", count / 1000),
        1_000_000..1_000_000_000 => format!("{}M", (count + 500_000) / 1_000_000),
        _ => format!("{:.1}B", count as f64 / 1e9),
    }
}

/// Columns of text, as wide as they must be.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(parameters(134_515_008), "135M");
        assert_eq!(parameters(1_540_000_000), "1.5B");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["ü".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), "2".to_owned()],
        ];
        assert_eq!(table(&["A", "B"], &rows), "A     B\nü     1\nlong  2\n");
    }
}
