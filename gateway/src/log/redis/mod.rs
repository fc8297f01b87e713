//! Rooms on Redis Streams. Uses three connections, however many rooms there are: one for commands, one for reads, one
//! that is told which rooms have news.

mod address;
mod codec;
mod commands;
mod keys;
mod link;
mod reader;
mod rooms;
mod subscriber;
mod table;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use redis::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Feed, Health, Log, RoomPage, Signal, StreamState, Token};
use crate::clock::Millis;
use crate::config::{InForce, Shared, Trim};
use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::idempotency::IdempotencyKey;
use crate::log::continuity::Position;
use crate::metrics::Metrics;
use crate::room::RoomId;

pub use address::{Address, AddressError};
use codec::Found;
pub use commands::Commands;
use keys::Keys;
use link::Link;
use table::Table;
use writer::{Append, trim_arguments};

/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
/// How long a read may take; it may return many megabytes.
const READ_PATIENCE: Duration = Duration::from_secs(15);

/// Rooms on Redis Streams.
pub struct RedisLog {
    inner: Arc<Inner>,
    stop: CancellationToken,
}

/// What the parts of the log share.
struct Inner {
    commands: Arc<Link>,
    reads: Arc<Link>,
    appends: mpsc::UnboundedSender<Append>,
    table: Table,
    keys: Keys,
    feed: Arc<dyn Feed>,
    settings: Shared,
    metrics: Arc<Metrics>,
}

impl RedisLog {
    /// Begins to connect, and goes on trying for ever. Must be called within a tokio runtime.
    pub fn start(address: Address, settings: Shared, feed: Arc<dyn Feed>, metrics: Arc<Metrics>) -> Arc<Self> {
        let stop = CancellationToken::new();
        let link = |name, patience| Link::start(name, address.clone(), patience, Arc::clone(&metrics), stop.clone());
        let keys = Keys::new(&settings.load().streams.key_prefix, address.database());
        let (appends, asked) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            commands: link("commands", COMMAND_PATIENCE),
            reads: link("reads", READ_PATIENCE),
            appends,
            table: Table::default(),
            keys,
            feed,
            settings,
            metrics,
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(subscriber::run(Arc::clone(&inner), address)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(writer::run(Arc::clone(&inner), asked)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(reader::run(Arc::clone(&inner))));
        Arc::new(Self { inner, stop })
    }

    /// For what else is kept in the same Redis.
    pub fn commands(&self) -> Commands {
        Commands::new(Arc::clone(&self.inner))
    }
}

impl Inner {
    fn config(&self) -> Arc<InForce> {
        self.settings.load_full()
    }

    /// Asks the writer at once: entries are written in the order of calls, however the answers are awaited.
    async fn append(
        &self,
        room: &RoomId,
        payload: &Text,
        key: Option<&IdempotencyKey>,
        now: Millis,
    ) -> Result<EntryId, LogError> {
        let (answer, answered) = oneshot::channel();
        let append = Append { room: room.clone(), payload: payload.clone(), key: key.cloned(), now, answer };
        let stopped = || LogError::Unavailable("the gateway stops".into());
        self.appends.send(append).map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn range(&self, link: &Link, command: &mut redis::Cmd) -> Result<Vec<Found>, LogError> {
        Ok(codec::entries(link.query(command).await?))
    }

    async fn read_after(
        &self,
        link: &Link,
        room: &RoomId,
        after: EntryId,
        limit: usize,
    ) -> Result<Vec<Found>, LogError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(self.keys.stream(room)).arg(format!("({after}")).arg("+").arg("COUNT").arg(limit);
        self.range(link, &mut command).await
    }

    async fn read_before(&self, room: &RoomId, before: EntryId, limit: usize) -> Result<Vec<Entry>, LogError> {
        // The greatest id cannot be excluded: Redis refuses an empty range.
        let end = if before == EntryId::MAX { "+".to_owned() } else { format!("({before}") };
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.keys.stream(room)).arg(end).arg("-").arg("COUNT").arg(limit);
        if before == EntryId::ZERO {
            return Ok(Vec::new());
        }
        let found = self.range(&self.commands, &mut command).await?;
        Ok(found.into_iter().rev().map(|each| each.entry).collect())
    }

    async fn state(&self, link: &Link, room: &RoomId) -> Result<Option<StreamState>, LogError> {
        let mut command = redis::cmd("XINFO");
        command.arg("STREAM").arg(self.keys.stream(room));
        match link.query::<Value>(&mut command).await {
            Ok(reply) => codec::state(reply).map(Some),
            Err(LogError::Refused(reason)) if reason.contains("no such key") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn trim(&self, room: &RoomId, trim: &Trim, now: Millis) -> Result<u64, LogError> {
        let mut command = redis::cmd("XTRIM");
        command.arg(self.keys.stream(room));
        trim_arguments(&mut command, trim, now);
        self.commands.query(&mut command).await
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LogError> {
        let text = serde_json::to_string(signal).expect("a signal is JSON");
        self.commands.query(redis::cmd("PUBLISH").arg(self.keys.signals()).arg(text)).await
    }

    /// `$` becomes an id once, here.
    async fn watch(&self, room: &RoomId, token: Token) -> Result<EntryId, LogError> {
        let state = self.state(&self.reads, room).await?;
        let position = Position::end(state.as_ref());
        self.table.insert(room.clone(), token, position);
        Ok(position.id)
    }
}

impl Log for RedisLog {
    fn append<'a>(
        &'a self,
        room: &'a RoomId,
        payload: &'a Text,
        key: Option<&'a IdempotencyKey>,
        now: Millis,
    ) -> BoxFuture<'a, Result<EntryId, LogError>> {
        self.inner.append(room, payload, key, now).boxed()
    }

    fn read_after<'a>(
        &'a self,
        room: &'a RoomId,
        after: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LogError>> {
        let read = self.inner.read_after(&self.inner.commands, room, after, limit);
        async { Ok(read.await?.into_iter().map(|each| each.entry).collect()) }.boxed()
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
        self.inner.state(&self.inner.commands, room).boxed()
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
            connected: self.inner.commands.connected() && self.inner.reads.connected(),
            seconds_since_read: self.inner.reads.seconds_since_success(),
            mode: self.inner.table.mode(),
        }
    }
}
