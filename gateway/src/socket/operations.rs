//! What a session asks the log for, or has checked. Each operation ends with the event that answers it.

use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;

use crate::auth::Token;
use crate::clock;
use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::idempotency::IdempotencyKey;
use crate::protocol::{Code, Refusal};
use crate::replay;
use crate::room::RoomId;
use crate::session::{Event, Replay};
use crate::shard::Connection;
use crate::shared::Shared;

/// Something under way.
pub(super) type Operation = Pin<Box<dyn Future<Output = Event> + Send>>;

pub(super) fn refusal(error: &LogError) -> Refusal {
    Refusal::new(None, Code::Unavailable, error.to_string())
}

/// Joins a room, with patience while the log is away, and reads back what the client has missed.
pub(super) fn join(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    room: RoomId,
    since: Option<EntryId>,
) -> Operation {
    async move {
        let mut patience = replay::PATIENCE.iter();
        loop {
            match try_join(&shared, &connection, &room, since).await {
                Ok((position, replay)) => return Event::Joined { room, position, replay },
                Err(error) => match patience.next() {
                    Some(delay) => tokio::time::sleep(*delay).await,
                    None => return Event::JoinFailed { room, refusal: refusal(&error) },
                },
            }
        }
    }
    .boxed()
}

async fn try_join(
    shared: &Shared,
    connection: &Arc<Connection>,
    room: &RoomId,
    since: Option<EntryId>,
) -> Result<(EntryId, Option<Replay>), LogError> {
    // Live first, then the past: nothing falls between.
    let position = shared.hub.join(room, connection).await?;
    let Some(since) = since else { return Ok((position, None)) };
    let replay = shared.replays.read(&**shared.hub.log(), room, since, position, &shared.config()).await?;
    shared.metrics.replayed(replay.messages.len());
    Ok((position, Some(replay)))
}

pub(super) fn authenticate(shared: Arc<Shared>, token: Token) -> Operation {
    async move { Event::Authenticated(shared.auth.verify(&token.0).await) }.boxed()
}

pub(super) fn publish(
    shared: Arc<Shared>,
    reference: Option<u64>,
    room: RoomId,
    payload: Text,
    key: Option<IdempotencyKey>,
) -> Operation {
    async move {
        let result = shared.hub.log().append(&room, &payload, key.as_ref(), clock::now()).await;
        shared.metrics.published(result.as_ref().err());
        Event::Published { reference, result: result.map_err(|error| Refusal { reference, ..refusal(&error) }) }
    }
    .boxed()
}

pub(super) fn history(
    shared: Arc<Shared>,
    reference: Option<u64>,
    room: RoomId,
    before: EntryId,
    limit: usize,
) -> Operation {
    async move {
        let result = shared.hub.log().read_before(&room, before, limit + 1).await;
        let page = result.map(|entries| newest_page(entries, limit));
        Event::HistoryRead { reference, room, result: page.map_err(|error| Refusal { reference, ..refusal(&error) }) }
    }
    .boxed()
}

/// The newest `limit` entries that fit into one frame, and whether there are older ones.
fn newest_page(mut entries: Vec<Entry>, limit: usize) -> (Vec<Entry>, bool) {
    const MOST_BYTES: usize = 256 * 1024;
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.payload.as_str().len();
        bytes <= MOST_BYTES
    };
    // One entry is returned whatever its size, or a client could never get past it.
    let count = entries.iter().rev().take(limit).take_while(fits).count().max(1).min(entries.len());
    let more = entries.len() > count;
    (entries.split_off(entries.len() - count), more)
}
