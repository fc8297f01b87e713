//! Rooms on Redis Streams. Uses three connections per master, however many rooms there are: one for commands, one for
//! reads, one that is told which rooms have news.

mod address;
mod cluster;
mod codec;
mod commands;
mod errors;
mod keys;
mod lane;
mod life;
mod link;
mod partitions;
mod place;
mod reader;
mod rooms;
mod round;
mod sentinel;
mod servers;
mod signs;
mod subscriber;
mod table;
mod topology;
mod writer;
mod xread;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::future::{BoxFuture, FutureExt};
use redis::{Cmd, Value};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Answer, Feed, Health, Log, RoomPage, Signal, StreamState, Token};
use crate::clock::{self, Millis};
use crate::config::{InForce, Shared, Trim};
use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::idempotency::IdempotencyKey;
use crate::log::continuity::{self, Position};
use crate::metrics::Metrics;
use crate::protocol::Reason;
use crate::room::RoomId;

pub use address::{Address, AddressError};
use codec::Found;
pub use commands::Commands;
use keys::Keys;
use link::Way;
use servers::{Event, Servers};
use signs::Signs;
use table::Table;
use writer::{Append, trim_arguments};

/// Rooms on Redis Streams.
pub struct RedisLog {
    inner: Arc<Inner>,
    stop: CancellationToken,
}

/// What the parts of the log share.
struct Inner {
    address: Address,
    servers: Servers,
    /// One per lane.
    appends: Vec<mpsc::UnboundedSender<Append>>,
    table: Table,
    signs: Signs,
    /// It may have become known that there are no notifications, or that there are.
    fallback: Notify,
    fallback_told: AtomicBool,
    /// Blocking reads wait for news of every room.
    partitions_wait: AtomicBool,
    keys: Arc<Keys>,
    feed: Arc<dyn Feed>,
    settings: Shared,
    metrics: Arc<Metrics>,
}

impl RedisLog {
    /// Begins to connect, and goes on trying for ever. Must be called within a tokio runtime.
    pub fn start(address: Address, settings: Shared, feed: Arc<dyn Feed>, metrics: Arc<Metrics>) -> Arc<Self> {
        let stop = CancellationToken::new();
        let keys = Arc::new(Keys::new(&settings.load().streams.key_prefix, address.database()));
        let (events, happened) = mpsc::unbounded_channel();
        let servers = Servers::start(&address, &metrics, &stop, events);
        let (appends, asked): (Vec<_>, Vec<_>) = (0..servers.lanes()).map(|_| mpsc::unbounded_channel()).unzip();
        let inner = Arc::new(Inner {
            table: Table::new(Arc::clone(&keys), servers.lanes()),
            address,
            servers,
            appends,
            signs: Signs::default(),
            fallback: Notify::new(),
            fallback_told: AtomicBool::new(false),
            partitions_wait: AtomicBool::new(false),
            keys,
            feed,
            settings,
            metrics,
        });
        let until_stopped = |task: BoxFuture<'static, ()>| tokio::spawn(stop.clone().run_until_cancelled_owned(task));
        until_stopped(care(Arc::clone(&inner), happened).boxed());
        until_stopped(subscriber::run(Arc::clone(&inner)).boxed());
        until_stopped(partitions::run(Arc::clone(&inner)).boxed());
        for (lane, asked) in asked.into_iter().enumerate() {
            until_stopped(writer::run(Arc::clone(&inner), lane, asked).boxed());
            until_stopped(reader::run(Arc::clone(&inner), lane).boxed());
        }
        Arc::new(Self { inner, stop })
    }

    /// For what else is kept in the same Redis.
    pub fn commands(&self) -> Commands {
        Commands::new(Arc::clone(&self.inner))
    }
}

/// What happens to the servers is of interest to the readers of what they hold.
async fn care(inner: Arc<Inner>, mut happened: mpsc::UnboundedReceiver<Event>) {
    while let Some(event) = happened.recv().await {
        match event {
            Event::News(slots) | Event::Lost(slots) if slots.is_empty() => {}
            // Whatever was written in between was not told.
            Event::News(slots) => inner.table.mark_slots(&slots),
            Event::Lost(slots) => inner.table.suspect(&slots, clock::now()),
        }
    }
}

/// Entries of a room, and then the state of its stream.
type Whole = (Vec<Found>, Option<StreamState>);

impl Inner {
    fn config(&self) -> Arc<InForce> {
        self.settings.load_full()
    }

    fn range(&self, room: &RoomId, after: EntryId, limit: usize) -> Cmd {
        let mut command = redis::cmd("XRANGE");
        command.arg(self.keys.stream(room)).arg(format!("({after}")).arg("+").arg("COUNT").arg(limit);
        command
    }

    fn info(&self, room: &RoomId) -> Cmd {
        let mut command = redis::cmd("XINFO");
        command.arg("STREAM").arg(self.keys.stream(room));
        command
    }

    async fn read_after(&self, room: &RoomId, after: EntryId, limit: usize) -> Result<Vec<Entry>, LogError> {
        let reply = self.servers.query(Way::Commands, &mut self.range(room, after, limit)).await?;
        Ok(codec::entries(reply).into_iter().map(|each| each.entry).collect())
    }

