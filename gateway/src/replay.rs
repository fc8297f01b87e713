//! Reads back what a client has missed, bounded, and says whether that is all. Knows nothing of sessions.

use std::time::Duration;

use crate::clock;
use crate::config::InForce;
use crate::entry::{Delivery, Entry, EntryId, frame_cost};
use crate::error::LogError;
use crate::log::{Log, continuity};
use crate::room::RoomId;
use crate::session::Replay;

/// Most entries of one replay.
const MAX_ENTRIES: usize = 10_000;
/// Most bytes of one replay, payloads only.
const MAX_BYTES: usize = 8 << 20;
const CHUNK: usize = 500;

/// Reads what came after `since`. What does not fit into the bounds is left out from the front, and the replay is then
/// not `recovered`.
pub async fn read(log: &dyn Log, room: &RoomId, since: EntryId, config: &InForce) -> Result<Replay, LogError> {
    let (entries, complete) = match all_after(log, room, since).await? {
        Some(entries) => (entries, true),
        None => (newest(log, room, since).await?, false),
    };
    // After the reads: what is proven present now was present then.
    let state = log.state(room).await?;
    let idle_ttl = config.idle_ttl_ms(room.as_str());
    let recovered = complete && continuity::recovered(since, state.as_ref(), idle_ttl, clock::now());
    let reset = state.is_none_or(|state| state.last < since) && since != EntryId::ZERO;
    let messages = entries.into_iter().map(|entry| Delivery::new(room.clone(), entry)).collect();
    Ok(Replay { recovered, reset, messages })
}

/// Everything after `since`, or `None` if that is more than a replay may be.
async fn all_after(log: &dyn Log, room: &RoomId, since: EntryId) -> Result<Option<Vec<Entry>>, LogError> {
    let (mut entries, mut after, mut bytes) = (Vec::new(), since, 0);
    loop {
        let chunk = log.read_after(room, after, CHUNK).await?;
        let Some(last) = chunk.last() else { return Ok(Some(entries)) };
        after = last.id;
        let full = chunk.len() == CHUNK;
        bytes += chunk.iter().map(|entry| entry.payload.as_str().len()).sum::<usize>();
        entries.extend(chunk);
        if entries.len() > MAX_ENTRIES || bytes > MAX_BYTES {
            return Ok(None);
        }
        if !full {
            return Ok(Some(entries));
        }
    }
}

/// The newest entries after `since` that fit.
async fn newest(log: &dyn Log, room: &RoomId, since: EntryId) -> Result<Vec<Entry>, LogError> {
    let mut entries = log.read_before(room, EntryId::MAX, CHUNK).await?;
    let mut room_left = MAX_BYTES;
    let fits = |entry: &Entry| {
        let cost = frame_cost(entry.payload.as_str().len());
        let fit = entry.id > since && cost <= room_left;
        room_left = room_left.saturating_sub(cost);
        fit
    };
    let count = entries.iter().rev().map(fits).take_while(|fit| *fit).count();
    Ok(entries.split_off(entries.len() - count))
}

/// Delays between attempts to subscribe while the log is away: a moving client should not be refused because of a
/// hiccup. After the last one it is told `unavailable`.
pub const PATIENCE: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
];
