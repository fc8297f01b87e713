//! The roster of a gateway that is alone: in this process's memory.

use std::collections::{BTreeMap, HashMap};

use futures::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;

use super::roster::{Query, Reading, Roster, Write};
use super::{Listing, Member};
use crate::clock::Millis;
use crate::error::LogError;
use crate::room::RoomId;

/// A roster in memory. Leases never end: whoever would see that ends with the gateway itself.
#[derive(Default)]
pub struct MemoryRoster {
    rooms: Mutex<HashMap<RoomId, Part>>,
}

#[derive(Default)]
struct Part {
    version: u64,
    members: BTreeMap<String, Option<String>>,
}

impl MemoryRoster {
    fn change(&self, room: &RoomId, write: &Write) -> bool {
        let mut rooms = self.rooms.lock();
        let part = rooms.entry(room.clone()).or_default();
        if write.whole {
            part.members.clear();
        } else if part.version != write.before {
            return false;
        }
        part.members.extend(write.add.iter().map(|each| (each.session.clone(), each.user.clone())));
        for session in &write.remove {
            part.members.remove(session);
        }
        part.version = write.version;
        if part.members.is_empty() {
            rooms.remove(room);
        }
        true
    }

    fn list(&self, room: &RoomId, query: Query) -> Reading {
        let rooms = self.rooms.lock();
        let Some(part) = rooms.get(room) else { return Reading::default() };
        let count = part.members.len();
        let named = if count <= query.most || query.partial { query.most } else { 0 };
        let member =
            |(session, user): (&String, &Option<String>)| Member { session: session.clone(), user: user.clone() };
        let members = part.members.iter().take(named).map(member).collect();
        Reading { listing: Listing { members, count }, own_version: Some(part.version), first_expiry: None }
    }
}

impl Roster for MemoryRoster {
    fn write<'a>(&'a self, room: &'a RoomId, write: &'a Write) -> BoxFuture<'a, Result<bool, LogError>> {
        ready(Ok(self.change(room, write))).boxed()
    }

    fn renew<'a>(&'a self, room: &'a RoomId, version: u64, _lease: Millis) -> BoxFuture<'a, Result<bool, LogError>> {
        ready(Ok(self.rooms.lock().get(room).is_some_and(|part| part.version == version))).boxed()
    }

    fn read<'a>(&'a self, room: &'a RoomId, query: Query) -> BoxFuture<'a, Result<Reading, LogError>> {
        ready(Ok(self.list(room, query))).boxed()
    }
}
