//! Writes what is published: in the order in which it was asked for, many entries in one pipeline. While one is under
//! way the next collects.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use super::link::Way;
use crate::clock::Millis;
use crate::config::{Trim, TrimStrategy};
use crate::entry::{EntryId, Text};
use crate::error::LogError;
use crate::idempotency::{IdempotencyKey, REMEMBERED};
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
    pub(super) answer: oneshot::Sender<Result<EntryId, LogError>>,
}

/// Writes for as long as anyone may ask. All entries of a room come the same way, one batch after another, and so they
/// keep their order, also where a node of a Cluster sends a part of them elsewhere.
pub(super) async fn run(inner: Arc<Inner>, mut asked: mpsc::UnboundedReceiver<Append>) {
    let mut batch = Vec::with_capacity(MOST);
    while asked.recv_many(&mut batch, MOST).await > 0 {
        write(&inner, &mut batch).await;
    }
}

async fn write(inner: &Inner, batch: &mut Vec<Append>) {
    let mut commands = Vec::with_capacity(batch.len() * 2);
    for append in batch.iter() {
        add(inner, &mut commands, append);
    }
    let mut span = inner.metrics.traces.root("redis append");
    span.set("db.system.name", "redis");
    span.count("db.operation.batch.size", batch.len());
    let mut results = inner.servers.many(Way::Commands, commands).await.into_iter();
    drop(span);
    for append in batch.drain(..) {
        let missing = || Err(LogError::Refused("Redis did not answer every command".into()));
        let result = results.next().unwrap_or_else(missing);
        if append.key.is_none() {
            // The answer to EXPIRE: the entry is written whatever became of it.
            results.next();
        }
        let _ = append.answer.send(result.and_then(id));
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
