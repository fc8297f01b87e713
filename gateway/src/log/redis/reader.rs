//! Reads the rooms that may have news: one `XREAD` for many rooms, and while it is under way the next collects. Reads
//! from each room's own position, and proves with every read that nothing between was trimmed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::codec::Found;
use super::lane::{Lane, Watch};
use super::link::{self, Way};
use super::round::Round;
use super::xread::{self, Read, Xread};
use super::{Inner, Position, errors};
use crate::entry::EntryId;
use crate::error::LogError;
use crate::log::{Mode, continuity};
use crate::protocol::Reason;
use crate::room::RoomId;

/// Rooms of one read.
const MOST_ROOMS: usize = 500;
/// A sweep while notifications come, or blocking reads wait, and whether that goes on cannot be looked at.
const SLOW_SWEEP: Duration = Duration::from_secs(5);
/// A sweep while it is not known yet whether notifications come.
const WATCHFUL_SWEEP: Duration = Duration::from_secs(1);
/// How often every room is read with proof, however quiet it is.
const PROOF_EVERY: Duration = Duration::from_mins(5);

/// Reads the rooms of a lane for ever.
pub(super) async fn run(inner: Arc<Inner>, lane: usize) {
    let mut reader = Reader { inner, lane, attempt: 0, round: Round::default(), urgent: false };
    let mut sweep_at = Instant::now() + WATCHFUL_SWEEP;
    let mut proof_at = Instant::now() + PROOF_EVERY;
    loop {
        let lane = &reader.inner.table.lanes()[reader.lane];
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(proof_at) => {
                lane.mark_all(|_| true);
                proof_at = Instant::now() + PROOF_EVERY;
            }
            () = lane.blind.notified() => {
                // What was passed over may have news again, and that at once.
                (reader.round, reader.urgent) = (Round::default(), true);
                sweep_at = Instant::now();
            }
            () = tokio::time::sleep_until(sweep_at) => sweep_at = reader.sweep().await,
            () = lane.news.notified() => reader.read_news().await,
        }
    }
}

struct Reader {
    inner: Arc<Inner>,
    lane: usize,
    attempt: u32,
    round: Round,
    /// This round is not spread.
    urgent: bool,
}

impl Reader {
    fn lane(&self) -> &Lane {
        &self.inner.table.lanes()[self.lane]
    }

    /// Reads until no room is known to have news.
    async fn read_news(&mut self) {
        loop {
            let failed = {
                let hand = self.lane().take_dirty(MOST_ROOMS);
                if hand.rooms().is_empty() {
                    return;
                }
                self.read(hand.rooms().to_vec()).await
            };
            self.lane().read.send_modify(|batches| *batches += 1);
            if let Some((rooms, error)) = failed {
                self.failed(&rooms, &error).await;
                return;
            }
            self.attempt = 0;
        }
    }

    async fn failed(&mut self, rooms: &[RoomId], error: &LogError) {
        tracing::debug!(%error, rooms = rooms.len(), "rooms could not be read; trying again");
        self.inner.metrics.redis_read_failed();
        tokio::time::sleep(link::backoff(self.attempt)).await;
        self.attempt = self.attempt.saturating_add(1);
        self.inner.table.mark(rooms);
    }

    /// Reads rooms; returns those that could not be.
    async fn read(&self, batch: Vec<(RoomId, Watch)>) -> Option<(Vec<RoomId>, LogError)> {
        let (mut failed, mut last_error) = (Vec::new(), None);
        let mut open = vec![batch];
        while let Some(batch) = open.pop() {
            let limit = xread::limit(batch.len());
            let mut span = self.inner.metrics.traces.root("redis read");
            span.set("db.system.name", "redis");
            span.count("wscluster.read.rooms", batch.len());
            let read = self.xread(&batch, limit + 1, xread::with_proof).await;
            drop(span);
            let mut refused = Vec::new();
            for (rooms, error) in read.failed {
                // One key refuses the whole read: it is looked for by halves.
                if errors::is_of_a_key(&error) && (rooms.len() > 1 || errors::is_no_stream(&error)) {
                    refused.push(rooms);
                } else {
                    failed.extend(rooms.into_iter().map(|(room, _)| room));
                    last_error = Some(error);
                }
            }
            let skip: HashSet<&RoomId> = failed.iter().chain(refused.iter().flatten().map(|(room, _)| room)).collect();
            let fine = batch.iter().filter(|(room, _)| !skip.contains(room)).collect::<Vec<_>>();
            let result = self.take_all(&fine, read.streams, limit).await;
            for rooms in refused {
                self.halve(rooms, &mut open);
            }
            for (room, error) in result {
                failed.push(room);
                last_error = Some(error);
            }
        }
        last_error.map(|error| (failed, error))
    }

    /// A refused read is tried again in two halves; a single room that is no stream has nothing to read.
    fn halve(&self, mut rooms: Vec<(RoomId, Watch)>, open: &mut Vec<Vec<(RoomId, Watch)>>) {
        if let [(room, watch)] = rooms.as_slice() {
            return self.not_a_stream(room, watch);
        }
        let half = rooms.split_off(rooms.len() / 2);
        open.extend([rooms, half]);
    }

