//! What the application gets to know. Plain data; it does not know how it came about.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::MessageId;

/// One thing that happened to the session, in order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection took over the session: the first one, or one after a break.
    Connected {
        /// The gateway's name.
        node: String,
        /// The gateway's name for this connection.
        session: String,
    },
    /// A room's subscription was confirmed for the first time: every entry after `position` will be delivered.
    Subscribed {
        /// The room.
        room: Arc<str>,
        /// The cursor that the session counts from.
        position: MessageId,
    },
    /// The gateway refused to subscribe a room, for good. The session no longer wants it.
    SubscribeFailed {
        /// The room.
        room: Arc<str>,
        /// The protocol's stable error code.
        code: String,
        /// For a person.
        message: String,
    },
    /// A message of a room; ids within a room only ever grow.
    Message {
        /// The room.
        room: Arc<str>,
        /// The id of the stream's entry.
        id: MessageId,
        /// The writer's clock, in milliseconds since the Unix epoch; 0 when the entry has none.
        timestamp: u64,
        /// The payload as it was written.
        payload: Box<RawValue>,
    },
    /// A gateway sent, on one connection, an entry that it had sent there before or one older than that.
    /// It is not part of the session's messages: an application ignores it, a checker counts it.
    Repeated {
        /// The room.
        room: Arc<str>,
        /// The id of the stream's entry.
        id: MessageId,
        /// The payload as it was written.
        payload: Box<RawValue>,
    },
    /// The room went on from its cursor on another connection, and the gateway proved that nothing is missing.
    Recovered {
        /// The room.
        room: Arc<str>,
        /// How many messages the gateway replayed (some may have been seen already).
        replayed: u64,
    },
    /// What the application holds of the room may have a hole: fetch a snapshot.
    Resync {
        /// The room.
        room: Arc<str>,
        /// Why, as a stable string.
        reason: String,
    },
    /// Who is in a room that was subscribed with presence: all members as they are now, whatever was told before. Comes
    /// after every change of connection.
    Presence {
        /// The room.
        room: Arc<str>,
        /// The members; not all of them in a large room.
        members: Vec<Member>,
        /// How many there are.
        count: u64,
    },
    /// Members came into a room that was subscribed with presence. One that is known already may be among them.
    Join {
        /// The room.
        room: Arc<str>,
        /// Who; nobody is named in a large room.
        members: Vec<Member>,
        /// How many there are now.
        count: u64,
    },
    /// Members left a room that was subscribed with presence.
    Leave {
        /// The room.
        room: Arc<str>,
        /// Who; nobody is named in a large room.
        members: Vec<Member>,
        /// How many there are now.
        count: u64,
    },
    /// The gateway asks the session to move.
    Drain {
        /// How long it wants us to wait before we open the next connection.
        retry_after: Duration,
        /// How long it will keep this connection.
        deadline: Duration,
    },
    /// The gateway no longer asks for that: the session stays.
    DrainCancelled,
    /// The session changed its connection with no interruption.
    Moved {
        /// The gateway that was left.
        from: String,
        /// The gateway that serves now.
        to: String,
    },
    /// The connection ended before another had taken over.
    Disconnected {
        /// The close code; none when the connection broke without one.
        code: Option<u16>,
        /// The close reason, or what broke.
        reason: String,
        /// Whether a drain notice had come before.
        announced: bool,
        /// Whether the session goes on: by another connection that is there already, or by a new one.
        will_return: bool,
    },
    /// A connection could not be established.
    ConnectFailed {
        /// What went wrong.
        reason: String,
        /// When the next attempt follows; none when there will not be one.
        retry_in: Option<Duration>,
    },
    /// The gateway reported an error that belongs to no request.
    Error {
        /// The protocol's stable error code.
        code: String,
        /// For a person.
        message: String,
    },
    /// The session is over; nothing follows.
    Closed {
        /// Why.
        reason: String,
    },
}

/// A member of a room: one session that asked to be listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Member {
    /// The gateway's name for its connection.
    pub session: String,
    /// Who it is, by its token.
    #[serde(default)]
    pub user: Option<String>,
}

/// Who is in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The members; not all of them in a large room.
    pub members: Vec<Member>,
    /// How many there are.
    pub count: u64,
}

/// A page of a room's past, oldest first.
#[derive(Debug, Clone)]
pub struct History {
    /// The messages.
    pub messages: Vec<Past>,
    /// There are older ones: ask with the first id of these as `before`.
    pub more: bool,
}

/// A message of the past.
#[derive(Debug, Clone)]
pub struct Past {
    /// The id of the stream's entry.
    pub id: MessageId,
    /// The writer's clock, in milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// The payload as it was written.
    pub payload: Box<RawValue>,
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        let ids = |page: &Self| page.messages.iter().map(|message| message.id).collect::<Vec<_>>();
        self.more == other.more && ids(self) == ids(other)
    }
}

/// Why a question has no answer. Asking again does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no connection now, or it broke before the answer came.
    #[error("not connected")]
    NotConnected,
    /// The gateway refused.
    #[error("{code}: {message}")]
    Rejected {
        /// The protocol's stable error code.
        code: String,
        /// For a person.
        message: String,
    },
}

/// Why a publish has no id to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The session ended before it was sent, or nothing may wait for a connection (`Builder::queue(0)`).
    #[error("not connected")]
    NotConnected,
    /// As many publishes wait for a connection as may (`Builder::queue`): nothing was sent. Retry later.
    #[error("too many publishes wait for a connection")]
    QueueFull,
    /// It was sent, and the session ended, or minutes passed, before an answer came: it may have been published.
    #[error("no answer came: it may have been published")]
    Uncertain,
    /// The gateway refused: nothing was published, unless `code` is `unavailable`, which leaves it open.
    #[error("{code}: {message}")]
    Rejected {
        /// The protocol's stable error code.
        code: String,
        /// For a person.
        message: String,
    },
}
