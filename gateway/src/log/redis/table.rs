//! Which rooms are watched, where their readers stand, and which of them may have news. In lanes: the rooms of one do
//! not wait for those of another.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use super::Position;
use super::keys::{Keys, SLOTS};
use super::topology::Slots;
use crate::clock::Millis;
use crate::entry::EntryId;
use crate::log::Token;
use crate::room::RoomId;

/// The watched rooms.
pub(super) struct Table {
    keys: Arc<Keys>,
    lanes: Vec<Lane>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<RoomId>>>,
}

/// Some of the rooms.
#[derive(Default)]
pub(super) struct Lane {
    rooms: Mutex<Rooms>,
    /// A room may have news.
    pub(super) news: Notify,
    /// A sweep is due: notifications have ended, or come no longer.
    pub(super) blind: Notify,
    /// Number of batches read.
    pub(super) read: watch::Sender<u64>,
}

#[derive(Default)]
struct Rooms {
    watched: HashMap<RoomId, Watch>,
    dirty: HashSet<RoomId>,
    /// Older cursors prove nothing: entries after them may have been acknowledged and lost.
    reliable_since: EntryId,
}

/// Where the reader of a room stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) token: Token,
    pub(super) position: Position,
    /// When the room's expiry is to be renewed, if there are entries then.
    pub(super) renew_at: Millis,
    /// Entries may have been acknowledged and lost, and the members were not told yet.
    pub(super) suspect: bool,
}

impl Table {
    pub(super) fn new(keys: Arc<Keys>, lanes: usize) -> Self {
        Self { keys, lanes: (0..lanes).map(|_| Lane::default()).collect(), listeners: Mutex::default() }
    }

    fn lane_of(&self, room: &str) -> &Lane {
        &self.lanes[self.lane_number(room)]
    }

    /// The lane of a room, by its name.
    pub(super) fn lane_number(&self, room: &str) -> usize {
        // One lane is the usual case, and asks for no slot.
        if self.lanes.len() == 1 {
            0
        } else {
            usize::from(self.keys.slot_of_name(room)) * self.lanes.len() / usize::from(SLOTS)
        }
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// A room that has just been asked for its position is read once it is subscribed to: until then it may miss news.
    pub(super) fn insert(&self, room: &RoomId, token: Token, position: Position) {
        let lane = self.lane_of(room.as_str());
        let mut rooms = lane.rooms.lock();
        rooms.watched.insert(room.clone(), Watch { token, position, renew_at: 0, suspect: false });
        rooms.dirty.insert(room.clone());
        drop(rooms);
        self.tell(room);
        lane.news.notify_one();
    }

    pub(super) fn remove(&self, room: &RoomId, token: Token) {
        let mut rooms = self.lane_of(room.as_str()).rooms.lock();
        if rooms.watched.get(room).is_some_and(|watch| watch.token == token) {
            rooms.watched.remove(room);
            rooms.dirty.remove(room);
            drop(rooms);
            self.tell(room);
        }
    }

    /// Rooms that come or go from now on.
    pub(super) fn listen(&self) -> mpsc::UnboundedReceiver<RoomId> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().push(sender);
        receiver
    }

    fn tell(&self, room: &RoomId) {
        self.listeners.lock().retain(|listener| listener.send(room.clone()).is_ok());
    }

    pub(super) fn is_watched(&self, room: &RoomId) -> bool {
        self.lane_of(room.as_str()).rooms.lock().watched.contains_key(room)
    }

    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.lanes.iter().flat_map(Lane::rooms).collect()
    }

    /// A notification: a room has news.
    pub(super) fn hint(&self, room: &str) {
        self.lane_of(room).hint(room);
    }

    /// Rooms may have news. Says how many were not known to.
    pub(super) fn mark<'a>(&self, marked: impl IntoIterator<Item = &'a RoomId>) -> usize {
        marked.into_iter().filter(|room| self.lane_of(room.as_str()).hint(room.as_str())).count()
    }

    /// The rooms of some slots may have news.
    pub(super) fn mark_slots(&self, slots: &Slots) {
        for lane in &self.lanes {
            lane.mark_all(|room| slots.contains(|| self.keys.slot(room)));
        }
    }

    /// Entries of the rooms of some slots may have been acknowledged and lost.
    pub(super) fn suspect(&self, slots: &Slots, now: Millis) {
        for lane in &self.lanes {
            lane.suspect(|room| slots.contains(|| self.keys.slot(room)), now);
        }
        self.mark_slots(slots);
    }

    /// Older cursors in the lane of this room prove nothing.
    pub(super) fn reliable_since(&self, room: &RoomId) -> EntryId {
        self.lane_of(room.as_str()).rooms.lock().reliable_since
    }

    /// Moves a reader, if the room is still watched by the same token.
    pub(super) fn advance(&self, room: &RoomId, token: Token, position: Position) -> bool {
        self.with(room, token, |watch| watch.position = position)
    }

    /// The members of a room are being told that entries may be lost.
    pub(super) fn clear(&self, room: &RoomId, token: Token) {
        self.with(room, token, |watch| watch.suspect = false);
    }

    fn with(&self, room: &RoomId, token: Token, change: impl FnOnce(&mut Watch)) -> bool {
        let mut rooms = self.lane_of(room.as_str()).rooms.lock();
        match rooms.watched.get_mut(room) {
            Some(watch) if watch.token == token => {
                change(watch);
                true
            }
            _ => false,
        }
    }

    /// Says whether the expiry of a room is due to be renewed, and that it is being renewed.
    pub(super) fn renews(&self, room: &RoomId, now: Millis, next: Millis) -> bool {
        let mut rooms = self.lane_of(room.as_str()).rooms.lock();
        match rooms.watched.get_mut(room) {
            Some(watch) if watch.renew_at <= now => {
                watch.renew_at = next;
                true
            }
            _ => false,
        }
    }

    /// Where the readers of those rooms stand that are still watched.
    pub(super) fn positions<'a>(&self, of: impl IntoIterator<Item = &'a RoomId>) -> Vec<(RoomId, Watch)> {
        let find = |room: &RoomId| self.lane_of(room.as_str()).rooms.lock().watched.get(room).copied();
        of.into_iter().filter_map(|room| Some((room.clone(), find(room)?))).collect()
    }
}

