//! Presence: who is in which room. A session is listed only where it asked for it, and costs nothing elsewhere.
//! Knows connections only as somebody to tell.

mod member;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::entry::{Text, frame_cost};
use crate::protocol::{self, Frame};
use crate::room::RoomId;
use crate::shard::{Connection, ConnectionId};
use crate::socket::Item;

pub use member::{Change, Listing, Member};

/// What members of a room are told of its members, encoded once.
#[derive(Debug)]
pub struct Notice {
    /// The room.
    pub room: RoomId,
    /// The frame.
    pub frame: Text,
}

impl Notice {
    /// Members of a room came or left; `count` are there now.
    pub fn new(room: &RoomId, change: Change, members: &[Member], count: usize) -> Arc<Self> {
        let frame = match change {
            Change::Join => Frame::Join { room, members, count },
            Change::Leave => Frame::Leave { room, members, count },
        };
        Arc::new(Self { room: room.clone(), frame: protocol::encode(&frame) })
    }

    /// Bytes that it takes in a queue.
    pub fn cost(&self) -> usize {
        frame_cost(self.frame.as_str().len())
    }
}

/// The members of rooms.
#[derive(Default)]
pub struct Presence {
    rooms: Mutex<HashMap<RoomId, BTreeMap<ConnectionId, (Member, Arc<Connection>)>>>,
}

impl Presence {
    /// Nobody anywhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists a session among a room's members.
    pub fn join(&self, room: &RoomId, connection: &Arc<Connection>, member: Member) {
        let mut rooms = self.rooms.lock();
        let members = rooms.entry(room.clone()).or_default();
        members.insert(connection.id, (member.clone(), Arc::clone(connection)));
        self.tell(members, &Notice::new(room, Change::Join, &[member], members.len()));
    }

    /// Ends that, if it is so.
    pub fn leave(&self, room: &RoomId, connection: ConnectionId) {
        let mut rooms = self.rooms.lock();
        let Some(members) = rooms.get_mut(room) else { return };
        let Some((member, _)) = members.remove(&connection) else { return };
        self.tell(members, &Notice::new(room, Change::Leave, &[member], members.len()));
        if members.is_empty() {
            rooms.remove(room);
        }
    }

    /// Tells a session who is in a room. It comes in its order with the notices.
    pub fn ask(&self, room: &RoomId, connection: &Arc<Connection>, reference: Option<u64>) {
        let rooms = self.rooms.lock();
        let members: Vec<_> = rooms.get(room).into_iter().flatten().map(|(_, (member, _))| member.clone()).collect();
        let listing = Arc::new(Listing { count: members.len(), members });
        let item = Item::Presence { reference, room: room.clone(), result: Ok(listing) };
        connection.tell(item);
    }

    fn tell(&self, members: &BTreeMap<ConnectionId, (Member, Arc<Connection>)>, notice: &Arc<Notice>) {
        for (_, connection) in members.values() {
            connection.tell(Item::Notice(Arc::clone(notice)));
        }
    }
}
