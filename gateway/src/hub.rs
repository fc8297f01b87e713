//! Which shards have members in which rooms. Takes a log's entries and gives each to those shards, encoded once. Knows
//! nothing of sockets, and does not decide who may be in a room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, broadcast};

use crate::entry::{Delivery, Entry, EntryId};
use crate::error::LogError;
use crate::log::{Feed, Log, Signal, Token};
use crate::protocol::Reason;
use crate::room::RoomId;
use crate::shard::Connection;
use crate::socket::{self, Command, Shards};

/// Signals kept for those who listen slowly.
const SIGNALS: usize = 4096;

/// The rooms that have local members.
pub struct Hub {
    shards: Arc<Shards>,
    log: OnceLock<Arc<dyn Log>>,
    rooms: Mutex<HashMap<RoomId, Arc<Room>>>,
    next_token: AtomicU64,
    subscriptions: AtomicU64,
    signals: broadcast::Sender<Signal>,
}

struct Room {
    /// The id as all members here share it.
    id: RoomId,
    token: Token,
    watched: OnceCell<()>,
    state: Mutex<RoomState>,
}

#[derive(Default)]
struct RoomState {
    /// Everything up to here was given to the members of the time.
    position: EntryId,
    /// Memberships by shard, those under way included.
    members: Vec<u32>,
    /// No longer in the table of rooms.
    retired: bool,
}

impl RoomState {
    fn is_empty(&self) -> bool {
        self.members.iter().all(|count| *count == 0)
    }
}

impl Hub {
    /// A hub without rooms. It needs a log before anyone joins: see [`Hub::attach`].
    pub fn new(shards: Arc<Shards>) -> Self {
        Self {
            shards,
            log: OnceLock::new(),
            rooms: Mutex::default(),
            next_token: AtomicU64::new(1),
            subscriptions: AtomicU64::new(0),
            signals: broadcast::Sender::new(SIGNALS),
        }
    }

    /// Names the log. The log feeds the hub and the hub asks the log, so one of them comes first.
    pub fn attach(&self, log: Arc<dyn Log>) {
        assert!(self.log.set(log).is_ok(), "a hub has one log");
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        self.log.get().expect("a log is attached at the start")
    }

    /// What gateways of the cluster tell from now on. Who listens too slowly misses some: they are hints.
    pub fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Number of rooms with local members.
    pub fn rooms(&self) -> usize {
        self.rooms.lock().len()
    }

    /// Number of memberships.
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Relaxed)
    }

    /// Makes a connection a member of a room, and returns the entry after which its messages begin.
    pub async fn join(&self, room: &RoomId, member: &Arc<Connection>) -> Result<EntryId, LogError> {
        loop {
            let entry = self.room(room);
            let watch = || async {
                let position = self.log().watch(room, entry.token).await?;
                let mut state = entry.state.lock();
                state.position = state.position.max(position);
                Ok(())
            };
            if let Err(error) = entry.watched.get_or_try_init(watch).await {
                self.retire_if_empty(room, &entry);
                return Err(error);
            }
            let mut state = entry.state.lock();
            if state.retired {
                continue;
            }
            // Under the room's lock: what is delivered after this position comes to the shard after this.
            self.add(&mut state, member.inbox.shard);
            member.inbox.send(Command::Enter { room: entry.id.clone(), member: Arc::clone(member) });
            return Ok(state.position);
        }
    }

    /// [`Hub::join`] without a wait, where the room is followed already: called by the member's own shard, which enters it
    /// before it does anything else. The id as all members share it, and the entry after which messages begin; `None`: the
    /// log must be asked.
    pub fn join_at_once(&self, room: &RoomId, shard: usize) -> Option<(RoomId, EntryId)> {
        let entry = self.rooms.lock().get(room).filter(|entry| entry.watched.initialized()).cloned()?;
        let mut state = entry.state.lock();
        if state.retired {
            return None;
        }
        self.add(&mut state, shard);
        Some((entry.id.clone(), state.position))
    }

    fn add(&self, state: &mut RoomState, shard: usize) {
        state.members.resize(self.shards.inboxes().len(), 0);
        state.members[shard] += 1;
        self.subscriptions.fetch_add(1, Relaxed);
    }

    /// A shard ends a membership that was made by [`Hub::join`] or [`Hub::join_at_once`].
    pub fn leave(&self, room: &RoomId, shard: usize) {
        let Some(entry) = self.rooms.lock().get(room).cloned() else { return };
        {
            let mut state = entry.state.lock();
            state.members[shard] -= 1;
            self.subscriptions.fetch_sub(1, Relaxed);
            if !state.is_empty() {
                return;
            }
        }
        self.retire_if_empty(room, &entry);
    }

    fn room(&self, room: &RoomId) -> Arc<Room> {
        let mut rooms = self.rooms.lock();
        let new = || {
            let token = self.next_token.fetch_add(1, Relaxed);
            Arc::new(Room { id: room.clone(), token, watched: OnceCell::new(), state: Mutex::default() })
        };
        Arc::clone(rooms.entry(room.clone()).or_insert_with(new))
    }

    /// Someone who joins at the same time finds the room retired and makes a new one.
    fn retire_if_empty(&self, room: &RoomId, entry: &Arc<Room>) {
        {
            let mut rooms = self.rooms.lock();
            let mut state = entry.state.lock();
            if state.retired || !state.is_empty() {
                return;
            }
            state.retired = true;
            if rooms.get(room).is_some_and(|current| Arc::ptr_eq(current, entry)) {
                rooms.remove(room);
            }
        }
        // Not under the locks: a log may hold its own while it feeds.
        self.log().unwatch(room, entry.token);
    }

    fn find(&self, room: &RoomId, token: Token) -> Option<Arc<Room>> {
        self.rooms.lock().get(room).filter(|entry| entry.token == token).cloned()
    }

    /// Sends a command to every shard with members.
    fn tell(&self, state: &RoomState, command: impl Fn() -> Command) {
        for (inbox, count) in self.shards.inboxes().iter().zip(&state.members) {
            if *count > 0 {
                inbox.send(command());
            }
        }
    }
}

