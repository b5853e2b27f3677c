//! The log: on standard error, quiet unless asked.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` wins over `-v`.
pub(crate) fn init(verbose: u8) {
    let default = match verbose {
        0 => "warn,shimmy=info,shimmy_server=info,shimmy_engine=info,llama=warn",
        1 => "info,shimmy=debug,shimmy_server=debug,shimmy_engine=debug,llama=info",
        _ => "trace,hyper=info,hyper_util=info,mio=info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        || !std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!plain)
        .init();
}
