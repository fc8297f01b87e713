//! How a connection comes to a shard: after its handshake, or from another process that let go of it.

use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;

use super::freeze::Frozen;
use super::inbox::Command;
use super::stream::Stream;
use crate::clock;
use crate::session::Session;
use crate::shard::{Connection, Place};
use crate::shared::Shared;

/// A connection for a shard.
pub struct Adoption {
    pub(super) stream: Stream<TcpStream>,
    pub(super) handle: Arc<Connection>,
    pub(super) carried: Carried,
}

/// What a connection brings along.
pub(super) enum Carried {
    /// A new session.
    New(Box<Opening>),
    /// A session that goes on.
    Frozen(Box<Frozen>),
}

/// A session that begins.
pub(crate) struct Opening {
    pub(crate) session: Session,
    /// The answer to its handshake, still to be sent.
    pub(crate) answer: Bytes,
    /// What came after its handshake.
    pub(crate) read: Bytes,
}

#[cfg(test)]
impl From<Session> for Opening {
    /// One whose handshake was answered.
    fn from(session: Session) -> Self {
        Self { session, answer: Bytes::new(), read: Bytes::new() }
    }
}

/// Serves a new connection.
pub(crate) fn begin(shared: &Arc<Shared>, stream: Stream<TcpStream>, opening: Opening, place: Place) {
    give(shared, stream, place, Carried::New(Box::new(opening)));
}

/// Carries a connection on.
pub fn carry_on(shared: &Arc<Shared>, frozen: Frozen, stream: TcpStream, place: Place) {
    let place = place.through(frozen.via.clone());
    give(shared, stream.into(), place, Carried::Frozen(Box::new(frozen)));
}

fn give(shared: &Arc<Shared>, stream: Stream<TcpStream>, place: Place, carried: Carried) {
    let inbox = shared.shards.choose();
    let session = match &carried {
        Carried::New(opening) => &opening.session,
        Carried::Frozen(frozen) => &frozen.session,
    };
    let protocol = session.protocol;
    let handle = shared.connections.add(protocol, place, session.number, clock::now(), Arc::clone(&inbox));
    shared.metrics.opened(protocol);
    tracing::debug!(session = session.id(), peer = %handle.address(), ?protocol, "session begins");
    inbox.send(Command::Adopt(Box::new(Adoption { stream, handle, carried })));
}
