//! The stream of one answer: its events in order up to the last word, and what its reader may say
//! back meanwhile. It must not know how a request got into the engine.

use std::future::poll_fn;
use std::sync::mpsc as inbox;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use crate::command::Command;
use crate::error::GenerateError;
use crate::params::{Event, Finish, SamplingPatch};

/// The stream of one answer. Dropping it cancels the generation by the engine's next step.
#[derive(Debug)]
pub struct Generation {
    id: u64,
    prompt_tokens: usize,
    events: mpsc::Receiver<Event>,
    commands: inbox::Sender<Command>,
    ended: bool,
}

impl Generation {
    /// The stream of a request that is on its way to the engine.
    pub(super) fn new(
        id: u64,
        prompt_tokens: usize,
        events: mpsc::Receiver<Event>,
        commands: inbox::Sender<Command>,
    ) -> Self {
        Self {
            id,
            prompt_tokens,
            events,
            commands,
            ended: false,
        }
    }

    /// Tokens of the prompt, known before anything is computed.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// The next event; `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) for those who wait for several things at once.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.events.poll_recv(cx));
        Poll::Ready(Some(self.note(event)))
    }

    /// [`next`](Self::next) for threads outside an async runtime.
    pub fn next_blocking(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        Some(self.note(event))
    }

    /// The next event if one is already there.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        match self.events.try_recv() {
            Ok(event) => Some(self.note(Some(event))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.note(None)),
        }
    }

    /// Ends the answer as it stands: the stream closes with `Finished` and `Cancelled`.
    pub fn stop(&self) {
        // An engine that is gone has said so, or will, in the stream itself.
        let _ = self.commands.send(Command::Stop { id: self.id });
    }

    /// Changes how the following tokens are sampled. The caller has validated the values.
    pub fn update(&self, patch: SamplingPatch) {
        // As in `stop`.
        let _ = self.commands.send(Command::Update { id: self.id, patch });
    }

    /// Waits for the end and returns the whole text with the last word.
    pub async fn collect(mut self) -> Result<(String, Finish), GenerateError> {
        let mut whole = String::new();
        loop {
            match self.next().await {
                Some(Event::Text { text, .. }) => whole.push_str(&text),
                Some(Event::Finished(finish)) => return Ok((whole, finish)),
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(GenerateError::EngineStopped),
            }
        }
    }

    /// Turns the end of the channel without a last word into one, so that a stream is never cut
    /// in silence.
    fn note(&mut self, event: Option<Event>) -> Event {
        let event = event.unwrap_or(Event::Failed(GenerateError::EngineStopped));
        self.ended = matches!(event, Event::Finished(_) | Event::Failed(_));
        event
    }
}
