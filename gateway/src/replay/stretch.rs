//! A stretch of a room's stream, as it was read, and what of it a client is given at once. Pure.

use std::sync::{Arc, OnceLock};

use crate::clock::Millis;
use crate::entry::{Delivery, EntryId};
use crate::log::StreamState;
use crate::log::continuity::{self, Position};
use crate::session::Passage;

/// Most bytes that a client is given at once: what waits for one who does not read. One message always fits.
pub const PASSAGE_BYTES: usize = 64 * 1024;

/// Messages of a room that follow each other.
pub(super) struct Stretch {
    /// What comes after this entry.
    pub(super) from: EntryId,
    messages: Vec<Arc<Delivery>>,
    /// Payloads only.
    pub(super) bytes: usize,
    /// Of the stream, after this was read: what it proves to be present was present for the read.
    pub(super) state: OnceLock<Option<StreamState>>,
}

impl Stretch {
    /// Cuts what was read after `from` into stretches.
    pub(super) fn cut(mut from: EntryId, messages: Vec<Arc<Delivery>>) -> Vec<Self> {
        let mut stretches: Vec<Self> = Vec::new();
        for message in messages {
            let (id, bytes) = (message.entry.id, message.entry.payload.as_str().len());
            match stretches.last_mut() {
                Some(last) if last.bytes + bytes <= PASSAGE_BYTES => {
                    last.bytes += bytes;
                    last.messages.push(message);
                }
                _ => stretches.push(Self { from, messages: vec![message], bytes, state: OnceLock::new() }),
            }
            from = id;
        }
        stretches
    }

    /// Whether it has what comes next after an entry, and it is known whether anything is missing before it.
    pub(super) fn follows(&self, at: EntryId) -> bool {
        let last = self.messages.last().is_some_and(|last| at < last.entry.id);
        self.from <= at && last && self.state.get().is_some()
    }

    /// Number of messages.
    pub(super) fn count(&self) -> usize {
        self.messages.len()
    }

    /// The state of the stream after it was read.
    pub(super) fn state(&self) -> Option<&StreamState> {
        self.state.get().and_then(Option::as_ref)
    }

    /// What comes after an entry.
    pub(super) fn after(&self, at: EntryId) -> Vec<Arc<Delivery>> {
        self.messages[self.messages.partition_point(|message| message.entry.id <= at)..].to_vec()
    }
}

/// What a client that stands at `at` is given, with word of the hole before it where nothing proves that there is none.
/// `state` is that of the stream after the messages were read.
pub(super) fn proven(
    at: Position,
    messages: Vec<Arc<Delivery>>,
    state: Option<&StreamState>,
    idle_ttl: Millis,
    now: Millis,
) -> Passage {
    let Err(reason) = continuity::check(at, state, idle_ttl, now) else { return Passage::new(at, messages) };
    let first = messages.first().map(|first| first.entry.id);
    let begin = continuity::after_a_gap(at, reason, first, state);
    Passage { after: at.id, hole: Some((reason, begin.id)), ..Passage::new(begin, messages) }
}
