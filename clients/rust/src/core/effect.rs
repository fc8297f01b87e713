//! What goes into the core and what comes out of it. Plain data.

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;

use crate::{Event, History, Listing, MessageId, PublishError, RequestError};

/// The core's name for a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u32);

/// The driver's name for a publish whose answer somebody waits for.
pub(crate) type Token = u64;

/// A publish that has no answer yet.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) room: Arc<str>,
    pub(crate) payload: Box<RawValue>,
    /// The gateway writes it once, however often it is sent with this key.
    pub(crate) key: String,
    /// When it was sent for the first time.
    pub(crate) first_sent: Option<Duration>,
}

/// What the application wants to know.
#[derive(Debug)]
pub(crate) enum Question {
    Presence { room: Arc<str> },
    History { room: Arc<str>, before: Option<MessageId>, limit: Option<usize> },
}

/// What it is told.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Presence(Listing),
    History(History),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The handshake got no answer, or this HTTP status.
    Refused { status: Option<u16>, reason: String },
    /// It was closed with a code, or broke without one.
    Closed { code: Option<u16>, reason: String },
}

/// What the driver has to do, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start a handshake.
    Open(LinkId),
    /// Write a text frame.
    Send(LinkId, String),
    /// Say goodbye with 1000 and let the connection go.
    Leave(LinkId),
    /// Drop the connection: nobody answers there.
    Abort(LinkId),
    /// Tell the application.
    Emit(Event),
    /// Answer whoever waits for this publish.
    Published(Token, Result<MessageId, PublishError>),
    /// Answer whoever has asked.
    Answered(Token, Result<Answer, RequestError>),
    /// Get another token for this connection.
    Refresh(LinkId),
    /// The session is over.
    Finish,
}

/// How long to be patient, and how to retry.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) backoff: crate::Backoff,
    /// From the start of a handshake to `welcome`.
    pub(crate) connect_timeout: Duration,
    /// A connection that lived for this long makes earlier failures forgotten.
    pub(crate) stable_after: Duration,
    /// Publishes that may wait for a connection.
    pub(crate) queue: usize,
    /// There is someone to ask for a token.
    pub(crate) tokens: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backoff: crate::Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
            queue: 1000,
            tokens: false,
        }
    }
}
