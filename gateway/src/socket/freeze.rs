//! A connection written down at a frame boundary, so that another process can carry it on with the same socket.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::connection::Conn;
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
    /// The socket, where it was let go of.
    #[serde(skip)]
    pub stream: Option<TcpStream>,
}

impl Conn {
    /// Whether it can be written down: nothing is under way whose answer would be lost.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight == 0 || self.is_ending()
    }

    /// Writes the connection down and lets go of it.
    pub(super) fn freeze(self: Box<Self>) -> Frozen {
        let Self { stream, session, decoder, outbox, rare, .. } = *self;
        let text = |incoming| if let Incoming::Text(text) = incoming { Some(text.as_str().to_owned()) } else { None };
        Frozen {
            session,
            decoder,
            unsent: outbox.into(),
            pending: rare.map(|rare| rare.pending.into_iter().filter_map(text).collect()).unwrap_or_default(),
            stream: Some(OwnedFd::from(stream).into()),
        }
    }
}