    fn not_a_stream(&self, room: &RoomId, watch: &Watch) {
        if !watch.has_read_nothing() && self.inner.table.advance(room, watch.token, Position::START) {
            self.inner.metrics.odd_entry("not_a_stream");
            self.inner.feed.gap(room, watch.token, Reason::Vanished, EntryId::ZERO);
        }
    }

    /// Takes what was read; returns the rooms where that failed.
    async fn take_all(
        &self,
        batch: &[&(RoomId, Watch)],
        mut streams: HashMap<String, Vec<Found>>,
        limit: usize,
    ) -> Vec<(RoomId, LogError)> {
        let (mut read, mut doubtful, mut failed) = (0, Vec::new(), Vec::new());
        self.inner.feed.together(&mut || {
            for (room, watch) in batch {
                let entries = streams.remove(&self.inner.keys.stream(room)).unwrap_or_default();
                match xread::proven(watch, entries) {
                    Some(entries) => read += self.inner.deliver(room, watch, watch.position, entries, limit),
                    None => doubtful.push((room, watch)),
                }
            }
        });
        let ask = |(room, watch): &(&RoomId, &Watch)| self.inner.with_state(room, watch.position.id, limit);
        let commands: Vec<_> = doubtful.iter().flat_map(ask).collect();
        let replies =
            if commands.is_empty() { Vec::new() } else { self.inner.servers.many(Way::Reads, commands).await };
        let mut replies = replies.into_iter();
        for (room, watch) in doubtful {
            match self.take_with_care(room, watch, limit, &mut replies) {
                Ok(count) => read += count,
                Err(error) if errors::is_no_stream(&error) => self.not_a_stream(room, watch),
                Err(error) => failed.push((room.clone(), error)),
            }
        }
        self.inner.metrics.redis_read(batch.len(), read);
        failed
    }

    /// The last entry that was read is gone, or there was none, or entries may have been lost. Looks at the state of the
    /// stream to see what else is gone.
    fn take_with_care(
        &self,
        room: &RoomId,
        watch: &Watch,
        limit: usize,
        replies: &mut impl Iterator<Item = Result<Value, LogError>>,
    ) -> Result<usize, LogError> {
        let at = watch.position;
        let (entries, state) = self.inner.read_with_state(room, replies)?;
        let reason = match self.inner.check(room, at, state.as_ref()) {
            Err(reason) => reason,
            Ok(()) if watch.suspect => Reason::Reset,
            Ok(()) => return Ok(self.inner.deliver(room, watch, at, entries, limit)),
        };
        let first = entries.first().map(|first| first.entry.id);
        let position = continuity::after_a_gap(at, reason, first, state.as_ref());
        if self.inner.table.advance(room, watch.token, position) {
            self.inner.table.clear(room, watch.token);
            self.inner.feed.gap(room, watch.token, reason, position.id);
        }
        let goes_on = position.id >= at.id && state.is_some();
        let entries = if goes_on { entries } else { Vec::new() };
        Ok(self.inner.deliver(room, watch, position, entries, limit))
    }

    /// Asks some rooms for anything new, which costs little where there is nothing; says when the next have their turn.
    async fn sweep(&mut self) -> Instant {
        if self.round.is_over() {
            self.round = Round::new(self.lane().rooms());
        }
        let began = Instant::now();
        let part = self.inner.table.positions(self.round.part());
        if !part.is_empty() {
            let read = self.xread(&part, 1, |watch| watch.position.id).await;
            let keys: Vec<_> = read.streams.into_keys().filter_map(|key| self.inner.keys.room(&key)).collect();
            self.round.found += self.inner.table.mark(&keys);
            for (rooms, error) in read.failed {
                if errors::is_of_a_key(&error) {
                    self.inner.table.mark(rooms.iter().map(|(room, _)| room));
                }
            }
            // What is known to have news does not wait for the round's end.
            self.read_news().await;
        }
        if self.round.is_over() && self.round.found > 0 && self.inner.signs.mode() == Mode::Notifications {
            // Someone may have changed the server's setting.
            tracing::debug!(rooms = self.round.found, "a sweep found news that no notification had told");
            self.inner.signs.doubt();
        }
        let spread = self.spread().filter(|_| !self.urgent);
        self.urgent &= !self.round.is_over();
        Instant::now() + self.round.pause(began.elapsed(), spread)
    }

    /// The time that a round takes, where notifications come, or where partitions wait for news; none where the sweep is
    /// what finds it.
    fn spread(&self) -> Option<Duration> {
        let signs = &self.inner.signs;
        if self.inner.partitions_wait.load(Relaxed) {
            return Some(SLOW_SWEEP);
        }
        let follows = signs.mode() == Mode::Notifications && signs.follows();
        follows.then(|| match (signs.hinted(), signs.watched()) {
            (false, _) => WATCHFUL_SWEEP,
            (true, false) => SLOW_SWEEP,
            (true, true) => self.round.slow(),
        })
    }

    /// Reads some rooms at most `count` entries each, from where `from` says.
    async fn xread(&self, rooms: &[(RoomId, Watch)], count: usize, from: impl Fn(&Watch) -> EntryId) -> Read {
        let xread = Xread::new(&self.inner, rooms);
        let replies = self.inner.servers.many(Way::Reads, xread.commands(count, from)).await;
        xread.read(replies)
    }
}
