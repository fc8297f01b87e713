//! Some of the watched rooms: where the reader of each stands, which may have news, and which are being read.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Position;
use crate::clock::Millis;
use crate::entry::EntryId;
use crate::log::Token;
use crate::room::RoomId;

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

/// A room, and where its reader stood.
pub(super) type Stood = (RoomId, Watch);

/// Rooms that are being read by whoever has this. Nobody else reads them until it is dropped.
pub(super) struct Hand<'a> {
    lane: &'a Lane,
    rooms: Vec<Stood>,
}

impl Lane {
    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.rooms.lock().watched.keys().cloned().collect()
    }

    pub(super) fn insert(&self, room: &RoomId, token: Token, position: Position) {
        let mut rooms = self.rooms.lock();
        rooms.watched.insert(room.clone(), Watch::new(token, position));
        rooms.dirty.insert(room.clone());
        drop(rooms);
        self.news.notify_one();
    }

    /// Says whether it was there, with this token.
    pub(super) fn remove(&self, room: &RoomId, token: Token) -> bool {
        let mut rooms = self.rooms.lock();
        let there = rooms.watched.get(room).is_some_and(|watch| watch.token == token);
        if there {
            rooms.watched.remove(room);
            rooms.dirty.remove(room);
        }
        there
    }

    pub(super) fn watch(&self, room: &RoomId) -> Option<Watch> {
        self.rooms.lock().watched.get(room).copied()
    }

    /// Older cursors prove nothing.
    pub(super) fn reliable_since(&self) -> EntryId {
        self.rooms.lock().reliable_since
    }

    /// Changes a watch, if the room is still watched by the same token.
    pub(super) fn with(&self, room: &RoomId, token: Token, change: impl FnOnce(&mut Watch)) -> bool {
        match self.rooms.lock().watched.get_mut(room) {
            Some(watch) if watch.token == token => {
                change(watch);
                true
            }
            _ => false,
        }
    }

    /// Says whether the expiry of a room is due to be renewed, and that it is being renewed.
    pub(super) fn renews(&self, room: &RoomId, now: Millis, next: Millis) -> bool {
        match self.rooms.lock().watched.get_mut(room) {
            Some(watch) if watch.renew_at <= now => {
                watch.renew_at = next;
                true
            }
            _ => false,
        }
    }

    /// Says whether the room is watched, was not known to have news, and is not being read.
    pub(super) fn mark(&self, room: &str) -> bool {
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

    pub(super) fn notified(&self, room: &str) {
        if let Some(watch) = self.rooms.lock().watched.get_mut(room)
            && watch.own > 0
        {
            watch.own -= 1;
            return;
        }
        self.mark(room);
    }

    pub(super) fn follow(&self, room: &RoomId) {
        if let Some(watch) = self.rooms.lock().watched.get_mut(room) {
            (watch.followed, watch.own) = (true, 0);
        }
    }

    /// There may be no notifications of some rooms, those of what was written before included.
    pub(super) fn unfollow(&self, which: impl Fn(&RoomId) -> bool) {
        self.each(which, |watch| (watch.followed, watch.own) = (false, 0));
    }

    /// Notifications that were to come may have been lost: none is taken for one of them.
    pub(super) fn expect_none(&self) {
        self.each(|_| true, |watch| watch.own = 0);
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

    pub(super) fn suspect(&self, which: impl Fn(&RoomId) -> bool, now: Millis) {
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
    /// entries, so one that is not passed over comes after the last entry that was not read. See [`Hand::apart`].
    pub(super) fn take_along<'a>(&self, written: impl IntoIterator<Item = &'a RoomId>) -> Hand<'_> {
        let mut rooms = self.rooms.lock();
        let Rooms { watched, dirty, .. } = &mut *rooms;
        let mut counts: HashMap<&RoomId, u32> = HashMap::new();
        for room in written {
            *counts.entry(room).or_default() += 1;
        }
        let take = |(room, count): (&RoomId, u32)| {
            let watch = watched.get_mut(room)?;
            let at_rest = watch.followed && !watch.in_hand && !watch.suspect;
            if !at_rest || dirty.contains(room) {
                return None;
            }
            watch.in_hand = true;
            watch.own = watch.own.saturating_add(count);
            Some((room.clone(), *watch))
        };
        let mut rooms: Vec<_> = counts.into_iter().filter_map(take).collect();
        rooms.sort_unstable_by_key(|(_, watch)| watch.has_read_nothing());
        Hand { rooms, lane: self }
    }

    pub(super) fn not_read(&self, room: &RoomId) {
        if let Some(watch) = self.rooms.lock().watched.get_mut(room) {
            watch.own = 0;
        }
        self.mark(room.as_str());
    }

    fn put_back(&self, taken: &[Stood]) {
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

    /// There is no entry whose presence could prove that nothing was trimmed.
    pub(super) fn has_read_nothing(&self) -> bool {
        self.position.id == EntryId::ZERO
    }
}

impl Hand<'_> {
    pub(super) fn rooms(&self) -> &[Stood] {
        &self.rooms
    }

    /// Of rooms that were taken along: those of which an entry was read, and those of which none was.
    pub(super) fn apart(&self) -> (&[Stood], &[Stood]) {
        self.rooms.split_at(self.rooms.partition_point(|(_, watch)| !watch.has_read_nothing()))
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

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    /// How many rooms are taken; they are put back.
    fn dirty(lane: &Lane, most: usize) -> usize {
        lane.take_dirty(most).rooms().len()
    }

    fn at(seq: u64) -> Position {
        Position { id: EntryId { ms: 1, seq }, added: None }
    }

    /// A lane with the followed room `a`, which is read up to entry 0.
    fn followed() -> (Lane, RoomId) {
        let (lane, a) = (Lane::default(), room("a"));
        lane.insert(&a, 1, at(0));
        lane.follow(&a);
        assert_eq!(dirty(&lane, 1), 1);
        (lane, a)
    }

    #[test]
    fn a_room_in_hand_is_not_taken_again_before_it_is_put_back() {
        let (lane, a) = followed();
        let hand = lane.take_along([&a]);
        assert_eq!(hand.rooms().len(), 1);
        assert!(!lane.mark("a"), "it is being read");
        assert_eq!((dirty(&lane, 1), lane.take_along([&a]).rooms().len()), (0, 0));
        drop(hand);
        assert_eq!(dirty(&lane, 1), 1, "it was marked meanwhile");
        assert_eq!(lane.take_along([&a]).rooms().len(), 1);
    }

    #[test]
    fn only_a_room_at_rest_is_read_along_with_writing() {
        let (lane, a) = followed();
        let along = || lane.take_along([&a]).rooms().len();
        lane.mark("a");
        assert_eq!(along(), 0, "it may have news, perhaps many");
        assert_eq!((dirty(&lane, 1), along()), (1, 1));
        lane.suspect(|_| true, 1);
        lane.mark("a");
        dirty(&lane, 1);
        assert_eq!(along(), 0, "its members are to be told of a loss");
        lane.with(&a, 1, |watch| watch.suspect = false);
        assert_eq!(along(), 1);
        lane.unfollow(|_| true);
        assert_eq!(along(), 0, "what others write is not told");
        assert_eq!(lane.take_along([&room("unknown")]).rooms().len(), 0);
    }

    #[test]
    fn rooms_of_which_nothing_was_read_yet_are_taken_along_apart() {
        let lane = Lane::default();
        let rooms = ["a", "b", "c", "d"].map(room);
        for (number, room) in rooms.iter().enumerate() {
            lane.insert(room, 1, if number % 2 == 0 { Position::START } else { at(0) });
            lane.follow(room);
        }
        dirty(&lane, 4);
        let hand = lane.take_along(&rooms);
        let names = |rooms: &[Stood]| {
            let mut names: Vec<_> = rooms.iter().map(|(room, _)| room.as_str().to_owned()).collect();
            names.sort();
            names
        };
        let (known, fresh) = hand.apart();
        assert_eq!((names(known), names(fresh)), (vec!["b".into(), "d".into()], vec!["a".into(), "c".into()]));
    }

    #[test]
    fn as_many_notifications_are_passed_over_as_entries_were_written() {
        let (lane, a) = followed();
        drop(lane.take_along([&a, &a]));
        let news = || {
            lane.notified("a");
            dirty(&lane, 1)
        };
        assert_eq!([news(), news(), news()], [0, 0, 1]);
        for forget in [|lane: &Lane, _: &RoomId| lane.expect_none(), |lane: &Lane, a: &RoomId| lane.follow(a)] {
            drop(lane.take_along([&a]));
            forget(&lane, &a);
            assert_eq!(news(), 1);
        }
        drop(lane.take_along([&a]));
        lane.not_read(&a);
        assert_eq!([dirty(&lane, 1), news()], [1, 1]);
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
            let (lane, a) = followed();
            let (mut entries, mut notifications) = (0, 0);
            // What was sent, and up to where the room was read once Redis has done it.
            let mut write: Option<(Hand<'_>, Option<u64>)> = None;
            let mut read: Option<(Hand<'_>, u64)> = None;
            let mut delivered = 0;
            let mut deliver = |hand: Hand<'_>, up_to: u64| {
                for (room, watch) in hand.rooms() {
                    // Nobody else has read meanwhile, so each entry is delivered once.
                    assert_eq!(watch.position.id.seq, delivered);
                    delivered = up_to;
                    lane.with(room, 1, |watch| watch.position = at(up_to));
                }
            };
            let settle = [Step::Do, Step::Answer, Step::Read];
            let rest = [Step::Notification; 80].into_iter().chain([Step::Ask, Step::Read]);
            for step in steps.into_iter().chain(settle).chain(rest) {
                match step {
                    Step::Write if write.is_none() => write = Some((lane.take_along([&a]), None)),
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
                        lane.notified("a");
                    }
                    Step::Ask if read.is_none() => read = Some((lane.take_dirty(1), entries)),
                    Step::Read => if let Some((hand, up_to)) = read.take() { deliver(hand, up_to) },
                    Step::Write | Step::Notification | Step::Ask => {}
                }
            }
            proptest::prop_assert_eq!((notifications, delivered), (0, entries));
        }
    }

    #[test]
    fn a_room_is_dirty_once_however_often_it_is_hinted() {
        let lane = Lane::default();
        lane.insert(&room("a"), 1, Position::START);
        lane.notified("a");
        lane.notified("a");
        lane.notified("unknown");
        assert_eq!(dirty(&lane, 10), 1);
        assert_eq!(dirty(&lane, 10), 0);
    }

    #[test]
    fn dirty_rooms_are_taken_in_parts() {
        let lane = Lane::default();
        (0..5).for_each(|n| lane.insert(&room(&n.to_string()), 1, Position::START));
        assert_eq!(dirty(&lane, 3), 3);
        assert_eq!(dirty(&lane, 3), 2);
    }
}
