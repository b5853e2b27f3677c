//! Server-sent events from bytes as they arrive. Pure: it knows nothing of what the data says.
//!
//! Source: the HTML standard, "Server-sent events", section "Interpreting an event stream".

use std::{mem, str};

use anyhow::{Context as _, Result};

/// A stream of events that is being read.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The `data` lines of the event so far.
    data: Option<String>,
    /// A line ended with CR; an LF right after it belongs to that end.
    after_return: bool,
}

impl Parser {
    /// Takes the bytes that arrived and appends the data of each event that is now whole.
    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<()> {
        for &byte in bytes {
            let completes_the_end = byte == b'\n' && mem::take(&mut self.after_return);
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if completes_the_end => {}
                b'\n' | b'\r' => self.end_line(events)?,
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<()> {
        if self.line.is_empty() {
            events.extend(self.data.take());
            return Ok(());
        }
        let line = str::from_utf8(&self.line).context("an event that is not UTF-8")?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut events).expect("UTF-8");
        }
        events
    }

    #[test]
    fn comments_names_and_unfinished_events_are_no_data() {
        let text = ": ping\n\nevent: x\ndata: one\nid: 7\n\n\ndata\n\ndata: unfinished\n";
        assert_eq!(events([text.as_bytes()]), ["one", ""]);
    }

    #[test]
    fn lines_of_one_event_are_joined_and_one_space_is_taken_off() {
        assert_eq!(
            events([b"data: a\ndata:  b\ndata:c\n\n".as_slice()]),
            ["a\n b\nc"]
        );
    }

    #[test]
    fn a_line_may_end_in_three_ways() {
        let text = "data: a\r\ndata: b\r\n\r\ndata: c\rdata: d\r\rdata: e\ndata: f\n\n";
        assert_eq!(events([text.as_bytes()]), ["a\nb", "c\nd", "e\nf"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let fed = Parser::default().feed(b"data: \xff\n", &mut Vec::new());
        assert!(fed.is_err());
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_same_events(size in 1_usize..40) {
            let text = "data: {\"text\":\"größer\"}\r\n\r\n: ping\r\n\r\ndata: tw\ndata: o\n\ndata: [DONE]\n\n";
            prop_assert_eq!(
                events(text.as_bytes().chunks(size)),
                ["{\"text\":\"größer\"}", "tw\no", "[DONE]"]
            );
        }
    }
}
