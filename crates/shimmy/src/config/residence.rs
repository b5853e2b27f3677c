//! How long models stay in memory, and how much of it they may take.

use std::time::Duration;

use crate::cli::ServeArgs;
use crate::loader::Keep;
use crate::size;

/// What the models in memory may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryBudget {
    /// Most of what the machine can give at the time.
    Automatic,
    /// This much of the machine's own memory, and what there is on GPUs.
    Bytes(u64),
    /// Whatever they take.
    Unchecked,
}

/// How models stay in memory.
#[derive(Debug, Clone)]
pub(crate) struct ResidenceConfig {
    pub(crate) memory: MemoryBudget,
    /// How many there may be; none is as many as fit.
    pub(crate) max_models: Option<usize>,
    /// How long a request waits for the memory of models that are at work.
    pub(crate) patience: Duration,
    /// How long those stay that are not the base model.
    pub(crate) keep: Keep,
    /// Names of models that stay whatever happens.
    pub(crate) pins: Vec<String>,
}

impl Default for ResidenceConfig {
    /// For a command, which loads one model and asks nobody.
    fn default() -> Self {
        Self {
            memory: MemoryBudget::Unchecked,
            max_models: None,
            patience: Duration::ZERO,
            keep: Keep::Forever,
            pins: Vec::new(),
        }
    }
}

/// For a server.
pub(crate) fn residence(args: &ServeArgs) -> ResidenceConfig {
    let pins = args.pin.iter().map(|name| name.trim());
    ResidenceConfig {
        memory: args.memory_budget,
        max_models: args.max_models.map(|count| count as usize),
        patience: Duration::from_secs(args.memory_wait),
        keep: args.keep_alive,
        pins: pins
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

/// A budget as people write it: `auto`, `none`, or a size.
pub(crate) fn parse_budget(text: &str) -> Result<MemoryBudget, String> {
    match text.trim() {
        "auto" => Ok(MemoryBudget::Automatic),
        "none" => Ok(MemoryBudget::Unchecked),
        size => match size::parse(size) {
            Ok(0) => Err("nothing fits into no memory; `none` means that it is not checked".into()),
            Ok(bytes) => Ok(MemoryBudget::Bytes(bytes)),
            Err(error) => Err(format!("{error}, or auto, or none")),
        },
    }
}

/// How long a model is kept, as people write it: seconds, or numbers with units such as `1h30m`;
/// `forever` or a negative one is until its memory is needed.
pub(crate) fn parse_keep(text: &str) -> Result<Keep, String> {
    let text = text.trim();
    if text == "forever" || is_negative(text) {
        return Ok(Keep::Forever);
    }
    parse_duration(text)
        .map(Keep::For)
        .ok_or_else(|| format!("{text:?} is no time: write it as 300, 5m, 1h30m or forever"))
}

fn is_negative(text: &str) -> bool {
    let rest = text.strip_prefix('-');
    rest.is_some_and(|rest| parse_duration(rest).is_some())
}

fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    if text.is_empty() {
        return None;
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let seconds = |seconds| Ok(Keep::For(Duration::from_secs(seconds)));
        for (text, keep) in [
            ("0", seconds(0)),
            ("300", seconds(300)),
            ("5m", seconds(300)),
            ("1h30m", seconds(5400)),
            ("1.5h", seconds(5400)),
            ("1500ms", Ok(Keep::For(Duration::from_millis(1500)))),
            ("-1", Ok(Keep::Forever)),
            ("-5m", Ok(Keep::Forever)),
            ("forever", Ok(Keep::Forever)),
        ] {
            assert_eq!(parse_keep(text), keep, "{text}");
        }
        for text in ["", "-", "m", "5 potatoes", "1.2.3s", "5x", "1e999s", "nan"] {
            assert!(parse_keep(text).is_err(), "{text}");
        }
    }

    #[test]
    fn budgets_as_people_write_them() {
        assert_eq!(parse_budget("auto"), Ok(MemoryBudget::Automatic));
        assert_eq!(parse_budget("none"), Ok(MemoryBudget::Unchecked));
        assert_eq!(parse_budget("8GiB"), Ok(MemoryBudget::Bytes(8 << 30)));
        for text in ["0", "", "much", "-1"] {
            assert!(parse_budget(text).is_err(), "{text}");
        }
    }
}
