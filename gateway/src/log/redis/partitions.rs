//! Where a server does not notify: blocking reads over partitions of the rooms, each on a connection of its own, tell
//! which rooms have news. Like notifications they are hints only; the reader reads. A Cluster, where one read cannot
//! span slots, is polled instead.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use tokio_util::sync::CancellationToken;

use super::link::{self, Target, Way};
use super::servers::Servers;
use super::{Inner, codec, errors};
use crate::entry::EntryId;
use crate::room::RoomId;

/// Rooms of one partition: a read over 1,000 keys costs Redis a millisecond, over so many a quarter of that.
pub(super) const MOST: usize = 256;
/// How long one read waits.
const BLOCK: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the reader has to take what was found, before the same is asked for again.
const SETTLE: Duration = Duration::from_millis(200);
/// Changes of the watched rooms taken together.
const CHANGES: usize = 1024;

/// Waits until there are no notifications, and then reads so for as long as there are none.
pub(super) async fn run(inner: Arc<Inner>) {
    let Servers::One { target, .. } = &inner.servers else { return };
    loop {
        while !inner.signs.silent() {
            inner.fallback.notified().await;
        }
        let manager = Manager::new(Arc::clone(&inner), target.clone());
        inner.partitions_wait.store(true, Relaxed);
        manager.run_while_silent().await;
        inner.partitions_wait.store(false, Relaxed);
        inner.table.lanes().iter().for_each(|lane| lane.blind.notify_one());
    }
}

/// Spreads the watched rooms over partitions.
struct Manager {
    inner: Arc<Inner>,
    target: Target,
    name: String,
    partitions: Vec<Arc<Partition>>,
    places: HashMap<RoomId, usize>,
    stop: CancellationToken,
}

/// Some rooms, read together.
struct Partition {
    rooms: Mutex<HashSet<RoomId>>,
    /// A stream of our own that ends the read when the rooms change.
    wake: String,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Manager {
    fn new(inner: Arc<Inner>, target: Target) -> Self {
        let name = format!("wscluster/wake/{:016x}", rand::random::<u64>());
        Self { inner, target, name, partitions: Vec::new(), places: HashMap::new(), stop: CancellationToken::new() }
    }

    async fn run_while_silent(mut self) {
        let inner = Arc::clone(&self.inner);
        let mut listener = inner.table.listen();
        let mut changed = inner.table.rooms();
        while inner.signs.silent() {
            let touched: HashSet<usize> = changed.drain(..).filter_map(|room| self.place(room)).collect();
            for index in touched {
                self.wake(&self.partitions[index]);
            }
            tokio::select! {
                _ = listener.recv_many(&mut changed, CHANGES) => {}
                () = inner.fallback.notified() => {}
            }
        }
    }

    /// Puts a room where it belongs; returns a partition that must know of it at once. One that lost a room learns that
    /// with its next read.
    fn place(&mut self, room: RoomId) -> Option<usize> {
        let watched = self.inner.table.is_watched(&room);
        match (watched, self.places.get(&room)) {
            // Watched anew, perhaps from another position.
            (true, Some(index)) => Some(*index),
            (true, None) => {
                let fits = |partition: &Arc<Partition>| partition.rooms.lock().len() < MOST;
                let index = self.partitions.iter().position(fits).unwrap_or_else(|| self.add());
                self.partitions[index].rooms.lock().insert(room.clone());
                self.places.insert(room, index);
                Some(index)
            }
            (false, Some(index)) => {
                self.partitions[*index].rooms.lock().remove(&room);
                self.places.remove(&room);
                None
            }
            (false, None) => None,
        }
    }

    fn add(&mut self) -> usize {
        let index = self.partitions.len();
        let partition = Arc::new(Partition { rooms: Mutex::default(), wake: format!("{}/{index}", self.name) });
        self.partitions.push(Arc::clone(&partition));
        let reading = read_for_ever(Arc::clone(&self.inner), self.target.clone(), partition);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(reading));
        index
    }