impl Feed for Hub {
    fn entries(&self, room: &RoomId, token: Token, entries: Vec<Entry>) {
        let Some(entry) = self.find(room, token) else { return };
        let mut state = entry.state.lock();
        if let Some(last) = entries.last() {
            state.position = last.id;
        }
        let messages: Arc<[_]> = entries.into_iter().map(|entry| Delivery::new(room.clone(), entry)).collect();
        self.tell(&state, || Command::Deliver { room: room.clone(), messages: Arc::clone(&messages) });
    }

    fn gap(&self, room: &RoomId, token: Token, reason: Reason, position: EntryId) {
        let Some(entry) = self.find(room, token) else { return };
        tracing::warn!(%room, reason = reason.as_str(), %position, "entries were lost to the reader: members are told to resync");
        let mut state = entry.state.lock();
        state.position = position;
        self.tell(&state, || Command::Gap { room: room.clone(), reason, position });
    }

    fn signal(&self, signal: Signal) {
        // Nobody may be listening.
        let _ = self.signals.send(signal);
    }

    fn together(&self, act: &mut dyn FnMut()) {
        socket::together(act);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::{self, Config};
    use crate::log::memory::MemoryLog;
    use crate::protocol::Protocol;
    use crate::shard::Connections;

    #[tokio::test]
    async fn a_room_is_joined_at_once_while_it_is_followed_and_never_before_or_after() {
        let shards = Arc::new(Shards::new(2).unwrap());
        let hub = Arc::new(Hub::new(Arc::clone(&shards)));
        let feed: Arc<dyn Feed> = hub.clone();
        hub.attach(Arc::new(MemoryLog::new(config::share(Config::default()), feed)));
        let connections = Arc::new(Connections::default());
        let place = connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 9, 0).ok().unwrap();
        let member = connections.add(Protocol::V1, place, 1, 0, Arc::clone(&shards.inboxes()[0]));
        let room = RoomId::parse("r").unwrap();
        assert!(hub.join_at_once(&room, 1).is_none(), "where it begins only the log knows");
        assert_eq!((hub.rooms(), hub.subscriptions()), (0, 0));

        let position = hub.join(&room, &member).await.unwrap();
        let (shared, again) = hub.join_at_once(&room, 1).unwrap();
        assert_eq!((again, hub.subscriptions()), (position, 2));
        assert!(std::ptr::eq(shared.as_str(), hub.join_at_once(&room, 1).unwrap().0.as_str()), "one copy for all");
        let id = hub.log().append(&room, &"1".into(), None, 1).await.unwrap();
        assert_eq!(hub.join_at_once(&room, 0).unwrap().1, id, "what was delivered is the past");

        for shard in [0, 1, 1, 0] {
            hub.leave(&room, shard);
        }
        assert_eq!((hub.rooms(), hub.subscriptions()), (0, 0));
        assert!(hub.join_at_once(&room, 1).is_none());
    }
}
