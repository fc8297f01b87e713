//! The embedded log: rooms in this process's memory, with the ids and the trimming of Redis Streams. Nothing survives
//! the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;

use super::{Answer, Feed, Health, Log, Mode, RoomPage, Signal, StreamState, Token};
use crate::clock::{self, Millis};
use crate::config::{Shared, Trim};
use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::idempotency::{IdempotencyKey, REMEMBERED};
use crate::room::RoomId;

/// The embedded log.
pub struct MemoryLog {
    settings: Shared,
    feed: Arc<dyn Feed>,
    rooms: Mutex<Rooms>,
    last_sweep: Mutex<Millis>,
}

/// In order, so that they can be listed in pages.
type Rooms = BTreeMap<RoomId, Stream>;

#[derive(Default)]
struct Stream {
    entries: VecDeque<Entry>,
    last: EntryId,
    added: u64,
    written_at: Millis,
    watcher: Option<Token>,
    keys: Keys,
}

/// Idempotency keys of a room, oldest first.
#[derive(Default)]
struct Keys {
    ids: HashMap<IdempotencyKey, EntryId>,
    order: VecDeque<(Millis, IdempotencyKey)>,
}

impl Keys {
    /// The entry that was written with a key, unless that is too long ago.
    fn find(&mut self, key: &IdempotencyKey, now: Millis) -> Option<EntryId> {
        while let Some((_, old)) = self.order.pop_front_if(|(at, _)| *at + REMEMBERED <= now) {
            self.ids.remove(&old);
        }
        self.ids.get(key).copied()
    }

    fn remember(&mut self, key: &IdempotencyKey, id: EntryId, now: Millis) {
        self.ids.insert(key.clone(), id);
        self.order.push_back((now, key.clone()));
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new(settings: Shared, feed: Arc<dyn Feed>) -> Self {
        Self { settings, feed, rooms: Mutex::default(), last_sweep: Mutex::new(0) }
    }

    /// Removes what nobody has written to for its idle time: once a second at most, when someone writes.
    fn sweep(&self, rooms: &mut Rooms, now: Millis) {
        let mut last = self.last_sweep.lock();
        if now < *last + 1000 {
            return;
        }
        *last = now;
        let settings = self.settings.load();
        rooms.retain(|room, stream| {
            let ttl = settings.idle_ttl_ms(room.as_str());
            // Keys outlive a room that is idle for less, as on Redis.
            let ttl = if stream.keys.order.is_empty() { ttl } else { ttl.max(REMEMBERED) };
            stream.watcher.is_some() || now < stream.written_at + ttl
        });
    }

    fn write(&self, room: &RoomId, payload: &Text, key: Option<&IdempotencyKey>, now: Millis) -> EntryId {
        let retention = self.settings.load().retention(room.as_str());
        let mut rooms = self.rooms.lock();
        self.sweep(&mut rooms, now);
        let stream = rooms.entry(room.clone()).or_default();
        if let Some(id) = key.and_then(|key| stream.keys.find(key, now)) {
            return id;
        }
        let entry = Entry::new(next(stream.last, now), now, payload.clone());
        let id = entry.id;
        stream.push(entry.clone(), now);
        if let Some(key) = key {
            stream.keys.remember(key, id, now);
        }
        stream.trim(&retention.trim, now);
        // Within the lock: entries of a room must be fed in order.
        if let Some(token) = stream.watcher {
            self.feed.entries(room, token, vec![entry]);
        }
        id
    }
}

/// The id that Redis would give: by the clock, but greater than the last one.
fn next(last: EntryId, now: Millis) -> EntryId {
    if now > last.ms { EntryId { ms: now, seq: 0 } } else { EntryId { ms: last.ms, seq: last.seq + 1 } }
}

impl Stream {
    fn push(&mut self, entry: Entry, now: Millis) {
        self.last = entry.id;
        self.added += 1;
        self.written_at = now;
        self.entries.push_back(entry);
    }