    fn wake(&self, partition: &Partition) {
        let (inner, key) = (Arc::clone(&self.inner), partition.wake.clone());
        tokio::spawn(async move {
            let mut add = redis::cmd("XADD");
            add.arg(&key).arg("MAXLEN").arg(1).arg("*").arg("wake").arg(1);
            let _ = inner.servers.query::<Value>(Way::Commands, &mut add).await;
            // Left behind by a gateway that ends, it goes by itself.
            let _ = inner.servers.query::<Value>(Way::Commands, redis::cmd("EXPIRE").arg(&key).arg(60)).await;
        });
    }
}

async fn read_for_ever(inner: Arc<Inner>, mut target: Target, partition: Arc<Partition>) {
    let mut attempt = 0;
    loop {
        let place = target.place().await;
        // Blocking reads must not run into the client's own timeout.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(BLOCK + PATIENCE));
        let connecting =
            async { inner.address.client(&place)?.get_multiplexed_async_connection_with_config(&config).await };
        match connecting.await {
            Ok(connection) => {
                attempt = 0;
                let mut reading =
                    Reading { inner: &inner, partition: &partition, seen: HashMap::new(), woken: EntryId::ZERO };
                let error = tokio::select! {
                    error = reading.read_until_broken(connection) => error,
                    () = target.leaves(&place) => "the master is elsewhere now".into(),
                };
                tracing::debug!(reason = error, "a connection for blocking reads is lost");
            }
            Err(error) => tracing::debug!(reason = errors::describe(&error), "no connection for blocking reads"),
        }
        tokio::time::sleep(link::backoff(attempt)).await;
        attempt += 1;
    }
}

struct Reading<'a> {
    inner: &'a Inner,
    partition: &'a Partition,
    /// What was told to the reader, and may not have been read yet.
    seen: HashMap<RoomId, EntryId>,
    woken: EntryId,
}

impl Reading<'_> {
    async fn read_until_broken(&mut self, mut connection: MultiplexedConnection) -> String {
        loop {
            let command = self.command();
            match command.query_async::<Value>(&mut connection).await {
                Ok(reply) => self.found(reply).await,
                // A key that is no stream: the reader finds out which.
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    let rooms: Vec<_> = self.partition.rooms.lock().iter().cloned().collect();
                    self.inner.table.mark(&rooms);
                    tokio::time::sleep(SETTLE).await;
                }
                Err(error) => return errors::describe(&error),
            }
        }
    }

    fn command(&self) -> redis::Cmd {
        let rooms: Vec<_> = self.partition.rooms.lock().iter().cloned().collect();
        let positions = self.inner.table.positions(&rooms);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(&self.partition.wake);
        for (room, _) in &positions {
            command.arg(self.inner.keys.stream(room));
        }
        command.arg(self.woken.to_string());
        for (room, watch) in &positions {
            let seen = self.seen.get(room).copied().unwrap_or_default();
            command.arg(seen.max(watch.position.id).to_string());
        }
        command
    }

    /// Tells the reader, and lets it read: what it has read is not asked for again.
    async fn found(&mut self, reply: Value) {
        self.seen.clear();
        for (key, entries) in codec::streams(reply) {
            let Some(last) = entries.last().map(|found| found.entry.id) else { continue };
            if key == self.partition.wake {
                self.woken = last;
            } else if let Some(room) = self.inner.keys.room(&key) {
                self.seen.insert(room, last);
            }
        }
        if self.seen.is_empty() {
            return;
        }
        let mut batches = self.inner.table.lanes()[0].read.subscribe();
        self.inner.table.mark(self.seen.keys());
        let settled = async { while !self.is_settled() && batches.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(SETTLE, settled).await;
    }

    fn is_settled(&self) -> bool {
        let positions = self.inner.table.positions(self.seen.keys());
        positions.iter().all(|(room, watch)| watch.position.id >= self.seen[room])
    }
}
