//! What a stream holds after a point: enough of it to say what a client has missed, and whether that is all. The messages
//! themselves are not here. Pure.

use tokio::time::Instant;

use super::kept::KEPT;
use super::{MAX_BYTES, MAX_ENTRIES};
use crate::clock::Millis;
use crate::entry::EntryId;
use crate::log::StreamState;
use crate::log::continuity::{self, Position};
use crate::session::Replay;

/// What a stream held after a point.
pub(super) struct Tail {
    pub(super) from: EntryId,
    pub(super) ids: Vec<EntryId>,
    /// Payloads only.
    pub(super) bytes: usize,
    /// After this more came than fits, and so it did after everything before it.
    pub(super) cut: Option<EntryId>,
    /// Taken after the reads: what it proves to be present was present for them.
    pub(super) state: Option<StreamState>,
    pub(super) read_at: Instant,
}

impl Tail {
    /// A tail that has nothing yet.
    pub(super) fn new(from: EntryId) -> Self {
        Self { from, ids: Vec::new(), bytes: 0, cut: None, state: None, read_at: Instant::now() }
    }

    /// Whether it is no more than a replay may be.
    pub(super) fn fits(&self) -> bool {
        self.ids.len() <= MAX_ENTRIES && self.bytes <= MAX_BYTES
    }

    /// Whether it is so new that others may have it.
    pub(super) fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < KEPT
    }

    /// Whether it begins early enough for a client that has seen `since`. One that has seen more than there was when this
    /// was read is ahead of it, which proves nothing.
    pub(super) fn covers(&self, since: EntryId) -> bool {
        let last = self.state.as_ref().map_or(EntryId::ZERO, |state| state.last);
        since <= last && (self.from <= since || self.cut.is_some_and(|cut| since <= cut))
    }

    /// Whether it answers a client that has seen `since`, and gets what comes after `upto` live.
    pub(super) fn answers(&self, since: EntryId, upto: EntryId) -> bool {
        self.is_fresh() && self.covers(since) && upto <= self.to().max(since)
    }

    /// The last entry that it knows.
    pub(super) fn to(&self) -> EntryId {
        self.ids.last().copied().unwrap_or(self.from)
    }

    /// Bytes of a payload, about.
    pub(super) fn typical(&self) -> usize {
        self.bytes.checked_div(self.ids.len()).unwrap_or(0)
    }

    /// What a client that has seen `since` has missed.
    pub(super) fn replay(&self, since: EntryId, idle_ttl: Millis, now: Millis) -> Replay {
        let state = self.state.as_ref();
        let recovered = self.from <= since && continuity::recovered(since, state, idle_ttl, now);
        let reset = state.is_none_or(|state| state.last < since) && since != EntryId::ZERO;
        let missed = self.after(since);
        let begin = match missed.first() {
            Some(first) if !recovered => first.previous(),
            _ => since,
        };
        let begin = Position { id: begin, added: self.added_at(begin) };
        Replay { recovered, reset, count: missed.len(), begin, end: self.to(), typical: self.typical(), first: None }
    }

    fn after(&self, id: EntryId) -> &[EntryId] {
        &self.ids[self.ids.partition_point(|each| *each <= id)..]
    }

    /// Number of entries that had ever been added when an entry was; `None` where it cannot be told.
    fn added_at(&self, id: EntryId) -> Option<u64> {
        let state = self.state.as_ref()?;
        let after = if state.first.is_some_and(|first| id < first) {
            state.length
        } else if state.last <= self.to() && self.from <= id {
            self.after(id).len() as u64
        } else {
            return None;
        };
        state.added?.checked_sub(after)
    }
}
