//! Writes what is published: in the order in which it was asked for, many entries in one pipeline. While one is under
//! way the next collects. Rooms that are read here are read along with that, so that what is published through this
//! gateway costs no second journey to Redis before it is delivered here.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::mpsc;

use super::Inner;
use super::codec::Found;
use super::lane::{Hand, Watch};
use super::link::Way;
use super::xread::{self, Read, Xread};
use crate::clock::Millis;
use crate::config::{Trim, TrimStrategy};
use crate::entry::{EntryId, Text};
use crate::error::LogError;
use crate::idempotency::{IdempotencyKey, REMEMBERED};
use crate::log::{Answer, Mode};
use crate::room::RoomId;

/// Entries of one pipeline.
const MOST: usize = 256;
/// Entries that one publish trims at most. Trimming takes whole macro-nodes of 100 entries.
const TRIM_LIMIT: u64 = 1000;

/// An entry to be written, and who waits for it.
pub(super) struct Append {
    pub(super) room: RoomId,
    pub(super) payload: Text,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) now: Millis,
    pub(super) answer: Answer,
}

/// Writes for as long as anyone may ask. All entries of a room come the same way, one batch after another, and so they
/// keep their order, also where a node of a Cluster sends a part of them elsewhere.
pub(super) async fn run(inner: Arc<Inner>, lane: usize, mut asked: mpsc::UnboundedReceiver<Append>) {
    let mut batch = Vec::with_capacity(MOST);
    while asked.recv_many(&mut batch, MOST).await > 0 {
        write(&inner, lane, &mut batch).await;
    }
}

async fn write(inner: &Arc<Inner>, lane: usize, batch: &mut Vec<Append>) {
    let mut commands = Vec::with_capacity(batch.len() * 2 + 1);
    for append in batch.iter() {
        add(inner, &mut commands, append);
    }
    let hand = inner.table.lanes()[lane].take_along(counted(inner, batch));
    let (known, fresh) = hand.apart();
    let (xread, limit) = (Xread::new(inner, known), xread::limit(hand.rooms().len()));
    let writing = commands.len();
    commands.extend(xread.commands(limit + 1, xread::with_proof));
    let proven = commands.len();
    commands.extend(fresh.iter().flat_map(|(room, watch)| inner.with_state(room, watch.position.id, limit)));
    let mut span = inner.metrics.traces.root("redis append");
    span.set("db.system.name", "redis");
    span.count("db.operation.batch.size", batch.len());
    let mut results = inner.servers.many(Way::Commands, commands).await;
    drop(span);
    let mut whole = results.split_off(proven.min(results.len())).into_iter();
    let mut read = xread.read(results.split_off(writing.min(results.len())));
    let mut results = results.into_iter();
    inner.feed.together(&mut || {
        let mut written = HashMap::new();
        for append in batch.drain(..) {
            let missing = || Err(LogError::Refused("Redis did not answer every command".into()));
            let result = results.next().unwrap_or_else(missing).and_then(id);
            if append.key.is_none() {
                // The answer to EXPIRE: the entry is written whatever became of it.
                results.next();
                note(&mut written, append.room, result.as_ref().ok().copied());
            }
            append.answer.give(result);
        }
        take(inner, &hand, (&mut read, &mut whole), limit, &written);
    });
}

/// The rooms of those entries whose notifications are known to come: where notifications come, and one is owed for
/// certain. Whether there will be one for an entry with an idempotency key is known only afterwards.
fn counted<'a>(inner: &Inner, batch: &'a [Append]) -> impl Iterator<Item = &'a RoomId> {
    let come = inner.signs.mode() == Mode::Notifications;
    batch.iter().filter(move |append| come && append.key.is_none()).map(|append| &append.room)
}

/// The last entry of each room, or nothing where one may not have been written.
type Written = HashMap<RoomId, Option<EntryId>>;

fn note(written: &mut Written, room: RoomId, id: Option<EntryId>) {
    written.entry(room).and_modify(|last| *last = id.filter(|_| last.is_some())).or_insert(id);
}

