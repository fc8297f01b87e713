//! Reads the rooms that may have news: one `XREAD` for many rooms, and while it is under way the next collects. Reads
//! from each room's own position, and proves with every read that nothing between was trimmed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::codec::{self, Found};
use super::table::Watch;
use super::{Inner, Position, link};
use crate::clock;
use crate::entry::EntryId;
use crate::error::LogError;
use crate::log::{Mode, continuity};
use crate::protocol::Reason;
use crate::room::RoomId;

/// Rooms of one read.
const MOST_ROOMS: usize = 500;
/// Entries of one read, all rooms together; at most so much memory times the size of a message.
const MOST_ENTRIES: usize = 2000;
/// Rooms of one `XREAD` of a sweep.
const PARTITION: usize = 256;
/// A sweep while notifications come.
const SLOW_SWEEP: Duration = Duration::from_secs(5);
/// A sweep while it is not known yet whether notifications come.
const WATCHFUL_SWEEP: Duration = Duration::from_secs(1);
/// A sweep where there are no notifications, or not at the moment.
const POLL: Duration = Duration::from_millis(20);
/// How often every room is read with proof, however quiet it is.
const PROOF_EVERY: Duration = Duration::from_mins(5);

/// Reads for ever.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut reader = Reader { inner, attempt: 0 };
    let mut made = reader.inner.reads.made();
    let mut sweep_at = Instant::now() + WATCHFUL_SWEEP;
    let mut proof_at = Instant::now() + PROOF_EVERY;
    loop {
        tokio::select! {
            biased;
            // After a reconnect nothing is known of any room.
            _ = made.changed() => reader.inner.table.mark_all(),
            () = tokio::time::sleep_until(proof_at) => {
                reader.inner.table.mark_all();
                proof_at = Instant::now() + PROOF_EVERY;
            }
            () = reader.inner.table.blind.notified() => sweep_at = Instant::now(),
            () = tokio::time::sleep_until(sweep_at) => sweep_at = reader.sweep().await,
            () = reader.inner.table.news.notified() => reader.read_news().await,
        }
    }
}

struct Reader {
    inner: Arc<Inner>,
    attempt: u32,
}

impl Reader {
    /// Reads until no room is known to have news.
    async fn read_news(&mut self) {
        loop {
            let batch = self.inner.table.take_dirty(MOST_ROOMS);
            if batch.is_empty() {
                return;
            }
            if let Err(error) = self.read(&batch).await {
                self.failed(&batch, &error).await;
                return;
            }
            self.attempt = 0;
        }
    }

    async fn failed(&mut self, batch: &[(RoomId, Watch)], error: &LogError) {
        tracing::debug!(%error, rooms = batch.len(), "rooms could not be read; trying again");
        self.inner.metrics.redis_read_failed();
        let mut made = self.inner.reads.made();
        let _ = tokio::time::timeout(link::backoff(self.attempt), made.changed()).await;
        self.attempt = self.attempt.saturating_add(1);
        self.inner.table.mark(batch.iter().map(|(room, _)| room));
    }

    async fn read(&self, batch: &[(RoomId, Watch)]) -> Result<(), LogError> {
        let limit = (MOST_ENTRIES / batch.len()).clamp(4, 250);
        // From just before the last entry that was read: if it comes again, nothing after it was trimmed.
        let from = |watch: &Watch| watch.position.id.previous();
        let reply = self.xread(batch, limit + 1, from).await?;
        let mut streams: HashMap<String, Vec<Found>> = codec::streams(reply).into_iter().collect();
        let mut read = 0;
        for (room, watch) in batch {
            let entries = streams.remove(&self.inner.keys.stream(room)).unwrap_or_default();
            read += self.take(room, watch, entries, limit).await?;
        }
        self.inner.metrics.redis_read(batch.len(), read);
        Ok(())
    }

    /// Takes what was read of one room; returns how many entries were new.
    async fn take(
        &self,
        room: &RoomId,
        watch: &Watch,
        mut entries: Vec<Found>,
        limit: usize,
    ) -> Result<usize, LogError> {
        let at = watch.position.id;
        if at == EntryId::ZERO && entries.is_empty() {
            return Ok(0);
        }
        if entries.first().is_some_and(|first| first.entry.id == at) {
            entries.remove(0);
            return Ok(self.deliver(room, watch, watch.position, entries, limit));
        }
        self.take_with_care(room, watch, limit).await
    }

