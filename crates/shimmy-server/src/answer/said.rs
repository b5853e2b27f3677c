//! What an answer says to the user, up to the first of the request's stop texts.
//!
//! Where an answer may hold calls of tools the engine cannot look for these: it sees markup and
//! arguments as text, and a call that a stop text cuts in two is none.

use shimmy_chat::Delta;
use shimmy_engine::{Piece, TextAssembler};

/// The text of one answer.
#[derive(Debug)]
pub(super) struct Said {
    text: TextAssembler,
    /// The stop text that was met; nothing after it belongs to the answer.
    stop: Option<String>,
}

impl Said {
    /// An answer that ends before the first of `stops`.
    pub(super) fn until(stops: Vec<String>) -> Self {
        Self {
            text: TextAssembler::new(stops),
            stop: None,
        }
    }

    /// The stop text that was met.
    pub(super) fn stop(&self) -> Option<&str> {
        self.stop.as_deref()
    }

    /// What of these parts belongs to the answer, as far as nothing can take it back.
    pub(super) fn admit(&mut self, deltas: Vec<Delta>) -> Vec<Delta> {
        let mut admitted = Vec::with_capacity(deltas.len());
        for delta in deltas {
            if let Delta::Content(text) = delta {
                let piece = self.text.push(text.as_bytes());
                self.take(piece, &mut admitted);
                continue;
            }
            // What was held back is text after all: a stop text does not reach over a call.
            self.finish(&mut admitted);
            if self.stop.is_none() {
                admitted.push(delta);
            }
        }
        admitted
    }

    /// Takes the end of the answer.
    pub(super) fn finish(&mut self, out: &mut Vec<Delta>) {
        let piece = self.text.finish();
        self.take(piece, out);
    }

    fn take(&mut self, piece: Piece, out: &mut Vec<Delta>) {
        if self.stop.is_some() {
            return;
        }
        if !piece.text.is_empty() {
            out.push(Delta::Content(piece.text));
        }
        self.stop = piece.stop;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Delta {
        Delta::Content(text.to_owned())
    }

    #[test]
    fn the_answer_ends_before_a_stop_text_that_comes_in_pieces() {
        let mut said = Said::until(vec!["END".to_owned()]);
        assert_eq!(said.admit(vec![content("one E")]), [content("one ")]);
        assert_eq!(said.admit(vec![content("ND two")]), []);
        assert_eq!(said.stop(), Some("END"));
        assert_eq!(said.admit(vec![content("three")]), []);
    }

    #[test]
    fn only_text_is_looked_at_and_a_call_ends_it() {
        let mut said = Said::until(vec!["city".to_owned()]);
        let call = || {
            let name = "city".to_owned();
            let json = "{\"city\": 1}".to_owned();
            [
                Delta::ToolCall { index: 0, name },
                Delta::ToolArguments { index: 0, json },
            ]
        };
        let mut deltas = vec![content("ci")];
        deltas.extend(call());
        deltas.push(content("ty"));
        let mut admitted = said.admit(deltas.clone());
        said.finish(&mut admitted);
        assert_eq!((admitted, said.stop()), (deltas, None));
        // What follows a stop text is nobody's call.
        assert_eq!(said.admit(vec![content("a city")]), [content("a ")]);
        assert_eq!(said.admit(call().to_vec()), []);
    }
}