impl Lane {
    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.rooms.lock().watched.keys().cloned().collect()
    }

    /// Says whether the room is watched, and was not known to have news.
    fn hint(&self, room: &str) -> bool {
        let mut rooms = self.rooms.lock();
        let Some((room, _)) = rooms.watched.get_key_value(room) else { return false };
        let room = room.clone();
        let fresh = rooms.dirty.insert(room);
        drop(rooms);
        if fresh {
            self.news.notify_one();
        }
        fresh
    }

    pub(super) fn mark_all(&self, which: impl Fn(&RoomId) -> bool) {
        let mut rooms = self.rooms.lock();
        let marked: Vec<_> = rooms.watched.keys().filter(|room| which(room)).cloned().collect();
        rooms.dirty.extend(marked);
        drop(rooms);
        self.news.notify_one();
    }

    fn suspect(&self, which: impl Fn(&RoomId) -> bool, now: Millis) {
        let mut rooms = self.rooms.lock();
        let mut newest = EntryId { ms: now, seq: 0 };
        for (_, watch) in rooms.watched.iter_mut().filter(|(room, _)| which(room)) {
            watch.suspect = true;
            newest = newest.max(watch.position.id);
        }
        rooms.reliable_since = newest;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lanes: usize) -> Table {
        Table::new(Arc::new(Keys::new("room:", 0)), lanes)
    }

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    #[test]
    fn a_room_is_dirty_once_however_often_it_is_hinted() {
        let table = table(1);
        table.insert(&room("a"), 1, Position::START);
        table.hint("a");
        table.hint("a");
        table.hint("unknown");
        assert_eq!(table.lanes[0].take_dirty(10).len(), 1);
        assert!(table.lanes[0].take_dirty(10).is_empty());
    }

    #[test]
    fn dirty_rooms_are_taken_in_parts() {
        let table = table(1);
        (0..5).for_each(|n| table.insert(&room(&n.to_string()), 1, Position::START));
        assert_eq!(table.lanes[0].take_dirty(3).len(), 3);
        assert_eq!(table.lanes[0].take_dirty(3).len(), 2);
    }

    #[test]
    fn an_old_watch_neither_ends_nor_moves_a_newer_one() {
        let table = table(1);
        table.insert(&room("a"), 1, Position::START);
        table.insert(&room("a"), 2, Position::START);
        table.remove(&room("a"), 1);
        assert!(table.is_watched(&room("a")));
        assert!(!table.advance(&room("a"), 1, Position::START));
        table.remove(&room("a"), 2);
        assert!(!table.is_watched(&room("a")) && table.lanes[0].take_dirty(9).is_empty());
    }

    #[test]
    fn rooms_of_one_slot_share_a_lane_and_the_lanes_are_all_used() {
        let table = table(16);
        assert_eq!(table.lane_number("{t}a"), table.lane_number("{t}b"));
        let used: HashSet<_> = (0..1000).map(|n| table.lane_number(&n.to_string())).collect();
        assert_eq!(used.len(), 16);
    }

    #[test]
    fn after_a_loss_rooms_are_suspect_and_older_cursors_prove_nothing() {
        let table = table(1);
        let at = Position { id: EntryId { ms: 70, seq: 1 }, added: None };
        table.insert(&room("a"), 1, at);
        assert_eq!(table.reliable_since(&room("a")), EntryId::ZERO);
        table.suspect(&Slots::ALL, 60);
        assert_eq!(table.reliable_since(&room("a")), at.id, "the later of the two clocks");
        assert!(table.lanes[0].take_dirty(9)[0].1.suspect);
        table.clear(&room("a"), 1);
        assert!(!table.positions([&room("a")])[0].1.suspect);
    }
}
