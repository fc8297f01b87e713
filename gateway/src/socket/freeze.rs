//! A connection written down at a frame boundary, so that another process can carry it on with the same socket.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::connection::Conn;
use crate::affinity::wire::Via;
use crate::codec::{Decoder, Incoming};
use crate::outbox::Unsent;
use crate::session::Session;

/// Everything about a connection. Its socket goes beside what is written down, as a file descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Frozen {
    /// What it subscribed to, its cursors, its limits.
    pub session: Session,
    /// A frame that is half read.
    pub(super) decoder: Decoder,
    /// What was not sent yet.
    pub(super) unsent: Unsent,
    /// What the client sent and was not done yet.
    pub(super) pending: Vec<String>,
    /// The way it came, if that was through another gateway.
    #[serde(default)]
    pub(super) via: Option<Via>,
    /// The socket, where it was let go of.
    #[serde(skip)]
    pub stream: Option<TcpStream>,
}

impl Conn {
    /// Whether another process can carry it on. Not over TLS: its keys cannot be written down.
    pub(super) fn is_portable(&self) -> bool {
        !self.stream.is_secured()
    }

    /// Whether it can be written down: nothing is under way whose answer would be lost.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight == 0 || self.is_ending() || !self.is_portable()
    }

    /// Writes a portable connection down and lets go of it.
    pub(super) fn freeze(self: Box<Self>) -> Frozen {
        let Self { stream, session, decoder, outbox, rare, handle, .. } = *self;
        let text = |incoming| if let Incoming::Text(text) = incoming { Some(text.as_str().to_owned()) } else { None };
        Frozen {
            session,
            decoder,
            unsent: outbox.into(),
            pending: rare.map(|rare| rare.pending.into_iter().filter_map(text).collect()).unwrap_or_default(),
            via: handle.via.as_deref().cloned(),
            stream: stream.into_plain().map(|stream| OwnedFd::from(stream).into()),
        }
    }
}
