//! What can happen to a session, and what it then wants done.

use std::sync::Arc;

use crate::auth::{Identity, Refused, Token};
use crate::clock::Millis;
use crate::entry::{Delivery, Entry, EntryId, Text};
use crate::idempotency::IdempotencyKey;
use crate::log::continuity::Position;
use crate::presence::{Listing, Member, Notice};
use crate::protocol::{Code, Protocol, Reason, Refusal, Request};
use crate::room::RoomId;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The connection is there. First of all events, once.
    Opened {
        /// Name of the gateway.
        node: Arc<str>,
    },
    /// A text frame.
    Text(Text),
    /// A request, understood already.
    Request(Request),
    /// A frame that is not text.
    Binary,
    /// A message longer than allowed, which was not read.
    TooLarge,
    /// A `Join` is done.
    Joined {
        /// The room.
        room: RoomId,
        /// After which entry live messages begin.
        position: EntryId,
        /// What it has missed, if the client named a cursor.
        replay: Option<Replay>,
    },
    /// A `ReadOn` is done.
    ReadOn {
        /// The room.
        room: RoomId,
        /// What comes next; `None`: the log is away.
        passage: Option<Passage>,
    },
    /// The client can take more of what it has missed.
    Roomy,
    /// A `Join` failed.
    JoinFailed {
        /// The room.
        room: RoomId,
        /// Why.
        refusal: Refusal,
    },
    /// An `Authenticate` is done.
    Authenticated(Result<Identity, Refused>),
    /// A `Publish` is done.
    Published {
        /// The client's number.
        reference: Option<u64>,
        /// The entry, or why there is none.
        result: Result<EntryId, Refusal>,
    },
    /// A `ReadHistory` is done.
    HistoryRead {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Entries, oldest first, and whether there are older ones.
        result: Result<(Vec<Entry>, bool), Refusal>,
    },
    /// A message of a room. The caller keeps messages back while `joining`.
    Message(Arc<Delivery>),
    /// A room may have a hole.
    Gap {
        /// The room.
        room: RoomId,
        /// Why.
        reason: Reason,
        /// Where it goes on.
        position: EntryId,
    },
    /// Members of a room came or left.
    Notice(Arc<Notice>),
    /// A `ReadPresence` is done.
    PresenceRead {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Its members.
        result: Result<Arc<Listing>, Refusal>,
    },
    /// The gateway is being drained.
    Drain {
        /// The client shall wait so long, in milliseconds.
        retry_after_ms: Millis,
        /// The connection is closed in so many milliseconds.
        deadline_ms: Millis,
    },
    /// The drain was cancelled.
    DrainCancelled,
    /// The drain's deadline has come.
    DrainForced,
    /// The client did not keep up, and the connection must go.
    Overflowed,
    /// The client did not keep up: the messages that waited for it were dropped.
    Dropped,
    /// Another process has carried the connection here. In place of `Opened`.
    CarriedOn,
    /// The gateway stops.
    GoingAway,
    /// A backend ended the session.
    Kicked,
    /// A pong came.
    Pong,
    /// Time has passed: see `wake_at`.
    Tick,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The client is to get it.
    Fresh,
    /// The client has it, or is not in the room.
    Known,
    /// What comes before it is still being read: to be kept back, or passed over.
    Early,
    /// The client is too far behind.
    TooFar,
}

/// What a client has missed in a room.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Nothing is missing: proven.
    pub recovered: bool,
    /// The client's cursor is newer than everything that the log ever held.
    pub reset: bool,
    /// Number of messages.
    pub count: usize,
    /// What it has missed comes after this.
    pub begin: Position,
    /// The last entry of it.
    pub end: EntryId,
    /// Bytes of a payload, about.
    pub typical: usize,
    /// What comes first, where it is at hand already.
    pub first: Option<Passage>,
}

/// Messages that a client is given at once, of those that it has missed.
#[derive(Clone, Debug)]
pub struct Passage {
    /// What comes after this entry.
    pub after: EntryId,
    /// Something is missing between the two: why, and after which entry the messages come.
    pub hole: Option<(Reason, EntryId)>,
    /// The messages, oldest first.
    pub messages: Vec<Arc<Delivery>>,
    /// Where a client stands that has them.
    pub end: Position,
    /// There were no more when they were read.
    pub complete: bool,
}

impl Passage {
    /// What comes next for a client that stands at `begin`, with nothing missing.
    pub fn new(begin: Position, messages: Vec<Arc<Delivery>>) -> Self {
        let count = messages.len() as u64;
        let end = messages.last().map_or(begin, |last| begin.advanced(last.entry.id, count));
        Self { after: begin.id, hole: None, messages, end, complete: false }
    }

    /// Leaves out what does not fit into `most` bytes of frames; one message stays.
    pub fn shorten(&mut self, protocol: Protocol, most: usize) {
        let mut bytes = 0;
        let fits = |message: &&Arc<Delivery>| {
            bytes += message.cost(protocol);
            bytes <= most
        };
        let kept = self.messages.iter().take_while(fits).count().max(1);
        let left_out = self.messages.len().saturating_sub(kept);
        if left_out == 0 {
            return;
        }
        self.messages.truncate(kept);
        let last = self.messages.last().map_or(self.after, |last| last.entry.id);
        let added = self.end.added.and_then(|added| added.checked_sub(left_out as u64));
        (self.end, self.complete) = (Position { id: last, added }, false);
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write a frame.
    Send(Text),
    /// Write a message.
    Deliver(Arc<Delivery>),
    /// Write a ping.
    Ping,
    /// Follow a room, and see what came after `since`. Answer with `Joined` or `JoinFailed`.
    Join {
        /// The room.
        room: RoomId,
        /// The client's cursor.
        since: Option<EntryId>,
    },
    /// Read the next messages for a client that stands at `at`. Answer with `ReadOn`.
    ReadOn {
        /// The room.
        room: RoomId,
        /// The last entry that the client was given.
        at: Position,
        /// Bytes of a payload, about.
        typical: usize,
    },
    /// Have a token checked. Answer with `Authenticated`.
    Authenticate(Token),
    /// Leave a room.
    Leave(RoomId),
    /// Write to a room. Answer with `Published`.
    Publish {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// The payload.
        payload: Text,
        /// Write it once, however often it is asked for with this key.
        key: Option<IdempotencyKey>,
    },
    /// Read back. Answer with `HistoryRead`.
    ReadHistory {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Entries before this one.
        before: EntryId,
        /// At most so many.
        limit: usize,
    },
    /// List the session among a room's members, and tell it who comes and leaves.
    Appear {
        /// The room.
        room: RoomId,
        /// As whom.
        member: Member,
    },
    /// End that.
    Disappear(RoomId),
    /// Ask who is in a room. Answer with `PresenceRead`.
    ReadPresence {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
    },
    /// Count a refused request.
    Refused(Code),
    /// Count a resume and how it went.
    Resumed(bool),
    /// Count a session that came back, and whether it got everything that it had missed.
    Restored(bool),
    /// Count a resync.
    Resynced(Reason),
    /// Close the connection. Last of all effects.
    Close(Closing),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The close code (RFC 6455 section 7.4).
    pub code: u16,
    /// Why, as in the metrics' label `reason` and the close frame.
    pub reason: &'static str,
}

impl Closing {
    pub(super) const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}