    async fn read_before(&self, room: &RoomId, before: EntryId, limit: usize) -> Result<Vec<Entry>, LogError> {
        // The greatest id cannot be excluded: Redis refuses an empty range.
        let end = if before == EntryId::MAX { "+".to_owned() } else { format!("({before}") };
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.keys.stream(room)).arg(end).arg("-").arg("COUNT").arg(limit);
        if before == EntryId::ZERO {
            return Ok(Vec::new());
        }
        let found = codec::entries(self.servers.query(Way::Commands, &mut command).await?);
        Ok(found.into_iter().rev().map(|each| each.entry).collect())
    }

    async fn state(&self, way: Way, room: &RoomId) -> Result<Option<StreamState>, LogError> {
        self.read_state(room, self.servers.query(way, &mut self.info(room)).await)
    }

    fn read_state(&self, room: &RoomId, reply: Result<Value, LogError>) -> Result<Option<StreamState>, LogError> {
        let reliable_since = self.table.reliable_since(room);
        match reply {
            Ok(reply) => codec::state(reply).map(|state| Some(StreamState { reliable_since, ..state })),
            Err(LogError::Refused(reason)) if reason.contains("no such key") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for entries of a room, and then for its state: what the state proves to be present was present for the read.
    fn with_state(&self, room: &RoomId, after: EntryId, limit: usize) -> [(u16, Cmd); 2] {
        let slot = self.servers.group(&self.keys.stream(room));
        [(slot, self.range(room, after, limit)), (slot, self.info(room))]
    }

    /// What the next two replies say, which are those to [`Inner::with_state`].
    fn read_with_state(
        &self,
        room: &RoomId,
        replies: &mut impl Iterator<Item = Result<Value, LogError>>,
    ) -> Result<Whole, LogError> {
        let (Some(entries), Some(state)) = (replies.next(), replies.next()) else {
            return Err(LogError::Refused("Redis did not answer every command".into()));
        };
        Ok((codec::entries(entries?), self.read_state(room, state)?))
    }

    /// Whether a reader of a room that stands at `at` has missed nothing, now that its stream is `state`.
    fn check(&self, room: &RoomId, at: Position, state: Option<&StreamState>) -> Result<(), Reason> {
        continuity::check(at, state, self.config().idle_ttl_ms(room.as_str()), clock::now())
    }

    async fn trim(&self, room: &RoomId, trim: &Trim, now: Millis) -> Result<u64, LogError> {
        let mut command = redis::cmd("XTRIM");
        command.arg(self.keys.stream(room));
        trim_arguments(&mut command, trim, now);
        self.servers.query(Way::Commands, &mut command).await
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LogError> {
        let text = serde_json::to_string(signal).expect("a signal is JSON");
        self.servers.query(Way::Commands, redis::cmd("PUBLISH").arg(self.keys.signals()).arg(text)).await
    }

    /// `$` becomes an id once, here.
    async fn watch(&self, room: &RoomId, token: Token) -> Result<EntryId, LogError> {
        let state = self.state(Way::Reads, room).await?;
        let position = Position::end(state.as_ref());
        self.table.insert(room, token, position);
        Ok(position.id)
    }
}

impl Log for RedisLog {
    fn append_then(&self, room: RoomId, payload: Text, key: Option<IdempotencyKey>, now: Millis, answer: Answer) {
        let lane = self.inner.table.lane_number(room.as_str());
        // If nobody takes it any more, it answers by itself.
        let _ = self.inner.appends[lane].send(Append { room, payload, key, now, answer });
    }

    fn read_after<'a>(
        &'a self,
        room: &'a RoomId,
        after: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>> {
        self.inner.read_after(room, after, limit).boxed()
    }

    fn read_before<'a>(
        &'a self,
        room: &'a RoomId,
        before: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>> {
        self.inner.read_before(room, before, limit).boxed()
    }

    fn state<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Option<StreamState>, LogError>> {
        self.inner.state(Way::Commands, room).boxed()
    }

    fn trim<'a>(&'a self, room: &'a RoomId, trim: &'a Trim, now: Millis) -> BoxFuture<'a, Result<u64, LogError>> {
        self.inner.trim(room, trim, now).boxed()
    }

    fn rooms(&self, cursor: Option<String>, limit: usize) -> BoxFuture<'_, Result<RoomPage, LogError>> {
        rooms::page(&self.inner, cursor, limit).boxed()
    }

    fn signal<'a>(&'a self, signal: &'a Signal) -> BoxFuture<'a, Result<(), LogError>> {
        self.inner.signal(signal).boxed()
    }

    fn watch<'a>(&'a self, room: &'a RoomId, token: Token) -> BoxFuture<'a, Result<EntryId, LogError>> {
        self.inner.watch(room, token).boxed()
    }

    fn unwatch(&self, room: &RoomId, token: Token) {
        self.inner.table.remove(room, token);
    }

    fn stop(&self) {
        self.stop.cancel();
    }

    fn health(&self) -> Health {
        Health {
            connected: self.inner.servers.connected(),
            seconds_since_read: self.inner.servers.seconds_since_read(),
            mode: self.inner.signs.mode(),
        }
    }
}
