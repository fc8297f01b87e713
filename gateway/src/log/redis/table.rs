//! Which rooms are watched, where their readers stand, and which of them may have news.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Position, Token};
use crate::clock::Millis;
use crate::log::Mode;
use crate::room::RoomId;

/// The watched rooms.
#[derive(Default)]
pub(super) struct Table {
    rooms: Mutex<Rooms>,
    /// A room may have news.
    pub(super) news: Notify,
    /// A room has come or gone.
    pub(super) changed: Notify,
    /// News came that no notification had told.
    pub(super) doubt: Notify,
    /// The connection for notifications is lost.
    pub(super) blind: Notify,
    /// All rooms are subscribed to.
    following: AtomicBool,
    notified: AtomicBool,
    /// A notification has come since the rooms were subscribed to.
    hinted: AtomicBool,
}

#[derive(Default)]
struct Rooms {
    watched: HashMap<RoomId, Watch>,
    dirty: HashSet<RoomId>,
    changes: Vec<RoomId>,
}

/// Where the reader of a room stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) token: Token,
    pub(super) position: Position,
    /// When the room's expiry is to be renewed, if there are entries then.
    pub(super) renew_at: Millis,
}

impl Table {
    /// A room that has just been asked for its position is read once it is subscribed to: until then it may miss news.
    pub(super) fn insert(&self, room: RoomId, token: Token, position: Position) {
        let mut rooms = self.rooms.lock();
        rooms.watched.insert(room.clone(), Watch { token, position, renew_at: 0 });
        rooms.dirty.insert(room.clone());
        rooms.changes.push(room);
        drop(rooms);
        self.changed.notify_one();
        self.news.notify_one();
    }

    pub(super) fn remove(&self, room: &RoomId, token: Token) {
        let mut rooms = self.rooms.lock();
        if rooms.watched.get(room).is_some_and(|watch| watch.token == token) {
            rooms.watched.remove(room);
            rooms.dirty.remove(room);
            rooms.changes.push(room.clone());
            drop(rooms);
            self.changed.notify_one();
        }
    }

    /// Rooms that have come or gone since the last call.
    pub(super) fn take_changes(&self) -> Vec<RoomId> {
        std::mem::take(&mut self.rooms.lock().changes)
    }

    pub(super) fn is_watched(&self, room: &RoomId) -> bool {
        self.rooms.lock().watched.contains_key(room)
    }

    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.rooms.lock().watched.keys().cloned().collect()
    }

    /// Where the readers of those rooms stand that are still watched.
    pub(super) fn positions(&self, of: &[RoomId]) -> Vec<(RoomId, Watch)> {
        let rooms = self.rooms.lock();
        of.iter().filter_map(|room| Some((room.clone(), *rooms.watched.get(room)?))).collect()
    }

    /// A notification: a room has news.
    pub(super) fn hint(&self, room: &str) {
        self.hinted.store(true, Relaxed);
        self.notified.store(true, Relaxed);
        let mut rooms = self.rooms.lock();
        let Some((room, _)) = rooms.watched.get_key_value(room) else { return };
        let room = room.clone();
        if rooms.dirty.insert(room) {
            drop(rooms);
            self.news.notify_one();
        }
    }

    /// Rooms may have news. Says how many were not known to.
    pub(super) fn mark<'a>(&self, marked: impl IntoIterator<Item = &'a RoomId>) -> usize {
        let mut rooms = self.rooms.lock();
        let before = rooms.dirty.len();
        for room in marked {
            if rooms.watched.contains_key(room) {
                rooms.dirty.insert(room.clone());
            }
        }
        let fresh = rooms.dirty.len() - before;
        drop(rooms);
        if fresh > 0 {
            self.news.notify_one();
        }
        fresh
    }

    pub(super) fn mark_all(&self) {
        let mut rooms = self.rooms.lock();
        rooms.dirty = rooms.watched.keys().cloned().collect();
        drop(rooms);
        self.news.notify_one();
    }

    /// Takes up to `most` rooms that may have news.
    pub(super) fn take_dirty(&self, most: usize) -> Vec<(RoomId, Watch)> {
        let mut rooms = self.rooms.lock();
        let taken: Vec<RoomId> = if rooms.dirty.len() <= most {
            std::mem::take(&mut rooms.dirty).into_iter().collect()
        } else {
            let some: Vec<_> = rooms.dirty.iter().take(most).cloned().collect();
            for room in &some {
                rooms.dirty.remove(room);
            }
            some
        };
        let find = |room: RoomId| rooms.watched.get(&room).map(|watch| (room, *watch));
        taken.into_iter().filter_map(find).collect()
    }

    /// Moves a reader, if the room is still watched by the same token.
    pub(super) fn advance(&self, room: &RoomId, token: Token, position: Position) -> bool {
        let mut rooms = self.rooms.lock();
        match rooms.watched.get_mut(room) {
            Some(watch) if watch.token == token => {
                watch.position = position;
                true
            }
            _ => false,
        }
    }

    /// Says whether the expiry of a room is due to be renewed, and that it is being renewed.
    pub(super) fn renews(&self, room: &RoomId, now: Millis, next: Millis) -> bool {
        let mut rooms = self.rooms.lock();
        match rooms.watched.get_mut(room) {
            Some(watch) if watch.renew_at <= now => {
                watch.renew_at = next;
                true
            }
            _ => false,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        if self.notified.load(Relaxed) { Mode::Notifications } else { Mode::Partitions }
    }

    /// Says whether notifications are expected; a notification that comes nevertheless is believed.
    pub(super) fn expect_notifications(&self, expected: bool) {
        self.notified.store(expected, Relaxed);
        self.hinted.store(false, Relaxed);
    }

    /// Says whether all rooms are subscribed to.
    pub(super) fn follow(&self, following: bool) {
        self.following.store(following, Relaxed);
        if !following {
            self.blind.notify_one();
        }
    }

    pub(super) fn follows(&self) -> bool {
        self.following.load(Relaxed)
    }

    pub(super) fn hinted(&self) -> bool {
        self.hinted.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    #[test]
    fn a_room_is_dirty_once_however_often_it_is_hinted() {
        let table = Table::default();
        table.insert(room("a"), 1, Position::START);
        table.hint("a");
        table.hint("a");
        table.hint("unknown");
        assert_eq!(table.take_dirty(10).len(), 1);
        assert!(table.take_dirty(10).is_empty());
    }

    #[test]
    fn dirty_rooms_are_taken_in_parts() {
        let table = Table::default();
        (0..5).for_each(|n| table.insert(room(&n.to_string()), 1, Position::START));
        assert_eq!(table.take_dirty(3).len(), 3);
        assert_eq!(table.take_dirty(3).len(), 2);
    }

    #[test]
    fn an_old_watch_neither_ends_nor_moves_a_newer_one() {
        let table = Table::default();
        table.insert(room("a"), 1, Position::START);
        table.insert(room("a"), 2, Position::START);
        table.remove(&room("a"), 1);
        assert!(table.is_watched(&room("a")));
        assert!(!table.advance(&room("a"), 1, Position::START));
        table.remove(&room("a"), 2);
        assert!(!table.is_watched(&room("a")) && table.take_dirty(9).is_empty());
    }
}
