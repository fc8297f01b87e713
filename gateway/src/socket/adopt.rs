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
    /// A new session, and bytes that came with the handshake.
    New(Box<Session>, Bytes),
    /// A session that goes on.
    Frozen(Box<Frozen>),
}

/// Serves a new connection. `read` are bytes that came after its handshake.
pub(crate) fn begin(shared: &Arc<Shared>, stream: Stream<TcpStream>, session: Session, place: Place, read: Bytes) {
    give(shared, stream, place, Carried::New(Box::new(session), read));
}

/// Carries a connection on.
pub fn carry_on(shared: &Arc<Shared>, frozen: Frozen, stream: TcpStream, place: Place) {
    let place = place.through(frozen.via.clone());
    give(shared, stream.into(), place, Carried::Frozen(Box::new(frozen)));
}

fn give(shared: &Arc<Shared>, stream: Stream<TcpStream>, place: Place, carried: Carried) {
    let inbox = shared.shards.choose();
    let session = match &carried {
        Carried::New(session, _) => &**session,
        Carried::Frozen(frozen) => &frozen.session,
    };
    let protocol = session.protocol;
    let handle = shared.connections.add(protocol, place, session.number, clock::now(), Arc::clone(&inbox));
    shared.metrics.opened(protocol);
    tracing::debug!(session = session.id(), peer = %handle.address(), ?protocol, "session begins");
    inbox.send(Command::Adopt(Box::new(Adoption { stream, handle, carried })));
}