    fn trim(&mut self, trim: &Trim, now: Millis) -> u64 {
        let before = self.entries.len();
        match trim.oldest_kept(now) {
            Some(oldest) => self.entries.drain(..self.entries.partition_point(|entry| entry.id < oldest)),
            None => self.entries.drain(..before.saturating_sub(trim.max_len as usize)),
        };
        (before - self.entries.len()) as u64
    }

    fn state(&self) -> Option<StreamState> {
        (self.added > 0).then(|| StreamState {
            first: self.entries.front().map(|entry| entry.id),
            last: self.last,
            length: self.entries.len() as u64,
            added: Some(self.added),
            reliable_since: EntryId::ZERO,
        })
    }

    fn after(&self, after: EntryId, limit: usize) -> Vec<Entry> {
        let from = self.entries.partition_point(|entry| entry.id <= after);
        self.entries.range(from..).take(limit).cloned().collect()
    }

    fn before(&self, before: EntryId, limit: usize) -> Vec<Entry> {
        let to = self.entries.partition_point(|entry| entry.id < before);
        self.entries.range(to.saturating_sub(limit)..to).cloned().collect()
    }
}

impl Log for MemoryLog {
    fn append_then(&self, room: RoomId, payload: Text, key: Option<IdempotencyKey>, now: Millis, answer: Answer) {
        answer.give(Ok(self.write(&room, &payload, key.as_ref(), now)));
    }

    fn read_after<'a>(
        &'a self,
        room: &'a RoomId,
        after: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>> {
        let rooms = self.rooms.lock();
        ready(Ok(rooms.get(room).map_or_else(Vec::new, |stream| stream.after(after, limit)))).boxed()
    }

    fn read_before<'a>(
        &'a self,
        room: &'a RoomId,
        before: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>> {
        let rooms = self.rooms.lock();
        ready(Ok(rooms.get(room).map_or_else(Vec::new, |stream| stream.before(before, limit)))).boxed()
    }

    fn state<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Option<StreamState>, LogError>> {
        ready(Ok(self.rooms.lock().get(room).and_then(Stream::state))).boxed()
    }

    fn trim<'a>(&'a self, room: &'a RoomId, trim: &'a Trim, now: Millis) -> BoxFuture<'a, Result<u64, LogError>> {
        ready(Ok(self.rooms.lock().get_mut(room).map_or(0, |stream| stream.trim(trim, now)))).boxed()
    }

    fn rooms(&self, cursor: Option<String>, limit: usize) -> BoxFuture<'_, Result<RoomPage, LogError>> {
        let rooms = self.rooms.lock();
        let after = match cursor.as_deref() {
            Some(room) => Bound::Excluded(room),
            None => Bound::Unbounded,
        };
        let mut written = rooms.range::<str, _>((after, Bound::Unbounded)).filter(|(_, stream)| stream.added > 0);
        let page: Vec<_> = written.by_ref().take(limit).map(|(room, _)| room.clone()).collect();
        let next = page.last().filter(|_| written.next().is_some()).map(ToString::to_string);
        ready(Ok((page, next))).boxed()
    }

    fn signal<'a>(&'a self, signal: &'a Signal) -> BoxFuture<'a, Result<(), LogError>> {
        self.feed.signal(signal.clone());
        ready(Ok(())).boxed()
    }

    fn watch<'a>(&'a self, room: &'a RoomId, token: Token) -> BoxFuture<'a, Result<EntryId, LogError>> {
        let mut rooms = self.rooms.lock();
        let stream = rooms.entry(room.clone()).or_default();
        stream.watcher = Some(token);
        ready(Ok(stream.last)).boxed()
    }

    fn unwatch(&self, room: &RoomId, token: Token) {
        let mut rooms = self.rooms.lock();
        if let Some(stream) = rooms.get_mut(room).filter(|stream| stream.watcher == Some(token)) {
            stream.watcher = None;
            // Idleness counts from the last write; a room that was never written to is nothing.
            if stream.added == 0 {
                rooms.remove(room);
            }
        }
        self.sweep(&mut rooms, clock::now());
    }

    fn health(&self) -> Health {
        Health { connected: true, seconds_since_read: 0.0, mode: Mode::Embedded }
    }
}
