//! The log of a room: what a backend must do. Rooms, connections and frames are unknown here.

pub mod continuity;
pub mod memory;
pub mod redis;
mod signal;

#[cfg(test)]
mod conformance;

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

use crate::clock::Millis;
use crate::config::Trim;
use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::idempotency::IdempotencyKey;
use crate::protocol::Reason;
use crate::room::RoomId;

pub use continuity::StreamState;
pub use signal::Signal;

/// Identifies one act of watching, so that a late `unwatch` does not end a newer one.
pub type Token = u64;

/// A backend. Futures may be dropped at any time.
pub trait Log: Send + Sync + 'static {
    /// Writes an entry, trims the room and renews its expiry. The id is greater than every id of the room before it.
    /// With a `key` that was used for this room within the last [`crate::idempotency::REMEMBERED`] milliseconds nothing
    /// is written, and the id is the one of then. Entries are written in the order of calls; the answer may be given
    /// before this returns.
    fn append_then(&self, room: RoomId, payload: Text, key: Option<IdempotencyKey>, now: Millis, answer: Answer);

    /// [`Log::append_then`] for who can wait. The place in the order is that of the call, however it is awaited.
    fn append<'a>(
        &'a self,
        room: &RoomId,
        payload: &Text,
        key: Option<&IdempotencyKey>,
        now: Millis,
    ) -> BoxFuture<'a, Result<EntryId, LogError>> {
        let (answer, answered) = oneshot::channel();
        let answer = Answer::new(move |result| drop(answer.send(result)));
        self.append_then(room.clone(), payload.clone(), key.cloned(), now, answer);
        async move { answered.await.unwrap_or_else(|_| Err(Answer::stopped())) }.boxed()
    }

    /// The oldest entries after `after`, oldest first, at most `limit`.
    fn read_after<'a>(
        &'a self,
        room: &'a RoomId,
        after: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>>;

    /// The newest entries before `before`, oldest first, at most `limit`.
    fn read_before<'a>(
        &'a self,
        room: &'a RoomId,
        before: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>>;

    /// What is known of a room's stream; `None` where there is none.
    fn state<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Option<StreamState>, LogError>>;

    /// Removes the oldest entries as `trim` says; returns how many.
    fn trim<'a>(&'a self, room: &'a RoomId, trim: &'a Trim, now: Millis) -> BoxFuture<'a, Result<u64, LogError>>;

    /// A page of the rooms that have a stream, and where the next page begins; `None` there is the end. `limit` is
    /// about how many: Redis may return somewhat more, fewer while there are more pages, or a room twice
    /// (<https://redis.io/docs/latest/commands/scan/>).
    fn rooms(&self, cursor: Option<String>, limit: usize) -> BoxFuture<'_, Result<RoomPage, LogError>>;

    /// Tells every gateway of the cluster, this one included. A hint: it may be lost.
    fn signal<'a>(&'a self, signal: &'a Signal) -> BoxFuture<'a, Result<(), LogError>>;

    /// Begins to feed a room's entries, and returns the id after which they begin. A later `watch` of the same room
    /// replaces an earlier one.
    fn watch<'a>(&'a self, room: &'a RoomId, token: Token) -> BoxFuture<'a, Result<EntryId, LogError>>;

    /// Ends feeding a room, if `token` is its newest.
    fn unwatch(&self, room: &RoomId, token: Token);

    /// Ends everything that works in the background.
    fn stop(&self) {}

    /// How it goes.
    fn health(&self) -> Health;
}

/// Who is told how an append went: once, also where the log ends first.
pub struct Answer(Option<Box<Answered>>);

type Answered = dyn FnOnce(Result<EntryId, LogError>) + Send;

impl Answer {
    /// Calls `then`, in whatever thread knows first. It must not wait.
    pub fn new(then: impl FnOnce(Result<EntryId, LogError>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// Tells.
    pub fn give(mut self, result: Result<EntryId, LogError>) {
        if let Some(then) = self.0.take() {
            then(result);
        }
    }

    fn stopped() -> LogError {
        LogError::Unavailable("the gateway stops".into())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(Self::stopped()));
        }
    }
}

/// Rooms, and the cursor of the next page.
pub type RoomPage = (Vec<RoomId>, Option<String>);

/// Takes what a log feeds. Entries of a room come in order, each once.
pub trait Feed: Send + Sync + 'static {
    /// New entries of a watched room, oldest first; the last one's id is the room's position from now on.
    fn entries(&self, room: &RoomId, token: Token, entries: Vec<Entry>);
    /// Entries of a watched room were lost to the reader; feeding goes on after `position`.
    fn gap(&self, room: &RoomId, token: Token, reason: Reason, position: EntryId);
    /// A gateway of the cluster, perhaps this one, tells something.
    fn signal(&self, signal: Signal);
    /// Calls `act`, which tells several things at once: nobody need be woken for each.
    fn together(&self, act: &mut dyn FnMut()) {
        act();
    }
}

/// How a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Keyspace notifications say which rooms to read.
    Notifications,
    /// Rooms are polled in partitions.
    Partitions,
    /// In this process.
    Embedded,
}

impl Mode {
    /// As in metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notifications => "notifications",
            Self::Partitions => "partitions",
            Self::Embedded => "embedded",
        }
    }
}

/// How it goes with a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// It answers.
    pub connected: bool,
    /// Time since the last successful read, in seconds.
    pub seconds_since_read: f64,
    /// How it is read.
    pub mode: Mode,
}