/// Delivers what was read along with the writing: of rooms of which an entry was read before, from there on; of others,
/// all there is and the state of the stream. Where that does not end with what was written, or proves nothing, the reader
/// looks after it.
fn take(
    inner: &Arc<Inner>,
    hand: &Hand<'_>,
    (read, whole): (&mut Read, &mut impl Iterator<Item = Result<Value, LogError>>),
    limit: usize,
    written: &Written,
) {
    let mut count = 0;
    let mut deliver = |room: &RoomId, watch: &Watch, proven: Option<Vec<Found>>| {
        let reached = proven.as_ref().and_then(|entries| entries.last()).map(|last| last.entry.id);
        if written.get(room).copied().flatten().is_none_or(|last| reached < Some(last)) {
            inner.table.not_read(room);
        }
        count += proven.map_or(0, |entries| inner.deliver(room, watch, watch.position, entries, limit));
    };
    let (known, fresh) = hand.apart();
    for (room, watch) in known {
        let entries = read.streams.remove(&inner.keys.stream(room)).unwrap_or_default();
        deliver(room, watch, xread::proven(watch, entries));
    }
    for (room, watch) in fresh {
        let found = inner.read_with_state(room, whole).ok();
        let all = found.filter(|(_, state)| inner.check(room, watch.position, state.as_ref()).is_ok());
        deliver(room, watch, all.map(|(entries, _)| entries));
    }
    if !hand.rooms().is_empty() {
        inner.metrics.redis_read(hand.rooms().len(), count);
    }
}

fn id(reply: Value) -> Result<EntryId, LogError> {
    let text: Result<String, _> = redis::from_redis_value(reply);
    text.ok().and_then(|id| id.parse().ok()).ok_or_else(|| LogError::Refused("XADD did not return an id".into()))
}

fn add(inner: &Inner, commands: &mut Vec<(u16, Cmd)>, append: &Append) {
    let retention = inner.config().retention(append.room.as_str());
    let stream = inner.keys.stream(&append.room);
    let slot = inner.servers.group(&stream);
    if let Some(key) = &append.key {
        let mut command = redis::cmd("EVAL");
        command.arg(ONCE).arg(2).arg(stream).arg(inner.keys.idempotency(&append.room, key));
        command.arg(REMEMBERED).arg(retention.idle_ttl_seconds);
        entry_arguments(&mut command, &retention.trim, append);
        commands.push((slot, command));
        return;
    }
    let mut command = redis::cmd("XADD");
    command.arg(&stream);
    entry_arguments(&mut command, &retention.trim, append);
    commands.push((slot, command));
    let mut expire = redis::cmd("EXPIRE");
    expire.arg(stream).arg(retention.idle_ttl_seconds);
    commands.push((slot, expire));
}

/// Writes an entry unless its idempotency key is known, and remembers the key; all at once.
const ONCE: &str = "\
local id = redis.call('GET', KEYS[2]) \
if id then return id end \
id = redis.call('XADD', KEYS[1], unpack(ARGV, 3)) \
redis.call('SET', KEYS[2], id, 'PX', ARGV[1]) \
redis.call('EXPIRE', KEYS[1], ARGV[2]) \
return id";

/// What follows the key in `XADD`.
fn entry_arguments(command: &mut redis::Cmd, trim: &Trim, append: &Append) {
    trim_arguments(command, trim, append.now);
    command.arg("*").arg(&["type", "message", "payload", append.payload.as_str(), "timestamp"]).arg(append.now);
}

/// `MAXLEN`/`MINID` (<https://redis.io/docs/latest/commands/xadd/>). `LIMIT` goes with `~` only.
pub(super) fn trim_arguments(command: &mut redis::Cmd, trim: &Trim, now: Millis) {
    command.arg(if trim.strategy == TrimStrategy::MinId { "MINID" } else { "MAXLEN" });
    command.arg(if trim.approximate { "~" } else { "=" });
    match trim.oldest_kept(now) {
        Some(id) => command.arg(id.to_string()),
        None => command.arg(trim.max_len),
    };
    if trim.approximate {
        command.arg("LIMIT").arg(TRIM_LIMIT);
    }
}
