//! A client that is given what the log has: one passage after another, as it takes them, until it has caught up with what
//! came live meanwhile. That is not kept for it: the log has it, too. Knows no log and no socket.

use serde::{Deserialize, Serialize};

use super::event::{Effect, Passage, Receipt, Replay};
use super::subscriptions::{Stage, Subscription};
use super::{Session, resync};
use crate::clock::Millis;
use crate::entry::{Delivery, EntryId};
use crate::log::continuity::Position;
use crate::replay::{MAX_BYTES, MAX_ENTRIES};
use crate::room::RoomId;

/// How far the client is behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// Number of entries that had ever been added when the last one was that the client has; `None`: unknown.
    pub(super) added: Option<u64>,
    /// What the client had missed when it came ends here.
    pub(super) end: EntryId,
    /// The newest message that came live and was passed over.
    pub(super) newest: EntryId,
    /// While a passage is being read: how far it must reach for the client to be live after it.
    pub(super) upto: Option<EntryId>,
    /// Bytes of a payload, about.
    pub(super) typical: usize,
    /// What came live since and the client was not given yet: messages, and bytes of their payloads.
    pub(super) behind: (usize, usize),
}

impl Reading {
    /// A client that has missed so much, while live messages up to `newest` were passed over.
    pub(super) fn begin(replay: &Replay, newest: EntryId) -> Self {
        Self {
            added: replay.begin.added,
            end: replay.end.max(newest),
            newest,
            upto: Some(newest),
            typical: replay.typical,
            behind: (0, 0),
        }
    }

    /// A live message comes while the client is not there yet. It is kept while it may be the next one that the client
    /// is to get; otherwise it is read back later.
    pub(super) fn receive(&mut self, message: &Delivery) -> Receipt {
        if self.upto.is_some_and(|upto| upto >= self.newest) { Receipt::Early } else { self.pass_over(message) }
    }

    /// A live message will be read back later.
    pub(super) fn pass_over(&mut self, message: &Delivery) -> Receipt {
        let id = message.entry.id;
        if id > self.newest && id > self.end {
            self.behind.0 += 1;
            self.behind.1 += message.entry.payload.as_str().len();
        }
        self.newest = self.newest.max(id);
        if self.is_too_far_behind() { Receipt::TooFar } else { Receipt::Known }
    }

    /// The client was given a message that may have been passed over before.
    fn given(&mut self, message: &Delivery) {
        let id = message.entry.id;
        if id > self.end && id <= self.newest {
            self.behind.0 = self.behind.0.saturating_sub(1);
            self.behind.1 = self.behind.1.saturating_sub(message.entry.payload.as_str().len());
        }
    }

    /// It is slower than the room is written to: it would have to be given more than a replay may be.
    pub(super) fn is_too_far_behind(&self) -> bool {
        self.behind.0 > MAX_ENTRIES || self.behind.1 > MAX_BYTES
    }
}

impl Subscription {
    /// A live message that waited, or would have to wait, is left to be read back.
    fn pass_over(&mut self, message: &Delivery) -> Receipt {
        match self.stage.as_deref_mut() {
            Some(Stage::Joining(joining)) => joining.passed = joining.passed.max(message.entry.id),
            Some(Stage::Reading(reading)) => return reading.pass_over(message),
            None => {}
        }
        Receipt::Known
    }
}

impl Session {
    /// Whether the client is given what the log has of some room.
    pub fn is_reading(&self) -> bool {
        self.subscriptions.iter().any(|each| matches!(each.stage.as_deref(), Some(Stage::Reading(_))))
    }

    /// A message that was kept back while it was `Early` cannot be kept any longer.
    pub fn pass_over(&mut self, message: &Delivery) -> Receipt {
        self.subscriptions.get_mut(&message.room).map_or(Receipt::Known, |each| each.pass_over(message))
    }

    /// The client can take more: the next room's turn. One passage is read at a time.
    pub(super) fn roomy(&mut self) -> Vec<Effect> {
        if self.asked {
            return Vec::new();
        }
        let reading = |each: &Subscription| matches!(each.stage.as_deref(), Some(Stage::Reading(_)));
        let Some(number) = self.subscriptions.next_where(self.turn.into(), reading) else { return Vec::new() };
        let subscription = self.subscriptions.at(number);
        let (room, id) = (subscription.room.clone(), subscription.cursor);
        let Some(reading) = subscription.reading() else { return Vec::new() };
        reading.upto = Some(reading.newest);
        let (at, typical) = (Position { id, added: reading.added }, reading.typical);
        (self.asked, self.turn) = (true, u16::try_from(number + 1).unwrap_or(0));
        vec![Effect::ReadOn { room, at, typical }]
    }

    /// The answer to a `ReadOn`. Without a passage the log is away: it is asked again when the client can take more.
    pub(super) fn read_on(&mut self, room: &RoomId, passage: Option<Passage>, now: Millis) -> Vec<Effect> {
        self.asked = false;
        self.give(room, passage, now)
    }

    /// Gives the client a passage, if that is still what comes next for it.
    pub(super) fn give(&mut self, room: &RoomId, passage: Option<Passage>, now: Millis) -> Vec<Effect> {
        let Some(subscription) = self.subscriptions.get_mut(room) else { return Vec::new() };
        let mut cursor = subscription.cursor;
        let Some(reading) = subscription.reading() else { return Vec::new() };
        let Some(upto) = reading.upto.take() else { return Vec::new() };
        let Some(passage) = passage.filter(|passage| passage.after == cursor) else { return Vec::new() };
        cursor = passage.hole.map_or(cursor, |(_, position)| position);
        let fresh = passage.messages.into_iter().filter(|message| message.entry.id > cursor);
        let messages: Vec<_> = fresh.inspect(|message| reading.given(message)).map(Effect::Deliver).collect();
        if let Some(Effect::Deliver(last)) = messages.last() {
            cursor = last.entry.id;
        }
        reading.added = passage.end.added;
        // All that there was is more than what the client was known to miss: what it missed besides is gone.
        let reached = if passage.complete { cursor.max(upto) } else { cursor };
        let live = reading.newest <= reached;
        subscription.cursor = cursor;
        if live {
            subscription.stage = None;
        }
        let mut effects = Vec::with_capacity(messages.len());
        if let Some((reason, position)) = passage.hole {
            effects.extend(resync(self.protocol, room, reason, position));
            effects.extend(self.restoring.answered(false, now).map(Effect::Restored));
        }
        effects.extend(messages);
        effects
    }
}
