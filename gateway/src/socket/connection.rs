//! One connection: its session, its socket, and what waits between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use mio::net::TcpStream;

use super::closing::Ending;
use super::context::Context;
use super::inbox::Item;
use super::rooms::Slot;
use super::stream::Stream;
use super::{operations, reading};
use crate::clock::{self, Millis};
use crate::codec::{self, Decoder, Incoming};
use crate::config::Policy;
use crate::entry::{Delivery, EntryId};
use crate::outbox::{Kind, Outbox, Written};
use crate::protocol::{Protocol, Reason, Refusal};
use crate::room::RoomId;
use crate::session::{Effect, Event, Receipt, Session};
use crate::shard::Connection;

/// A connection of a shard. Small while idle: no buffer, no task, no timer of its own.
#[expect(clippy::struct_excessive_bools)] // Facts of a socket that come and go independently.
pub(super) struct Conn {
    pub(super) stream: Stream<TcpStream>,
    pub(super) slot: Slot,
    pub(super) handle: Arc<Connection>,
    pub(super) session: Session,
    pub(super) decoder: Decoder,
    pub(super) outbox: Outbox,
    /// When the wheel will look at this connection; `Millis::MAX`: not at all.
    pub(super) timer: Millis,
    /// Requests to the log that are under way.
    pub(super) in_flight: u16,
    /// The socket may have bytes that were not read.
    pub(super) readable: bool,
    /// The client's side is closed: the end comes after what is there to read.
    pub(super) half_closed: bool,
    /// The socket takes no more for now.
    pub(super) blocked: bool,
    pub(super) dirty: bool,
    pub(super) rare: Option<Box<Rare>>,
}

/// What most connections have not.
#[derive(Default)]
pub(super) struct Rare {
    /// What the client sent and must wait until what came before is done.
    pub(super) pending: VecDeque<Incoming>,
    /// What rooms delivered while what comes before it was being read.
    pub(super) held: VecDeque<Held>,
    pub(super) held_bytes: usize,
    /// The client is being given what it has missed.
    pub(super) reading: bool,
    /// The client's last word was read: a close frame, or the start of a message that is not read.
    pub(super) finished: bool,
    /// The connection is being closed.
    pub(super) ending: Option<Ending>,
}

