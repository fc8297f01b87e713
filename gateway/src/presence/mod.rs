//! Presence: who is in which room. A session is listed only where it asked for it, and costs nothing elsewhere. What
//! decides (`room`, `told`) is pure; `worker` does it; a roster keeps what gateways have in common.

mod member;
mod memory;
mod notice;
mod redis;
mod room;
mod roster;
#[cfg(test)]
mod tests;
mod told;
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Millis};
use crate::config;
use crate::error::LogError;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::room::RoomId;
use crate::shard::{Connection, ConnectionId};
use room::Room;

pub use member::{Change, Listing, Member};
pub use memory::MemoryRoster;
pub use notice::Notice;
pub use redis::RedisRoster;
pub use roster::{Query, Reading, Roster, Write};

/// The members of rooms.
pub struct Presence {
    settings: config::Shared,
    roster: Arc<dyn Roster>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    rooms: Mutex<Rooms>,
    /// Something is due earlier than it was.
    wake: Notify,
    /// No room is left.
    empty: Notify,
    stop: CancellationToken,
}

#[derive(Default)]
struct Rooms {
    table: HashMap<RoomId, Entry>,
    /// When there is something to do for which room.
    queue: BTreeSet<(Millis, RoomId)>,
    members: usize,
}

/// A room and who is to be told of it.
#[derive(Default)]
struct Entry {
    room: Room,
    here: HashMap<ConnectionId, Here>,
    asking: Vec<Asking>,
    /// Its turn is under way.
    busy: bool,
    queued: Option<Millis>,
}

struct Here {
    session: String,
    connection: Arc<Connection>,
}

/// Who wants to know who is in a room.
enum Asking {
    /// A session, by its outbox: the answer keeps its order with the notices.
    Session(Arc<Connection>, Option<u64>),
    /// Someone else.
    Call(oneshot::Sender<Result<Arc<Listing>, LogError>>),
}

impl Presence {
    /// Begins to keep the rosters of rooms. Must be called within a tokio runtime.
    pub fn start(settings: config::Shared, roster: Arc<dyn Roster>, hub: Arc<Hub>, metrics: Arc<Metrics>) -> Arc<Self> {
        let presence = Arc::new(Self {
            settings,
            roster,
            hub,
            metrics,
            rooms: Mutex::default(),
            wake: Notify::new(),
            empty: Notify::new(),
            stop: CancellationToken::new(),
        });
        let stop = || presence.stop.clone();
        tokio::spawn(stop().run_until_cancelled_owned(worker::run(Arc::clone(&presence))));
        tokio::spawn(stop().run_until_cancelled_owned(worker::listen(Arc::clone(&presence))));
        presence
    }

    /// Lists a session among a room's members, and tells it who comes and leaves.
    pub fn join(&self, room: &RoomId, connection: &Arc<Connection>, member: Member) {
        self.with(room, |entry| {
            let here = Here { session: member.session.clone(), connection: Arc::clone(connection) };
            entry.here.insert(connection.id, here);
            entry.room.join(member, clock::now());
        });
    }

    /// Ends that, if it is so.
    pub fn leave(&self, room: &RoomId, connection: ConnectionId) {
        self.with(room, |entry| {
            if let Some(here) = entry.here.remove(&connection) {
                entry.room.leave(&here.session, clock::now());
            }
        });
    }

    /// Tells a session who is in a room, through its outbox.
    pub fn ask(&self, room: &RoomId, connection: &Arc<Connection>, reference: Option<u64>) {
        self.with(room, |entry| entry.asking.push(Asking::Session(Arc::clone(connection), reference)));
    }

    /// Who is in a room.
    pub async fn members(&self, room: &RoomId) -> Result<Arc<Listing>, LogError> {
        let (answer, answered) = oneshot::channel();
        self.with(room, |entry| entry.asking.push(Asking::Call(answer)));
        answered.await.unwrap_or_else(|_| Err(LogError::Unavailable("the gateway stops".into())))
    }

    /// Memberships of this gateway's sessions.
    pub fn memberships(&self) -> usize {
        self.rooms.lock().members
    }

    /// Rooms in which sessions of this gateway are listed.
    pub fn rooms(&self) -> usize {
        self.rooms.lock().table.len()
    }

    /// Waits until the roster has nothing of this gateway's, once its sessions have left, but no longer than
    /// `patience`; then ends everything that works in the background.
    pub async fn stop(&self, patience: Duration) {
        let empty = async {
            loop {
                let emptied = self.empty.notified();
                if self.rooms() == 0 {
                    return;
                }
                emptied.await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            tracing::warn!(rooms = self.rooms(), "presence is not cleared: the leases end by themselves");
        }
        self.stop.cancel();
    }

    fn with(&self, room: &RoomId, change: impl FnOnce(&mut Entry)) {
        let mut rooms = self.rooms.lock();
        let entry = rooms.table.entry(room.clone()).or_default();
        let before = entry.room.members();
        change(entry);
        let after = entry.room.members();
        rooms.members = rooms.members + after - before;
        rooms.settle(room);
        let first = rooms.queue.first().map(|(at, _)| *at);
        drop(rooms);
        if first.is_some_and(|at| at <= clock::now()) {
            self.wake.notify_one();
        }
    }
}

impl Rooms {
    /// Queues a room for when there is something to do for it, or forgets it.
    fn settle(&mut self, room: &RoomId) {
        let Some(entry) = self.table.get_mut(room) else { return };
        if let Some(at) = entry.queued.take() {
            self.queue.remove(&(at, room.clone()));
        }
        if entry.busy {
            return;
        }
        entry.queued = entry.room.due(!entry.asking.is_empty());
        match entry.queued {
            Some(at) => drop(self.queue.insert((at, room.clone()))),
            None if entry.room.over() => drop(self.table.remove(room)),
            None => {}
        }
    }

    /// Takes a room for which there is something to do.
    fn take_due(&mut self, now: Millis) -> Option<RoomId> {
        let (at, _) = self.queue.first()?;
        if *at > now {
            return None;
        }
        let (_, room) = self.queue.pop_first()?;
        let entry = self.table.get_mut(&room)?;
        entry.queued = None;
        entry.busy = true;
        Some(room)
    }
}
