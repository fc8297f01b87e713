//! What the connections of one shard share while one of them is being stepped.

use std::sync::Arc;
use std::task::{self, Poll, Waker};

use futures::FutureExt;

use super::inbox::{Command, Inbox};
use super::operations::Operation;
use super::rooms::{Rooms, Slot};
use super::wheel::Wheel;
use crate::clock::Millis;
use crate::config::InForce;
use crate::room::RoomId;
use crate::shard::Connection;
use crate::shared::Shared;

/// The shard, as its connections see it.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    /// The settings in force in this turn.
    pub(super) config: Arc<InForce>,
    /// When this turn began.
    pub(super) now: Millis,
    pub(super) inbox: Arc<Inbox>,
    pub(super) rooms: Rooms,
    pub(super) wheel: Wheel,
    /// Connections that have something to write.
    pub(super) dirty: Vec<Slot>,
    /// Connections that have bytes to read which were not asked for yet.
    pub(super) ready: Vec<Slot>,
    /// Connections that have ended, to be removed at the end of the turn, and why.
    pub(super) gone: Vec<(Slot, &'static str)>,
    /// Connections are about to be let go of: nothing more is begun for them.
    pub(super) freezing: bool,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Context {
    /// Runs what a session asked for. The connection is told when it is done, if it still is there. Begun at once, in
    /// this thread: what a client publishes gets its place in the log in the order in which it was sent.
    pub(super) fn spawn(&self, connection: &Arc<Connection>, mut operation: Operation) {
        let connection = Arc::clone(connection);
        let _within = self.runtime.enter();
        match operation.poll_unpin(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => self.inbox.send(Command::Done(connection, event)),
            Poll::Pending => drop(self.runtime.spawn(async move {
                let event = operation.await;
                Arc::clone(&connection.inbox).send(Command::Done(connection, event));
            })),
        }
    }

    /// Ends a membership, if there is one.
    pub(super) fn leave(&mut self, room: &RoomId, slot: Slot) {
        if self.rooms.leave(room, slot) {
            self.shared.hub.leave(room, self.inbox.shard);
        }
    }
}