impl Rare {
    /// Drops what waits.
    pub(super) fn forget(&mut self) {
        (self.pending, self.held, self.held_bytes) = (VecDeque::new(), VecDeque::new(), 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.held.is_empty() && !self.reading && !self.finished && self.ending.is_none()
    }
}

pub(super) enum Held {
    Message(Arc<Delivery>),
    Gap { room: RoomId, reason: Reason, position: EntryId },
}

impl Conn {
    pub(super) fn new(
        stream: Stream<TcpStream>,
        slot: Slot,
        handle: Arc<Connection>,
        session: Session,
        (decoder, outbox): (Decoder, Outbox),
    ) -> Self {
        Self {
            stream,
            slot,
            handle,
            session,
            decoder,
            outbox,
            timer: Millis::MAX,
            in_flight: 0,
            readable: false,
            half_closed: false,
            blocked: false,
            dirty: false,
            rare: None,
        }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// One step of the session, and what it wants done.
    pub(super) fn step(&mut self, event: Event, cx: &mut Context) {
        if self.is_ending() {
            return;
        }
        let effects = self.session.step(event, &cx.config, cx.now);
        for effect in effects {
            self.perform(effect, cx);
        }
        self.rearm(cx);
    }

    fn perform(&mut self, effect: Effect, cx: &mut Context) {
        match effect {
            Effect::Send(text) => self.push(codec::text_frame(text.as_str()), Kind::Answer, cx),
            Effect::Deliver(delivery) => {
                let kind = Kind::Replayed(delivery.entry.id.ms);
                self.push(delivery.frame(self.session.protocol), kind, cx);
            }
            Effect::Ping => self.push_urgent(codec::ping_frame(), cx),
            Effect::Leave(room) => cx.leave(&room, self.slot),
            Effect::Appear { room, member } => cx.shared.presence.join(&room, &self.handle, member),
            Effect::Disappear(room) => cx.shared.presence.leave(&room, self.handle.id),
            Effect::ReadPresence { reference, room } => cx.shared.presence.ask(&room, &self.handle, reference),
            Effect::Close(closing) => self.end_with(closing, cx),
            Effect::Refused(code) => cx.shared.metrics.refused(code),
            Effect::Resumed(recovered) => cx.shared.metrics.resumed(recovered),
            Effect::Restored(recovered) => cx.shared.metrics.session_resumed(recovered),
            Effect::Resynced(reason) => cx.shared.metrics.resynced(reason),
            request => self.request(request, cx),
        }
    }

    /// Joins a room that others have joined before, and from which nothing was missed. `false`: the log must be asked.
    fn join_at_once(&mut self, room: &RoomId, cx: &mut Context) -> bool {
        let (hub, shard) = (&cx.shared.hub, cx.inbox.shard);
        let Some((room, position)) = hub.join_at_once(room, shard) else { return false };
        self.session.share(&room);
        if !cx.rooms.enter(&room, self.slot) {
            hub.leave(&room, shard);
        }
        self.step_reading(Event::Joined { room, position, replay: None }, cx);
        self.read_on(cx);
        true
    }

    /// What takes time: the log is asked, or a token is checked.
    fn request(&mut self, effect: Effect, cx: &mut Context) {
        if let Effect::Join { room, since: None } = &effect
            && self.join_at_once(room, cx)
        {
            return;
        }
        let shared = Arc::clone(&cx.shared);
        let operation = match effect {
            Effect::Join { room, since } => {
                operations::join(shared, Arc::clone(&self.handle), room, since, reading::most(cx))
            }
            Effect::ReadOn { room, at, typical } => {
                operations::read_on(shared, self.session.protocol, room, at, typical, reading::most(cx))
            }
            Effect::Authenticate(token) => operations::authenticate(shared, token),
            Effect::Publish { reference, room, payload, key } => {
                self.in_flight += 1;
                return operations::publish(&shared, &self.handle, reference, room, payload, key);
            }
            Effect::ReadHistory { reference, room, before, limit } => {
                operations::history(shared, reference, room, before, limit)
            }
            _ => return,
        };
        self.in_flight += 1;
        cx.spawn(&self.handle, operation);
    }

    /// A message of a room: the one path that is walked for every delivery.
    pub(super) fn deliver(&mut self, delivery: &Arc<Delivery>, cx: &mut Context) {
        if self.is_ending() {
            return;
        }
        match self.session.receive(delivery) {
            Receipt::Fresh => {
                let frame = delivery.frame(self.session.protocol);
                self.push(frame, Kind::Message(delivery.entry.id.ms), cx);
            }
            Receipt::Known => {}
            Receipt::Early => self.hold(delivery, cx),
            Receipt::TooFar => self.overflow("connection", cx),
        }
    }

    pub(super) fn gap(&mut self, room: &RoomId, reason: Reason, position: EntryId, cx: &mut Context) {
        if self.session.is_joining(room) {
            self.rare().held.push_back(Held::Gap { room: room.clone(), reason, position });
        } else {
            self.step(Event::Gap { room: room.clone(), reason, position }, cx);
        }
    }

    /// Something that the gateway says to this connection.
    pub(super) fn told(&mut self, item: Item, cx: &mut Context) {
        match item {
            Item::Drain { retry_after_ms, deadline_ms } => self.step(Event::Drain { retry_after_ms, deadline_ms }, cx),
            Item::DrainCancelled => self.step(Event::DrainCancelled, cx),
            Item::DrainForced => self.step(Event::DrainForced, cx),
            Item::GoingAway => self.step(Event::GoingAway, cx),
            Item::Kicked => self.step(Event::Kicked, cx),
            Item::Notice(notice) => self.step(Event::Notice(notice), cx),
            Item::Presence { reference, room, result } => {
                let result = result.map_err(|error| Refusal { reference, ..operations::refusal(&error) });
                self.step(Event::PresenceRead { reference, room, result }, cx);
            }
            Item::Shed => {
                self.overflow("total", cx);
                self.handle.has_shed();
            }
        }
    }

    /// A request to the log is done.
    pub(super) fn done(&mut self, event: Event, cx: &mut Context) {
        self.in_flight -= 1;
        self.step_reading(event, cx);
        for held in self.take_held() {
            match held {
                Held::Message(delivery) => self.deliver(&delivery, cx),
                Held::Gap { room, reason, position } => self.gap(&room, reason, position, cx),
            }
        }
        self.go_on(cx);
        self.read_on(cx);
    }

    /// Queues a frame, unless more would then wait than may.
    fn push(&mut self, frame: Bytes, kind: Kind, cx: &mut Context) {
        let most = cx.config.backpressure.max_buffered_bytes;
        let counts = !matches!(kind, Kind::Replayed(_));
        if counts && self.waiting() + frame.len() > most {
            self.flush(cx);
            if self.waiting() + frame.len() > most {
                return self.overflow("connection", cx);
            }
        }
        self.outbox.push(frame, kind);
        self.mark_dirty(cx);
    }

    pub(super) fn push_urgent(&mut self, frame: Bytes, cx: &mut Context) {
        if self.waiting() + frame.len() > cx.config.backpressure.max_buffered_bytes {
            return self.overflow("connection", cx);
        }
        self.outbox.push_urgent(frame);
        self.mark_dirty(cx);
    }

    pub(super) fn mark_dirty(&mut self, cx: &mut Context) {
        if !self.dirty {
            self.dirty = true;
            cx.dirty.push(self.slot);
        }
    }

    /// Too much waits. Either the connection goes, or its messages do and the client is told of the hole.
    pub(super) fn overflow(&mut self, limit: &'static str, cx: &mut Context) {
        if self.is_ending() {
            return;
        }
        cx.shared.metrics.slow(limit);
        self.pass_over_held();
        self.outbox.drop_messages();
        let room_for_answers = self.outbox.live_bytes() <= cx.config.backpressure.max_buffered_bytes / 2;
        let resync = cx.config.backpressure.policy == Policy::Resync && self.session.protocol == Protocol::V1;
        let joining = self.session.joining();
        if resync && room_for_answers && !joining {
            self.step(Event::Dropped, cx);
        } else {
            self.step(Event::Overflowed, cx);
        }
        self.account(cx);
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, cx: &mut Context) {
        if self.blocked || !self.has_unsent() {
            return self.account(cx);
        }
        let mut written = Written::default();
        let result = self.outbox.write_to(&mut self.stream, &mut written);
        if written.messages > 0 {
            cx.shared.metrics.sent(written.messages);
        }
        if let Some(oldest) = written.oldest {
            cx.shared.metrics.lag(clock::now().saturating_sub(oldest));
        }
        match result {
            Ok(progress) => {
                self.blocked = progress == crate::outbox::Progress::Blocked;
                self.account(cx);
                self.written(cx);
                self.read_on(cx);
            }
            Err(_) => self.lost(cx),
        }
    }

    /// Bytes that wait and count against what may, encrypted ones included.
    fn waiting(&self) -> usize {
        self.outbox.live_bytes() + self.stream.unsent()
    }

    /// Whether anything waits until the socket takes it.
    pub(super) fn has_unsent(&self) -> bool {
        !self.outbox.is_empty() || self.stream.unsent() > 0
    }

    /// Counts what waits against the total.
    pub(super) fn account(&mut self, cx: &Context) {
        let bytes = self.outbox.bytes() + self.stream.unsent() + self.rare.as_ref().map_or(0, |rare| rare.held_bytes);
        let before = self.handle.bytes.load(Relaxed);
        if bytes != before {
            cx.shared.connections.budget().change(before, bytes);
            self.handle.bytes.store(bytes, Relaxed);
        }
    }

    /// Sets the timer to what comes first: the session's or the end's.
    pub(super) fn rearm(&mut self, cx: &mut Context) {
        let wake = self.ending().map_or_else(|| self.session.wake_at(), |ending| ending.until);
        if wake < self.timer {
            self.timer = wake;
            cx.wheel.set(self.slot, wake);
        }
    }

    /// The timer may have fired. `buffer` is the shard's.
    pub(super) fn timer_fired(&mut self, buffer: &mut [u8], cx: &mut Context) {
        if self.timer > cx.now {
            return;
        }
        if self.session.heartbeat.is_overdue(cx.now) {
            self.look_for_answer(buffer, cx);
        }
        self.timer = Millis::MAX;
        if self.ending().is_some() {
            self.ending_is_due(cx);
        } else if self.session.wake_at() <= cx.now {
            self.step(Event::Tick, cx);
        }
        self.rearm(cx);
    }

    /// Nothing counts for this connection any more.
    pub(super) fn release(&mut self, cx: &Context) {
        cx.shared.connections.budget().change(self.handle.bytes.swap(0, Relaxed), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One more word, and the allocator gives each connection 64 bytes more.
    #[test]
    fn a_connection_fits_into_what_the_allocator_gives_it() {
        assert!(size_of::<Conn>() <= 320, "{} bytes", size_of::<Conn>());
        // With the two counters before it.
        assert!(size_of::<Connection>() + 16 <= 96, "{} bytes", size_of::<Connection>());
    }
}
