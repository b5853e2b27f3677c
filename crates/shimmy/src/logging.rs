//! The log: on standard error, quiet unless asked.

use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::terminal;

/// Starts logging. `RUST_LOG` (`level`, or `crate=level,…`) wins over `-v`.
pub(crate) fn init(verbose: u8) {
    let default = match verbose {
        0 => "warn,shimmy=info,shimmy_server=info,shimmy_engine=info",
        1 => "info,shimmy=debug,shimmy_server=debug,shimmy_engine=debug,llama=debug",
        _ => "trace,hyper=info,hyper_util=info,mio=info",
    };
    let asked = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let parsed = Targets::from_str(asked.as_deref().unwrap_or(default));
    // The default is a constant that parses, so only RUST_LOG can be wrong.
    let (filter, wrong) = match parsed {
        Ok(filter) => (filter, None),
        Err(error) => (Targets::from_str(default).unwrap_or_default(), Some(error)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(terminal::STDERR.has_colours());
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .init();
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG is ignored, it cannot be read: {error}");
    }
}
