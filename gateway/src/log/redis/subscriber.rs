//! The connection that is told which rooms have news: one `SUBSCRIBE` per watched room to its keyspace notifications.
//! A notification is only a hint; nothing depends on its arrival.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use redis::aio::{PubSub, PubSubSink};
use redis::{RedisResult, Value};

use super::{Address, Inner, link};
use crate::error::LogError;
use crate::room::RoomId;

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
const COMMANDS_COME: Duration = Duration::from_millis(50);
const PING_EVERY: Duration = Duration::from_secs(2);
/// Channels of one `SUBSCRIBE`.
const CHUNK: usize = 500;

/// Subscribes, follows, and begins anew whenever the connection breaks.
pub(super) async fn run(inner: Arc<Inner>, address: Address) {
    let (mut attempt, mut known) = (0, false);
    loop {
        match connect(&address).await {
            Ok(connection) => {
                if std::mem::replace(&mut known, true) {
                    inner.metrics.redis_reconnected("subscriptions");
                }
                attempt = 0;
                expect(&inner).await;
                let error = follow(&inner, connection).await;
                inner.table.follow(false);
                tracing::warn!(reason = error, "the connection for notifications is lost");
            }
            Err(reason) => tracing::debug!(reason, "no connection for notifications"),
        }
        tokio::time::sleep(link::backoff(attempt)).await;
        attempt += 1;
    }
}

async fn connect(address: &Address) -> Result<PubSub, String> {
    match tokio::time::timeout(CONNECT_PATIENCE, address.client().get_async_pubsub()).await {
        Ok(result) => result.map_err(|error| link::describe(&error)),
        Err(_) => Err("timed out".into()),
    }
}

/// Switches notifications on, and says what to expect.
async fn expect(inner: &Inner) {
    let result = loop {
        match switch_on(inner).await {
            // The connection for commands is about to come as well.
            Err(LogError::Unavailable(_)) => tokio::time::sleep(COMMANDS_COME).await,
            result => break result,
        }
    };
    if let Err(error) = &result {
        tracing::warn!(
            %error,
            "keyspace notifications cannot be switched on: rooms are polled, which costs Redis more; \
             set notify-keyspace-events to Kt in the server's configuration"
        );
    }
    inner.table.expect_notifications(result.is_ok());
}

/// `CONFIG SET notify-keyspace-events`, keeping what is set there for others.
async fn switch_on(inner: &Inner) -> Result<(), LogError> {
    const SETTING: &str = "notify-keyspace-events";
    let reply: Value = inner.commands.query(redis::cmd("CONFIG").arg("GET").arg(SETTING)).await?;
    let current: std::collections::HashMap<String, String> = redis::from_redis_value(reply)
        .map_err(|_| LogError::Refused("CONFIG GET answered something unknown".into()))?;
    let current = current.get(SETTING).map(String::as_str).unwrap_or_default();
    match merged(current) {
        None => Ok(()),
        Some(flags) => inner.commands.query(redis::cmd("CONFIG").arg("SET").arg(SETTING).arg(flags)).await,
    }
}

/// The flags with `K` (keyspace) and `t` (streams) among them; `None` if they are (`A` stands for all events).
fn merged(current: &str) -> Option<String> {
    let mut flags = current.to_owned();
    if !flags.contains('K') {
        flags.push('K');
    }
    if !flags.contains(['t', 'A']) {
        flags.push('t');
    }
    (flags != current).then_some(flags)
}

/// Follows until the connection breaks, and says why it did.
async fn follow(inner: &Inner, connection: PubSub) -> String {
    let (mut sink, mut messages) = connection.split();
    let mut subscribed = HashSet::new();
    drop(inner.table.take_changes());
    if let Err(reason) = answered(sink.subscribe(inner.keys.signals())).await {
        return reason;
    }
    if let Err(reason) = adjust(inner, &mut sink, &mut subscribed, inner.table.rooms()).await {
        return reason;
    }
    inner.table.follow(true);
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return "closed".into() };
                heard(inner, &message);
            }
            () = inner.table.changed.notified() => {
                if let Err(reason) = adjust(inner, &mut sink, &mut subscribed, inner.table.take_changes()).await {
                    return reason;
                }
            }
            () = inner.table.doubt.notified() => expect(inner).await,
            _ = pings.tick() => {
                if let Err(reason) = answered(sink.ping::<Value>()).await {
                    return reason;
                }
            }
        }
    }
}

fn heard(inner: &Inner, message: &redis::Msg) {
    match inner.keys.room_of_channel(message.get_channel_name()) {
        Some(room) => inner.table.hint(room),
        // Whatever cannot be read is from a newer gateway.
        None => drop(serde_json::from_slice(message.get_payload_bytes()).map(|signal| inner.feed.signal(signal))),
    }
}

async fn answered<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_PATIENCE, answer).await {
        Ok(result) => result.map_err(|error| link::describe(&error)),
        Err(_) => Err("timed out".into()),
    }
}

/// Brings the subscriptions of `rooms` in line with what is watched, whatever has happened in between.
async fn adjust(
    inner: &Inner,
    sink: &mut PubSubSink,
    subscribed: &mut HashSet<RoomId>,
    rooms: Vec<RoomId>,
) -> Result<(), String> {
    let (wanted, unwanted): (Vec<_>, Vec<_>) = rooms.into_iter().partition(|room| inner.table.is_watched(room));
    let new: Vec<_> = wanted.into_iter().filter(|room| subscribed.insert(room.clone())).collect();
    for chunk in new.chunks(CHUNK) {
        answered(sink.subscribe(channels(inner, chunk))).await?;
        // What was written before the subscription took effect was not notified.
        inner.table.mark(chunk);
    }
    let gone: Vec<_> = unwanted.into_iter().filter(|room| subscribed.remove(room)).collect();
    for chunk in gone.chunks(CHUNK) {
        answered(sink.unsubscribe(channels(inner, chunk))).await?;
    }
    Ok(())
}

fn channels(inner: &Inner, rooms: &[RoomId]) -> Vec<String> {
    rooms.iter().map(|room| inner.keys.channel(room)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_others_are_kept() {
        for (current, expect) in [
            ("", Some("Kt")),
            ("Ex", Some("ExKt")),
            ("KEx", Some("KExt")),
            ("AKE", None),
            ("AE", Some("AEK")),
            ("Kt", None),
            ("Et", Some("EtK")),
        ] {
            assert_eq!(merged(current).as_deref(), expect, "{current}");
        }
    }
}
