//! Reads what a stream holds after a point, a piece at a time, and keeps what was read for others. Decides how much is
//! read, not what a client is given of it.

use std::sync::Arc;

use tokio::time::Instant;

use super::kept::Kept;
use super::stretch::Stretch;
use super::tail::Tail;
use super::{MAX_BYTES, Reads};
use crate::entry::{Delivery, Entry, EntryId, frame_cost};
use crate::error::LogError;
use crate::log::{Log, StreamState};
use crate::room::RoomId;

/// Most entries of a read.
const READ: usize = 500;
/// Entries of a read whose size nothing is known of.
const FIRST_READ: usize = 200;
/// About how many bytes a read is to bring.
const READ_BYTES: usize = 256 * 1024;

/// Entries that are about so many bytes, when one is `typical`; 0 is unknown.
pub(super) fn count_of(bytes: usize, typical: usize) -> usize {
    bytes.checked_div(typical).map_or(FIRST_READ, |count| count.clamp(1, READ))
}

/// Reads one room.
pub(super) struct Reader<'a> {
    pub(super) log: &'a dyn Log,
    pub(super) room: &'a RoomId,
    pub(super) kept: &'a Kept,
    pub(super) reads: &'a mut Reads,
}

impl Reader<'_> {
    /// What came after `since`. `last` is what was read for others before: only what it has not is read.
    pub(super) async fn tail(&mut self, since: EntryId, last: Option<Tail>) -> Result<Tail, LogError> {
        let last = last.filter(|tail| tail.is_fresh() && tail.cut.is_none());
        let typical = last.as_ref().map_or(0, Tail::typical);
        if let Some(last) = last
            && let Some(tail) = self.longer(since, last).await?
        {
            return Ok(tail);
        }
        let mut tail = Tail::new(since);
        if !self.fill(&mut tail, typical).await? {
            tail = self.newest(since, tail.typical()).await?;
        }
        self.prove(tail).await
    }

    /// The entries after a point, and then the state of the stream.
    pub(super) async fn passage(
        &mut self,
        after: EntryId,
        limit: usize,
    ) -> Result<(Vec<Arc<Stretch>>, Option<StreamState>), LogError> {
        let entries = self.log.read_after(self.room, after, limit).await?;
        let state = self.log.state(self.room).await?;
        let stretches = self.keep(after, entries);
        self.settle(state);
        Ok((stretches, state))
    }

    /// The same tail with what came since, and somewhat more at the front where a client has seen less than those before
    /// it: whoever asks next may have seen less still. `None` if that is not enough, or too much.
    async fn longer(&mut self, since: EntryId, mut tail: Tail) -> Result<Option<Tail>, LogError> {
        if since < tail.from && !self.lengthen(since, &mut tail).await? {
            return Ok(None);
        }
        let typical = tail.typical();
        if !tail.covers(since) || !self.fill(&mut tail, typical).await? {
            return Ok(None);
        }
        self.prove(tail).await.map(Some)
    }

    async fn lengthen(&mut self, since: EntryId, tail: &mut Tail) -> Result<bool, LogError> {
        let limit = count_of(READ_BYTES, tail.typical());
        let earlier = self.log.read_before(self.room, tail.from.next(), limit).await?;
        // Where there are no more, it is everything that there is.
        let all = earlier.len() < limit;
        let from = earlier.first().filter(|_| !all).map_or(EntryId::ZERO, |first| first.id.previous());
        tail.bytes += bytes(&earlier);
        tail.ids.splice(0..0, earlier.iter().map(|entry| entry.id));
        tail.from = from;
        self.keep(from, earlier);
        Ok(from <= since && tail.fits())
    }

    /// Reads on from the end of a tail; `false` if it becomes more than a replay may be.
    async fn fill(&mut self, tail: &mut Tail, typical: usize) -> Result<bool, LogError> {
        loop {
            let limit = count_of(READ_BYTES, tail.typical().max(typical));
            let (after, entries) = (tail.to(), self.log.read_after(self.room, tail.to(), limit).await?);
            let full = entries.len() == limit;
            tail.bytes += bytes(&entries);
            tail.ids.extend(entries.iter().map(|entry| entry.id));
            self.keep(after, entries);
            if !tail.fits() {
                return Ok(false);
            }
            if !full {
                return Ok(true);
            }
        }
    }

    /// The newest entries after `since` that fit.
    async fn newest(&mut self, since: EntryId, typical: usize) -> Result<Tail, LogError> {
        let mut entries = self.log.read_before(self.room, EntryId::MAX, count_of(MAX_BYTES, typical)).await?;
        let mut room_left = MAX_BYTES;
        let fits = |entry: &Entry| {
            let cost = frame_cost(entry.payload.as_str().len());
            let fit = entry.id > since && cost <= room_left;
            room_left = room_left.saturating_sub(cost);
            fit
        };
        let count = entries.iter().rev().map(fits).take_while(|fit| *fit).count();
        let entries = entries.split_off(entries.len() - count);
        let from = entries.first().map_or(since, |first| first.id.previous());
        let (ids, bytes) = (entries.iter().map(|entry| entry.id).collect(), bytes(&entries));
        self.keep(from, entries);
        Ok(Tail { ids, bytes, cut: Some(since), ..Tail::new(from) })
    }

    /// Adds what proves that nothing is missing. What was trimmed meanwhile is no part of it any more.
    async fn prove(&mut self, mut tail: Tail) -> Result<Tail, LogError> {
        tail.state = self.log.state(self.room).await?;
        tail.read_at = Instant::now();
        let first = tail.state.as_ref().and_then(|state| state.first).unwrap_or(EntryId::MAX);
        tail.ids.drain(..tail.ids.partition_point(|id| *id < first));
        self.settle(tail.state);
        Ok(tail)
    }

    fn keep(&mut self, from: EntryId, entries: Vec<Entry>) -> Vec<Arc<Stretch>> {
        let messages = entries.into_iter().map(|entry| Delivery::new(self.room.clone(), entry)).collect();
        let stretches: Vec<_> = Stretch::cut(from, messages).into_iter().map(Arc::new).collect();
        self.reads.stretches.retain(|_, stretch| stretch.strong_count() > 0);
        for stretch in &stretches {
            self.reads.stretches.insert(stretch.from, Arc::downgrade(stretch));
            self.kept.keep(Arc::clone(stretch));
        }
        stretches
    }

    /// The state that was taken after everything that was read so far.
    fn settle(&self, state: Option<StreamState>) {
        for stretch in self.reads.stretches.values().filter_map(std::sync::Weak::upgrade) {
            let _ = stretch.state.set(state);
        }
    }
}

fn bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.payload.as_str().len()).sum()
}