    /// The last entry that was read is gone, or there was none. Looks at the stream to see what else is gone.
    async fn take_with_care(&self, room: &RoomId, watch: &Watch, limit: usize) -> Result<usize, LogError> {
        let at = watch.position;
        // In this order, on one connection: what is proven present by the state was present for the read.
        let (entries, state) = tokio::try_join!(
            self.inner.read_after(&self.inner.reads, room, at.id, limit),
            self.inner.state(&self.inner.reads, room),
        )?;
        let idle_ttl = self.inner.config().idle_ttl_ms(room.as_str());
        let Err(reason) = continuity::check(at, state.as_ref(), idle_ttl, clock::now()) else {
            return Ok(self.deliver(room, watch, at, entries, limit));
        };
        let position = match (reason, entries.first(), &state) {
            (Reason::Reset, ..) | (_, None, _) => Position::end(state.as_ref()),
            (_, Some(first), state) => Position {
                id: first.entry.id.previous(),
                added: state.as_ref().and_then(|state| state.added?.checked_sub(state.length)),
            },
        };
        if self.inner.table.advance(room, watch.token, position) {
            self.inner.feed.gap(room, watch.token, reason, position.id);
        }
        let entries = if reason == Reason::Reset { Vec::new() } else { entries };
        Ok(self.deliver(room, watch, position, entries, limit))
    }

    fn deliver(&self, room: &RoomId, watch: &Watch, at: Position, entries: Vec<Found>, limit: usize) -> usize {
        let count = entries.len();
        let Some(last) = entries.last() else { return 0 };
        if self.inner.table.advance(room, watch.token, at.advanced(last.entry.id, count as u64)) {
            entries.iter().flat_map(|each| &each.oddities).for_each(|oddity| self.inner.metrics.odd_entry(oddity));
            self.renew(room);
            self.inner.feed.entries(room, watch.token, entries.into_iter().map(|each| each.entry).collect());
        }
        if count >= limit {
            self.inner.table.mark([room]);
        }
        count
    }

    /// A room that only foreign writers write to would expire under them: its expiry was set by a publish of ours, and
    /// `XADD` alone does not renew it. Done now and then, by whoever reads the room.
    fn renew(&self, room: &RoomId) {
        let seconds = self.inner.config().retention(room.as_str()).idle_ttl_seconds;
        let now = clock::now();
        if !self.inner.table.renews(room, now, now + seconds * 100) {
            return;
        }
        let (inner, key) = (Arc::clone(&self.inner), self.inner.keys.stream(room));
        tokio::spawn(async move {
            // GT: a room without expiry keeps none (https://redis.io/docs/latest/commands/expire/). Redis before 7
            // refuses, and nothing is worse than before.
            let _ = inner.commands.query::<Value>(redis::cmd("EXPIRE").arg(key).arg(seconds).arg("GT")).await;
        });
    }

    /// Asks all rooms for anything new, which costs little where there is nothing; says when to do so again.
    async fn sweep(&mut self) -> Instant {
        let began = Instant::now();
        let rooms = self.inner.table.rooms();
        let mut found = 0;
        for partition in rooms.chunks(PARTITION) {
            let partition = self.inner.table.positions(partition);
            if partition.is_empty() {
                continue;
            }
            match self.xread(&partition, 1, |watch| watch.position.id).await {
                Ok(reply) => found += self.mark(&codec::keys(reply)),
                Err(_) => break,
            }
            // A sweep over many rooms takes a while: what is known to have news does not wait for its end.
            self.read_news().await;
        }
        if found > 0 && self.inner.table.mode() == Mode::Notifications {
            // Someone may have changed the server's setting.
            tracing::debug!(rooms = found, "a sweep found news that no notification had told");
            self.inner.table.doubt.notify_one();
        }
        Instant::now() + self.pause(began.elapsed())
    }

    fn mark(&self, keys: &[String]) -> usize {
        let rooms: Vec<_> = keys.iter().filter_map(|key| self.inner.keys.room(key)).collect();
        self.inner.table.mark(&rooms)
    }

    fn pause(&self, took: Duration) -> Duration {
        let table = &self.inner.table;
        match (table.mode() == Mode::Notifications && table.follows(), table.hinted()) {
            (true, true) => SLOW_SWEEP,
            (true, false) => WATCHFUL_SWEEP,
            // At most a fifth of Redis's time.
            (false, _) => POLL.max(took * 4),
        }
    }

    async fn xread(
        &self,
        rooms: &[(RoomId, Watch)],
        count: usize,
        from: impl Fn(&Watch) -> EntryId,
    ) -> Result<Value, LogError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count).arg("STREAMS");
        for (room, _) in rooms {
            command.arg(self.inner.keys.stream(room));
        }
        for (_, watch) in rooms {
            command.arg(from(watch).to_string());
        }
        self.inner.reads.query(&mut command).await
    }
}
