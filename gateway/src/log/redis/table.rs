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
    /// It is being read: nobody else may move it meanwhile, or entries would come twice.
    in_hand: bool,
    /// The server notifies of it.
    followed: bool,
    /// Notifications to come of what was written here and read along with that: see [`Lane::take_along`].
    own: u32,
}

/// Rooms that are being read by whoever has this, and where each stood. Nobody else reads them until it is dropped.
pub(super) struct Hand<'a> {
    lane: &'a Lane,
    rooms: Vec<(RoomId, Watch)>,
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
        rooms.watched.insert(room.clone(), Watch::new(token, position));
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
            lane.each(&which, |watch| (watch.followed, watch.own) = (false, 0));
        }
    }

    /// Notifications that were to come may have been lost: none is taken for one of them.
    pub(super) fn expect_none(&self) {
        for lane in &self.lanes {
            lane.each(|_| true, |watch| watch.own = 0);
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

    /// Says whether the room is watched, was not known to have news, and is not being read.
    fn mark(&self, room: &str) -> bool {
        let mut rooms = self.rooms.lock();
        let Some((room, watch)) = rooms.watched.get_key_value(room) else { return false };
        let (room, in_hand) = (room.clone(), watch.in_hand);
        let fresh = rooms.dirty.insert(room);
        drop(rooms);
        // Whoever reads it tells when it can be read again.
        if fresh && !in_hand {
            self.news.notify_one();
        }
        fresh && !in_hand
    }

    fn notified(&self, room: &str) {
        if let Some(watch) = self.rooms.lock().watched.get_mut(room)
            && watch.own > 0
        {
            watch.own -= 1;
            return;
        }
        self.mark(room);
    }

    fn follow(&self, room: &RoomId) {
        if let Some(watch) = self.rooms.lock().watched.get_mut(room) {
            (watch.followed, watch.own) = (true, 0);
        }
    }

    fn each(&self, which: impl Fn(&RoomId) -> bool, change: impl Fn(&mut Watch)) {
        self.rooms.lock().watched.iter_mut().filter(|(room, _)| which(room)).for_each(|(_, watch)| change(watch));
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
    pub(super) fn take_dirty(&self, most: usize) -> Hand<'_> {
        let mut rooms = self.rooms.lock();
        let Rooms { watched, dirty, .. } = &mut *rooms;
        let is_free = |room: &&RoomId| !watched.get(*room).is_some_and(|watch| watch.in_hand);
        let taken: Vec<RoomId> = dirty.iter().filter(is_free).take(most).cloned().collect();
        let mut take = |room: RoomId| {
            dirty.remove(&room);
            let watch = watched.get_mut(&room)?;
            watch.in_hand = true;
            Some((room, *watch))
        };
        Hand { rooms: taken.into_iter().filter_map(&mut take).collect(), lane: self }
    }

    /// Of the rooms to which entries are about to be written, takes those that can be read in the same breath: whatever
    /// is in them by then is read, so the notification of each of these entries tells nothing. As many notifications of
    /// such a room as entries are written are passed over, whosever they are: all of them come, in the order of the
    /// entries, so one that is not passed over comes after the last entry that was not read.
    pub(super) fn take_along<'a>(&self, written: impl IntoIterator<Item = &'a RoomId>) -> Hand<'_> {
        let mut rooms = self.rooms.lock();
        let Rooms { watched, dirty, .. } = &mut *rooms;
        let mut counts: HashMap<&RoomId, u32> = HashMap::new();
        for room in written {
            *counts.entry(room).or_default() += 1;
        }
        let take = |(room, count): (&RoomId, u32)| {
            let watch = watched.get_mut(room)?;
            let at_rest = watch.followed && !watch.in_hand && !watch.suspect && watch.position.id != EntryId::ZERO;
            if !at_rest || dirty.contains(room) {
                return None;
            }
            watch.in_hand = true;
            watch.own = watch.own.saturating_add(count);
            Some((room.clone(), *watch))
        };
        Hand { rooms: counts.into_iter().filter_map(take).collect(), lane: self }
    }

    fn not_read(&self, room: &RoomId) {
        if let Some(watch) = self.rooms.lock().watched.get_mut(room) {
            watch.own = 0;
        }
        self.mark(room.as_str());
    }

    fn put_back(&self, taken: &[(RoomId, Watch)]) {
        let mut rooms = self.rooms.lock();
        let Rooms { watched, dirty, .. } = &mut *rooms;
        let mut news = false;
        for (room, taken) in taken {
            if let Some(watch) = watched.get_mut(room)
                && watch.token == taken.token
            {
                watch.in_hand = false;
                news |= dirty.contains(room);
            }
        }
        drop(rooms);
        if news {
            self.news.notify_one();
        }
    }
}

impl Watch {
    fn new(token: Token, position: Position) -> Self {
        Self { token, position, renew_at: 0, suspect: false, in_hand: false, followed: false, own: 0 }
    }
}

