//! Which rooms are watched, where their readers stand, and which of them may have news. In lanes: the rooms of one do
//! not wait for those of another.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Position;
use super::keys::{Keys, SLOTS};
use super::lane::{Lane, Watch};
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
        self.lane_of(room.as_str()).insert(room, token, position);
        self.tell(room);
    }

    pub(super) fn remove(&self, room: &RoomId, token: Token) {
        if self.lane_of(room.as_str()).remove(room, token) {
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
        self.lane_of(room.as_str()).watch(room).is_some()
    }

    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.lanes.iter().flat_map(Lane::rooms).collect()
    }

    /// A notification: a room has news, unless it is of what was written here and is being read anyway.
    pub(super) fn notified(&self, room: &str) {
        self.lane_of(room).notified(room);
    }

    /// A room may have news.
    pub(super) fn changed(&self, room: &str) {
        self.lane_of(room).mark(room);
    }

    /// Rooms may have news. Says how many were neither known to nor being read.
    pub(super) fn mark<'a>(&self, marked: impl IntoIterator<Item = &'a RoomId>) -> usize {
        marked.into_iter().filter(|room| self.lane_of(room.as_str()).mark(room.as_str())).count()
    }

    /// From now on there will be a notification of each entry that is added to these rooms.
    pub(super) fn follow<'a>(&self, rooms: impl IntoIterator<Item = &'a RoomId>) {
        for room in rooms {
            self.lane_of(room.as_str()).follow(room);
        }
    }

    /// What was written to a room was not read along: it may have news, and none of its notifications is passed over.
    pub(super) fn not_read(&self, room: &RoomId) {
        self.lane_of(room.as_str()).not_read(room);
    }

    /// There may be no notifications of some rooms, those of what was written before included.
    pub(super) fn unfollow(&self, which: impl Fn(&RoomId) -> bool) {
        for lane in &self.lanes {
            lane.unfollow(&which);
        }
    }

    /// Notifications that were to come may have been lost: none is taken for one of them.
    pub(super) fn expect_none(&self) {
        for lane in &self.lanes {
            lane.expect_none();
        }
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
        self.lane_of(room.as_str()).reliable_since()
    }

    /// Moves a reader, if the room is still watched by the same token.
    pub(super) fn advance(&self, room: &RoomId, token: Token, position: Position) -> bool {
        self.lane_of(room.as_str()).with(room, token, |watch| watch.position = position)
    }

    /// The members of a room are being told that entries may be lost.
    pub(super) fn clear(&self, room: &RoomId, token: Token) {
        self.lane_of(room.as_str()).with(room, token, |watch| watch.suspect = false);
    }

    /// Says whether the expiry of a room is due to be renewed, and that it is being renewed.
    pub(super) fn renews(&self, room: &RoomId, now: Millis, next: Millis) -> bool {
        self.lane_of(room.as_str()).renews(room, now, next)
    }

    /// Where the readers of those rooms stand that are still watched.
    pub(super) fn positions<'a>(&self, of: impl IntoIterator<Item = &'a RoomId>) -> Vec<(RoomId, Watch)> {
        let find = |room: &RoomId| self.lane_of(room.as_str()).watch(room);
        of.into_iter().filter_map(|room| Some((room.clone(), find(room)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn table(lanes: usize) -> Table {
        Table::new(Arc::new(Keys::new("room:", 0)), lanes)
    }

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    /// How many rooms are taken; they are put back.
    fn dirty(table: &Table, most: usize) -> usize {
        table.lanes[0].take_dirty(most).rooms().len()
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
        assert!(!table.is_watched(&room("a")) && dirty(&table, 9) == 0);
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
        assert!(table.lanes[0].take_dirty(9).rooms()[0].1.suspect);
        table.clear(&room("a"), 1);
        assert!(!table.positions([&room("a")])[0].1.suspect);
    }
}
