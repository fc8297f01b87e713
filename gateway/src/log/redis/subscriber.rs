//! The connection that is told which rooms have news: one `SUBSCRIBE` per watched room to its keyspace notifications.
//! A notification is only a hint; nothing depends on its arrival.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt;
use redis::aio::{PubSub, PubSubSink};
use redis::{RedisResult, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::keys;
use super::link::{Link, Target};
use super::place::Place;
use super::servers::Servers;
use super::signs::Sign;
use super::{Inner, errors, link};
use crate::error::LogError;
use crate::log::Mode;
use crate::room::RoomId;

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
const COMMANDS_COME: Duration = Duration::from_millis(50);
const PING_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What happens to a stream without anything being added to it, mostly along with `xadd`.
const NO_NEWS: [&[u8]; 3] = [b"xtrim", b"xdel", b"expire"];
/// Channels of one `SUBSCRIBE`.
const CHUNK: usize = 500;

/// Follows every server that notifies: the one there is, or each master of a Cluster.
pub(super) async fn run(inner: Arc<Inner>) {
    match &inner.servers {
        Servers::One { target, commands, .. } => {
            let (target, commands) = (target.clone(), Arc::clone(commands));
            let sign = inner.signs.of("");
            Follower { sign, inner, target, commands, of: None, known: false }.run().await;
        }
        Servers::Cluster(cluster) => follow_masters(&inner, Arc::clone(cluster)).await,
    }
}

async fn follow_masters(inner: &Arc<Inner>, cluster: Arc<Cluster>) {
    let mut changed = cluster.changed();
    let mut running: HashMap<Place, CancellationToken> = HashMap::new();
    // Ends the followers with this task.
    let all = CancellationToken::new();
    let _guard = all.clone().drop_guard();
    loop {
        let masters = cluster.masters();
        running.retain(|place, stop| {
            let stays = masters.iter().any(|node| node.place == *place);
            if !stays {
                stop.cancel();
                inner.signs.forget(&place.to_string());
            }
            stays
        });
        for node in masters {
            if running.contains_key(&node.place) {
                continue;
            }
            let stop = all.child_token();
            running.insert(node.place.clone(), stop.clone());
            let follower = Follower {
                sign: inner.signs.of(&node.place.to_string()),
                inner: Arc::clone(inner),
                target: Target::Fixed(node.place.clone()),
                commands: Arc::clone(&node.commands),
                of: Some((Arc::clone(&cluster), node.place.clone())),
                known: false,
            };
            tokio::spawn(async move { stop.run_until_cancelled(follower.run()).await });
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Follows the notifications of one server.
struct Follower {
    inner: Arc<Inner>,
    sign: Arc<Sign>,
    target: Target,
    commands: Arc<Link>,
    /// The node of a Cluster that it follows; without, all rooms are its business.
    of: Option<(Arc<Cluster>, Place)>,
    known: bool,
}

impl Follower {
    /// Subscribes, follows, and begins anew whenever the connection breaks.
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let place = self.target.place().await;
            match self.connect(&place).await {
                Ok(connection) => {
                    if std::mem::replace(&mut self.known, true) {
                        self.inner.metrics.redis_reconnected("subscriptions");
                    }
                    attempt = 0;
                    self.expect().await;
                    let mut target = self.target.clone();
                    let error = tokio::select! {
                        error = self.follow(connection) => error,
                        () = target.leaves(&place) => "the master is elsewhere now".into(),
                        never = self.look() => match never {},
                    };
                    self.sign.watch(false);
                    self.sign.follow(false);
                    self.inner.table.unfollow(|room| self.is_ours(room));
                    self.inner.table.lanes().iter().for_each(|lane| lane.blind.notify_one());
                    tracing::warn!(redis = %place, reason = error, "the connection for notifications is lost");
                }
                Err(reason) => tracing::debug!(redis = %place, reason, "no connection for notifications"),
            }
            tokio::time::sleep(link::backoff(attempt)).await;
            attempt += 1;
        }
    }

    async fn connect(&self, place: &Place) -> Result<PubSub, String> {
        let client = self.inner.address.client(place).map_err(|error| errors::describe(&error))?;
        match tokio::time::timeout(CONNECT_PATIENCE, client.get_async_pubsub()).await {
            Ok(result) => result.map_err(|error| errors::describe(&error)),
            Err(_) => Err("timed out".into()),
        }
    }

    /// Switches notifications on, and says what to expect.
    async fn expect(&self) {
        let result = loop {
            match switch_on(&self.commands).await {
                // The connection for commands is about to come as well.
                Err(LogError::Unavailable(_)) => tokio::time::sleep(COMMANDS_COME).await,
                result => break result,
            }
        };
        let before = self.inner.signs.mode();
        self.sign.expect(result.is_ok());
        self.inner.table.expect_none();
        match result {
            Err(error) if before == Mode::Notifications || !self.inner.fallback_told.swap(true, Relaxed) => {
                tracing::warn!(
                    %error,
                    "Redis does not notify of changes and does not let us set notify-keyspace-events: rooms are read in \
                     partitions, which costs it more. Set notify-keyspace-events to Kt in its configuration"
                );
            }
            _ => {}
        }
        self.inner.fallback.notify_one();
    }

    /// Looks at the server's setting from time to time: who changes it ends the notifications without a word. Where it
    /// may not be looked at, the sweep has to find what was not told.
    async fn look(&self) -> Infallible {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            match switch_on(&self.commands).await {
                Ok(Switched::Before) => self.sign.watch(true),
                Ok(Switched::Now) => {
                    tracing::warn!("somebody changed notify-keyspace-events: Redis was told again to notify");
                    self.inner.table.expect_none();
                    self.inner.table.lanes().iter().for_each(|lane| lane.blind.notify_one());
                }
                Err(LogError::Unavailable(_)) => {}
                Err(_) => self.sign.watch(false),
            }
        }
    }

    fn is_ours(&self, room: &RoomId) -> bool {
        let Some((cluster, place)) = &self.of else { return true };
        cluster.serves(place, self.inner.keys.slot(room))
    }

    /// Follows until the connection breaks, and says why it did.
    async fn follow(&self, connection: PubSub) -> String {
        let (mut sink, mut messages) = connection.split();
        let mut subscribed = Subscribed::default();
        let mut changes = self.inner.table.listen();
        let mut topology = self.of.as_ref().map(|(cluster, _)| cluster.changed());
        if let Err(reason) = self.adjust(&mut sink, &mut subscribed, self.inner.table.rooms()).await {
            return reason;
        }
        self.sign.follow(true);
        let (mut pings, mut rooms) = (tokio::time::interval(PING_EVERY), Vec::new());
        loop {
            let result = tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return "closed".into() };
                    self.heard(&message);
                    Ok(())
                }
                _ = changes.recv_many(&mut rooms, CHUNK) => {
                    self.adjust(&mut sink, &mut subscribed, std::mem::take(&mut rooms)).await
                }
                () = changes_of(&mut topology) => {
                    let rooms = self.inner.table.rooms().into_iter().chain(subscribed.rooms.iter().cloned()).collect();
                    self.adjust(&mut sink, &mut subscribed, rooms).await
                }
                () = self.sign.doubt.notified() => {
                    self.expect().await;
                    Ok(())
                }
                _ = pings.tick() => answered(sink.ping::<Value>()).await.map(drop),
            };
            if let Err(reason) = result {
                return reason;
            }
        }
    }

    fn heard(&self, message: &redis::Msg) {
        match self.inner.keys.room_of_channel(message.get_channel_name()) {
            Some(room) => {
                self.sign.hint();
                match message.get_payload_bytes() {
                    b"xadd" => self.inner.table.notified(room),
                    event if NO_NEWS.contains(&event) => {}
                    // A stream was put there whole, or taken away.
                    _ => self.inner.table.changed(room),
                }
            }
            // Whatever cannot be read is from a newer gateway.
            None => {
                if let Ok(signal) = serde_json::from_slice(message.get_payload_bytes()) {
                    self.inner.feed.signal(signal);
                }
            }
        }
    }

    /// Brings the subscriptions of `rooms` in line with what is watched, whatever has happened in between.
    async fn adjust(
        &self,
        sink: &mut PubSubSink,
        subscribed: &mut Subscribed,
        rooms: Vec<RoomId>,
    ) -> Result<(), String> {
        self.adjust_signals(sink, subscribed).await?;
        let is_wanted = |room: &RoomId| self.inner.table.is_watched(room) && self.is_ours(room);
        let (wanted, unwanted): (Vec<_>, Vec<_>) = rooms.into_iter().partition(is_wanted);
        let (new, kept): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|room| subscribed.rooms.insert(room.clone()));
        self.inner.table.follow(&kept);
        for chunk in new.chunks(CHUNK) {
            answered(sink.subscribe(self.channels(chunk))).await?;
            self.inner.table.follow(chunk);
            // What was written before the subscription took effect was not notified.
            self.inner.table.mark(chunk);
        }
        let gone: Vec<_> = unwanted.into_iter().filter(|room| subscribed.rooms.remove(room)).collect();
        for chunk in gone.chunks(CHUNK) {
            answered(sink.unsubscribe(self.channels(chunk))).await?;
        }
        Ok(())
    }

    /// In a Cluster every node repeats every signal: one of them is enough.
    async fn adjust_signals(&self, sink: &mut PubSubSink, subscribed: &mut Subscribed) -> Result<(), String> {
        let channel = self.inner.keys.signals();
        let wanted = self.of.as_ref().is_none_or(|(cluster, place)| cluster.serves(place, keys::slot(&channel)));
        if wanted == std::mem::replace(&mut subscribed.signals, wanted) {
            return Ok(());
        }
        if wanted { answered(sink.subscribe(channel)).await } else { answered(sink.unsubscribe(channel)).await }
    }

    fn channels(&self, rooms: &[RoomId]) -> Vec<String> {
        rooms.iter().map(|room| self.inner.keys.channel(room)).collect()
    }
}

