//! What goes into the core and what comes out of it. Plain data.

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;

use crate::{Event, MessageId, PublishError};

/// The core's name for a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u32);

/// The driver's name for a publish whose answer somebody waits for.
pub(crate) type Token = u64;

/// A publish on its way out.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) token: Token,
    pub(crate) room: Arc<str>,
    pub(crate) payload: Box<RawValue>,
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backoff: crate::Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
        }
    }
}
