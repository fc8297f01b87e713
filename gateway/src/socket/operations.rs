//! What a session asks the log for, or has checked. Each operation ends with the event that answers it.

use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;

use super::inbox::Command;
use crate::auth::Token;
use crate::clock;
use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::idempotency::IdempotencyKey;
use crate::log::Answer;
use crate::log::continuity::Position;
use crate::protocol::{Code, Protocol, Refusal};
use crate::replay::{self, Wanted};
use crate::room::RoomId;
use crate::session::{Event, Replay};
use crate::shard::Connection;
use crate::shared::Shared;

/// Something under way.
pub(super) type Operation = Pin<Box<dyn Future<Output = Event> + Send>>;

pub(super) fn refusal(error: &LogError) -> Refusal {
    Refusal::new(None, Code::Unavailable, error.to_string())
}

/// Joins a room, with patience while the log is away, and sees what the client has missed. Of that it is given at most
/// `most` bytes at once.
pub(super) fn join(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    room: RoomId,
    since: Option<EntryId>,
    most: usize,
) -> Operation {
    async move {
        let mut patience = replay::PATIENCE.iter();
        loop {
            match try_join(&shared, &connection, &room, since, most).await {
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
    most: usize,
) -> Result<(EntryId, Option<Replay>), LogError> {
    // Live first, then the past: nothing falls between.
    let position = shared.hub.join(room, connection).await?;
    let Some(since) = since else { return Ok((position, None)) };
    let mut span = shared.metrics.traces.root("replay begin");
    let wanted = wanted(shared, room, connection.protocol, most);
    let begun = shared.replays.begin(&**shared.hub.log(), wanted, since, position).await;
    let replay = begun.inspect_err(|error| span.fail(error.label()))?;
    span.set("wscluster.replay.recovered", replay.recovered);
    span.count("wscluster.replay.messages", replay.count);
    shared.metrics.replayed(replay.count);
    Ok((position, Some(replay)))
}

/// Reads the next messages for a client that stands at `at`. While the log is away it is asked from time to time.
pub(super) fn read_on(
    shared: Arc<Shared>,
    protocol: Protocol,
    room: RoomId,
    at: Position,
    typical: usize,
    most: usize,
) -> Operation {
    async move {
        let mut span = shared.metrics.traces.root("replay read");
        let wanted = wanted(&shared, &room, protocol, most);
        let read = shared.replays.next(&**shared.hub.log(), wanted, at, typical).await;
        match &read {
            Ok(passage) => span.count("wscluster.replay.messages", passage.messages.len()),
            Err(error) => {
                span.fail(error.label());
                drop(span);
                tokio::time::sleep(replay::RETRY).await;
            }
        }
        Event::ReadOn { passage: read.ok(), room }
    }
    .boxed()
}

fn wanted<'a>(shared: &Shared, room: &'a RoomId, protocol: Protocol, most: usize) -> Wanted<'a> {
    Wanted { room, protocol, most, idle_ttl: shared.config().idle_ttl_ms(room.as_str()) }
}

pub(super) fn authenticate(shared: Arc<Shared>, token: Token) -> Operation {
    async move { Event::Authenticated(shared.auth.verify(&token.0).await) }.boxed()
}

/// Writes at once: what a client publishes gets its place in the log in the order in which it was sent.
pub(super) fn publish(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    reference: Option<u64>,
    room: RoomId,
    payload: Text,
    key: Option<IdempotencyKey>,
) {
    let mut span = shared.metrics.traces.root("publish");
    span.count("messaging.message.body.size", payload.as_str().len());
    let (metrics, connection) = (Arc::clone(&shared.metrics), Arc::clone(connection));
    let answer = Answer::new(move |result| {
        if let Err(error) = &result {
            span.fail(error.label());
        }
        metrics.published(result.as_ref().err());
        let result = result.map_err(|error| Refusal { reference, ..refusal(&error) });
        let inbox = Arc::clone(&connection.inbox);
        inbox.send(Command::Done(connection, Event::Published { reference, result }));
    });
    shared.hub.log().append_then(room, payload, key, clock::now(), answer);
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
