//! What handles send to an engine's thread: a closed set, each with its way back. It must not know
//! what becomes of it there.

use std::io;
use std::sync::mpsc as inbox;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::constraint::Follower;
use crate::error::GenerateError;
use crate::params::{Event, PreparedRequest, SamplingPatch};
use crate::runner::{AdapterId, LoadedAdapter, Token};
use crate::shared::Place;
use crate::store::Entry;

/// Commands to the engine thread.
pub(crate) enum Command {
    Submit(Box<Submission>),
    Update {
        id: u64,
        patch: SamplingPatch,
    },
    Stop {
        id: u64,
    },
    AddAdapter {
        adapter: LoadedAdapter,
        reply: oneshot::Sender<Result<AdapterId, String>>,
    },
    /// What a prefix on disk holds, for those who wait for it.
    Fetched {
        entry: Entry,
        state: io::Result<Vec<u8>>,
    },
    UnloadAdapter {
        id: AdapterId,
        reply: oneshot::Sender<bool>,
    },
    Embed(Box<EmbedJob>),
    Shutdown,
}

/// Texts to make vectors of.
pub(crate) struct EmbedJob {
    pub(crate) texts: Vec<Vec<Token>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<f32>>, GenerateError>>,
    pub(crate) submitted: Instant,
    /// The time that it has in all.
    pub(crate) deadline: Option<Duration>,
    /// As in [`Submission`].
    pub(crate) place: Place,
}

/// A request on its way into the engine, with the way back.
pub(crate) struct Submission {
    pub(crate) id: u64,
    pub(crate) request: PreparedRequest,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) submitted: Instant,
    pub(crate) constraint: Option<Follower>,
    /// The way into the engine for what others do for this request.
    pub(crate) back: inbox::Sender<Command>,
    /// Counts this request as in the engine until it is dropped.
    pub(crate) place: Place,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Submit(_) => "Submit",
            Command::Update { .. } => "Update",
            Command::Stop { .. } => "Stop",
            Command::AddAdapter { .. } => "AddAdapter",
            Command::Fetched { .. } => "Fetched",
            Command::UnloadAdapter { .. } => "UnloadAdapter",
            Command::Embed(_) => "Embed",
            Command::Shutdown => "Shutdown",
        })
    }
}