impl Hand<'_> {
    pub(super) fn rooms(&self) -> &[(RoomId, Watch)] {
        &self.rooms
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        self.lane.put_back(&self.rooms);
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

    /// How many rooms are taken; they are put back.
    fn dirty(table: &Table, most: usize) -> usize {
        table.lanes[0].take_dirty(most).rooms().len()
    }

    fn at(seq: u64) -> Position {
        Position { id: EntryId { ms: 1, seq }, added: None }
    }

    /// A table with the followed room `a`, which is read up to entry 0.
    fn followed() -> (Table, RoomId) {
        let (table, a) = (table(1), room("a"));
        table.insert(&a, 1, at(0));
        table.follow([&a]);
        assert_eq!(dirty(&table, 1), 1);
        (table, a)
    }

    #[test]
    fn a_room_in_hand_is_not_taken_again_before_it_is_put_back() {
        let (table, a) = followed();
        let hand = table.lanes[0].take_along([&a]);
        assert_eq!(hand.rooms().len(), 1);
        assert_eq!(table.mark([&a]), 0, "it is being read");
        assert_eq!((dirty(&table, 1), table.lanes[0].take_along([&a]).rooms().len()), (0, 0));
        drop(hand);
        assert_eq!(dirty(&table, 1), 1, "it was marked meanwhile");
        assert_eq!(table.lanes[0].take_along([&a]).rooms().len(), 1);
    }

    #[test]
    fn only_a_room_at_rest_is_read_along_with_writing() {
        let (table, a) = followed();
        let along = || table.lanes[0].take_along([&a]).rooms().len();
        table.mark([&a]);
        assert_eq!(along(), 0, "it may have news, perhaps many");
        assert_eq!((dirty(&table, 1), along()), (1, 1));
        table.suspect(&Slots::ALL, 1);
        dirty(&table, 1);
        assert_eq!(along(), 0, "its members are to be told of a loss");
        table.clear(&a, 1);
        assert_eq!(along(), 1);
        table.unfollow(|_| true);
        assert_eq!(along(), 0, "what others write is not told");
        table.insert(&a, 2, Position::START);
        table.follow([&a]);
        dirty(&table, 1);
        assert_eq!(along(), 0, "there is no entry that could prove anything");
        assert_eq!(table.lanes[0].take_along([&room("unknown")]).rooms().len(), 0);
    }

    #[test]
    fn as_many_notifications_are_passed_over_as_entries_were_written() {
        let (table, a) = followed();
        drop(table.lanes[0].take_along([&a, &a]));
        let news = || {
            table.notified("a");
            dirty(&table, 1)
        };
        assert_eq!([news(), news(), news()], [0, 0, 1]);
        for forget in [|table: &Table, _: &RoomId| table.expect_none(), |table: &Table, a: &RoomId| table.follow([a])] {
            drop(table.lanes[0].take_along([&a]));
            forget(&table, &a);
            assert_eq!(news(), 1);
        }
        drop(table.lanes[0].take_along([&a]));
        table.not_read(&a);
        assert_eq!([dirty(&table, 1), news()], [1, 1]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// An entry is sent to Redis, and a read of the room along with it.
        Write,
        /// Redis does what was sent.
        Do,
        /// What it answered comes.
        Answer,
        /// Somebody else adds an entry.
        Foreign,
        /// The next notification comes.
        Notification,
        /// The reader asks Redis.
        Ask,
        /// Its answer comes.
        Read,
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_between_every_entry_is_read_once_all_notifications_have_come(
            steps in proptest::collection::vec(proptest::sample::select(vec![
                Step::Write, Step::Do, Step::Answer, Step::Foreign, Step::Notification, Step::Notification, Step::Ask, Step::Read,
            ]), 0..80)
        ) {
            let (table, a) = followed();
            let (mut entries, mut notifications) = (0, 0);
            // What was sent, and up to where the room was read once Redis has done it.
            let (mut write, mut read): (Option<(Hand<'_>, Option<u64>)>, Option<(Hand<'_>, u64)>) = (None, None);
            let mut delivered = 0;
            let mut deliver = |hand: Hand<'_>, up_to: u64| {
                for (room, watch) in hand.rooms() {
                    // Nobody else has read meanwhile, so each entry is delivered once.
                    assert_eq!(watch.position.id.seq, delivered);
                    delivered = up_to;
                    table.advance(room, 1, at(up_to));
                }
            };
            let settle = [Step::Do, Step::Answer, Step::Read];
            let rest = [Step::Notification; 80].into_iter().chain([Step::Ask, Step::Read]);
            for step in steps.into_iter().chain(settle).chain(rest) {
                match step {
                    Step::Write if write.is_none() => write = Some((table.lanes[0].take_along([&a]), None)),
                    Step::Do => if let Some((_, up_to @ None)) = &mut write {
                        entries += 1;
                        notifications += 1;
                        *up_to = Some(entries);
                    },
                    Step::Answer => if let Some((hand, Some(up_to))) = write.take_if(|(_, up_to)| up_to.is_some()) {
                        deliver(hand, up_to);
                    },
                    Step::Foreign => (entries, notifications) = (entries + 1, notifications + 1),
                    Step::Notification if notifications > 0 => {
                        notifications -= 1;
                        table.notified("a");
                    }
                    Step::Ask if read.is_none() => read = Some((table.lanes[0].take_dirty(1), entries)),
                    Step::Read => if let Some((hand, up_to)) = read.take() { deliver(hand, up_to) },
                    Step::Write | Step::Notification | Step::Ask => {}
                }
            }
            proptest::prop_assert_eq!((notifications, delivered), (0, entries));
        }
    }

    #[test]
    fn a_room_is_dirty_once_however_often_it_is_hinted() {
        let table = table(1);
        table.insert(&room("a"), 1, Position::START);
        table.notified("a");
        table.notified("a");
        table.notified("unknown");
        assert_eq!(dirty(&table, 10), 1);
        assert_eq!(dirty(&table, 10), 0);
    }

    #[test]
    fn dirty_rooms_are_taken_in_parts() {
        let table = table(1);
        (0..5).for_each(|n| table.insert(&room(&n.to_string()), 1, Position::START));
        assert_eq!(dirty(&table, 3), 3);
        assert_eq!(dirty(&table, 3), 2);
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
