//! The log: on standard error, quiet unless asked.
//!
//! Owns what of other people's words may stand in it: names and complaints come from clients and
//! from files, so nothing in them ends a line, speaks to a terminal or turns letters around.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
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
        .fmt_fields(fields())
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

/// How the fields of a line are written.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let write = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Escaped(writer), "{value:?}")
    };
    debug_fn(write).delimited(" ")
}

/// Writes what could be mistaken for more than text as `\u{1b}` and the like.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| match letter {
            // Marks that turn the direction of writing, and breaks of lines and paragraphs.
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => write!(self.0, "{}", letter.escape_unicode()),
            letter if letter.is_control() => write!(self.0, "{}", letter.escape_debug()),
            letter => self.0.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one writer").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt::layer()
            .fmt_fields(fields())
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .with_writer(move || writer.clone());
        let name = "a\r\nb\u{1b}[2J\u{202e}\u{9b}\u{2028}é\t";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(plain = name, shown = %name, debug = ?name, count = 7, "of {name}");
        });
        let log = String::from_utf8(kept.0.lock().expect("no writer").clone()).expect("text");
        let escaped = r"a\r\nb\u{1b}[2J\u{202e}\u{9b}\u{2028}é\t";
        assert_eq!(
            log,
            format!(
                " INFO of {escaped} plain=\"{escaped}\" shown={escaped} debug=\"{escaped}\" count=7\n"
            )
        );
    }
}