/// What a connection is subscribed to.
#[derive(Default)]
struct Subscribed {
    rooms: HashSet<RoomId>,
    signals: bool,
}

async fn changes_of(topology: &mut Option<watch::Receiver<u64>>) {
    let told = match topology {
        Some(changed) => changed.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

async fn answered<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_PATIENCE, answer).await {
        Ok(result) => result.map_err(|error| errors::describe(&error)),
        Err(_) => Err("timed out".into()),
    }
}

/// When a server was told to notify.
enum Switched {
    Before,
    Now,
}

/// `CONFIG SET notify-keyspace-events`, keeping what is set there for others.
async fn switch_on(commands: &Link) -> Result<Switched, LogError> {
    const SETTING: &str = "notify-keyspace-events";
    let reply: Value = commands.query(redis::cmd("CONFIG").arg("GET").arg(SETTING)).await?;
    let current: std::collections::HashMap<String, String> = redis::from_redis_value(reply)
        .map_err(|_| LogError::Refused("CONFIG GET answered something unknown".into()))?;
    let current = current.get(SETTING).map(String::as_str).unwrap_or_default();
    match merged(current) {
        None => Ok(Switched::Before),
        Some(flags) => {
            commands.query::<()>(redis::cmd("CONFIG").arg("SET").arg(SETTING).arg(flags)).await?;
            Ok(Switched::Now)
        }
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
