//! One `XREAD` for many rooms (<https://redis.io/docs/latest/commands/xread/>): how it is asked, what its answer proves,
//! and how that is given to the feed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redis::{Cmd, Value};

use super::codec::{self, Found};
use super::lane::Watch;
use super::link::Way;
use super::{Inner, Position};
use crate::clock;
use crate::entry::EntryId;
use crate::error::LogError;
use crate::room::RoomId;

/// Entries of one read, all rooms together; at most so much memory times the size of a message.
const MOST_ENTRIES: usize = 2000;

/// Rooms of one slot, with their keys.
type Group<'a> = Vec<(String, &'a (RoomId, Watch))>;

/// A read of some rooms: one command, or one for each slot of a Cluster.
pub(super) struct Xread<'a>(BTreeMap<u16, Group<'a>>);

/// What was read of many rooms.
#[derive(Default)]
pub(super) struct Read {
    pub(super) streams: HashMap<String, Vec<Found>>,
    pub(super) failed: Vec<(Vec<(RoomId, Watch)>, LogError)>,
}

/// New entries that are taken of each of so many rooms.
pub(super) fn limit(rooms: usize) -> usize {
    (MOST_ENTRIES / rooms.max(1)).clamp(4, 250)
}

/// From just before the last entry that was read: if it comes again, nothing after it was trimmed.
pub(super) fn with_proof(watch: &Watch) -> EntryId {
    watch.position.id.previous()
}

/// The new ones of the entries that were read so, if it is certain that none is missing before them.
pub(super) fn proven(watch: &Watch, mut entries: Vec<Found>) -> Option<Vec<Found>> {
    let at = watch.position.id;
    if watch.suspect {
        return None;
    }
    if watch.has_read_nothing() && entries.is_empty() {
        return Some(entries);
    }
    let comes_again = entries.first().is_some_and(|first| first.entry.id == at);
    comes_again.then(|| {
        entries.remove(0);
        entries
    })
}

impl<'a> Xread<'a> {
    pub(super) fn new(inner: &Inner, rooms: &'a [(RoomId, Watch)]) -> Self {
        let mut groups: BTreeMap<u16, Group<'_>> = BTreeMap::new();
        for room in rooms {
            let key = inner.keys.stream(&room.0);
            groups.entry(inner.servers.group(&key)).or_default().push((key, room));
        }
        Self(groups)
    }

    /// The commands, with their slots: at most `count` entries of each room, from where `from` says.
    pub(super) fn commands(&self, count: usize, from: impl Fn(&Watch) -> EntryId) -> Vec<(u16, Cmd)> {
        let command = |(slot, group): (&u16, &Group<'_>)| {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(count).arg("STREAMS");
            for (key, _) in group {
                command.arg(key);
            }
            for (_, (_, watch)) in group {
                command.arg(from(watch).to_string());
            }
            (*slot, command)
        };
        self.0.iter().map(command).collect()
    }

    /// What the replies to these commands say.
    pub(super) fn read(self, replies: impl IntoIterator<Item = Result<Value, LogError>>) -> Read {
        let mut read = Read::default();
        for (reply, group) in replies.into_iter().zip(self.0.into_values()) {
            match reply {
                Ok(reply) => read.streams.extend(codec::streams(reply)),
                Err(error) => read.failed.push((group.into_iter().map(|(_, room)| room.clone()).collect(), error)),
            }
        }
        read
    }
}

impl Inner {
    /// Gives the feed the entries of a room after `at`, and returns how many. If there were as many as might be, the
    /// room is read again. Whoever calls this has the room in hand.
    pub(super) fn deliver(
        self: &Arc<Self>,
        room: &RoomId,
        watch: &Watch,
        at: Position,
        entries: Vec<Found>,
        limit: usize,
    ) -> usize {
        let count = entries.len();
        let Some(last) = entries.last() else { return 0 };
        if self.table.advance(room, watch.token, at.advanced(last.entry.id, count as u64)) {
            entries.iter().flat_map(|each| &each.oddities).for_each(|oddity| self.metrics.odd_entry(oddity));
            self.renew(room);
            self.feed.entries(room, watch.token, entries.into_iter().map(|each| each.entry).collect());
        }
        if count >= limit {
            self.table.mark([room]);
        }
        count
    }

    /// A room that only foreign writers write to would expire under them: its expiry was set by a publish of ours, and
    /// `XADD` alone does not renew it. Done now and then, by whoever reads the room.
    fn renew(self: &Arc<Self>, room: &RoomId) {
        let seconds = self.config().retention(room.as_str()).idle_ttl_seconds;
        let now = clock::now();
        if !self.table.renews(room, now, now + seconds * 100) {
            return;
        }
        let (inner, key) = (Arc::clone(self), self.keys.stream(room));
        tokio::spawn(async move {
            // GT: a room without expiry keeps none (https://redis.io/docs/latest/commands/expire/). Redis before 7
            // refuses, and nothing is worse than before.
            let mut expire = redis::cmd("EXPIRE");
            let _ = inner.servers.query::<Value>(Way::Commands, expire.arg(key).arg(seconds).arg("GT")).await;
        });
    }
}
