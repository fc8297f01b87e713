//! A session: plain data, and how it changes. `step` takes an event and returns what to do; it knows no socket, no
//! log and no clock, so that a session can be written down and carried on elsewhere.

mod heartbeat;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use heartbeat::Heartbeat;
pub use limits::Bucket;

use crate::clock::Millis;
use crate::config::InForce;
use crate::entry::{Delivery, Entry, EntryId, Text};
use crate::protocol::{self, Code, Frame, Past, Protocol, Reason, Refusal, Request, close};
use crate::room::RoomId;

/// How long a raw client keeps its connection after it was told to move, beyond the delay that it was told, in
/// milliseconds. It cannot open the next connection before it leaves this one, so there is nothing to wait for.
const RAW_GRACE: Millis = 3000;

/// Everything about a session but its socket and what waits to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// How it speaks.
    pub protocol: Protocol,
    /// When it began.
    pub opened_at: Millis,
    subscriptions: BTreeMap<RoomId, Subscription>,
    /// A raw session's rooms, as its URL names them.
    raw_rooms: Vec<RoomId>,
    requests: Bucket,
    joins: Bucket,
    /// Pings and their answers.
    pub heartbeat: Heartbeat,
    leaves_at: Option<Millis>,
    closing: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Subscription {
    cursor: EntryId,
    /// Where a subscription stands that is still being made: the client's number and cursor.
    joining: Option<Joining>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Joining {
    reference: Option<u64>,
    since: Option<EntryId>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The connection is there. First of all events, once.
    Opened {
        /// Name of the gateway.
        node: Arc<str>,
    },
    /// A text frame.
    Text(Text),
    /// A request, understood already.
    Request(Request),
    /// A frame that is not text.
    Binary,
    /// A message longer than allowed, which was not read.
    TooLarge,
    /// A `Join` is done.
    Joined {
        /// The room.
        room: RoomId,
        /// After which entry live messages begin.
        position: EntryId,
        /// What was read back, if the client named a cursor.
        replay: Option<Replay>,
    },
    /// A `Join` failed.
    JoinFailed {
        /// The room.
        room: RoomId,
        /// Why.
        refusal: Refusal,
    },
    /// A `Publish` is done.
    Published {
        /// The client's number.
        reference: Option<u64>,
        /// The entry, or why there is none.
        result: Result<EntryId, Refusal>,
    },
    /// A `ReadHistory` is done.
    HistoryRead {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Entries, oldest first, and whether there are older ones.
        result: Result<(Vec<Entry>, bool), Refusal>,
    },
    /// A message of a room. The caller keeps messages back while `joining`.
    Message(Arc<Delivery>),
    /// A room may have a hole.
    Gap {
        /// The room.
        room: RoomId,
        /// Why.
        reason: Reason,
        /// Where it goes on.
        position: EntryId,
    },
    /// The gateway is being drained.
    Drain {
        /// The client shall wait so long, in milliseconds.
        retry_after_ms: Millis,
        /// The connection is closed in so many milliseconds.
        deadline_ms: Millis,
    },
    /// The drain was cancelled.
    DrainCancelled,
    /// The drain's deadline has come.
    DrainForced,
    /// The client did not keep up.
    Overflowed,
    /// The gateway stops.
    GoingAway,
    /// A pong came.
    Pong,
    /// Time has passed: see `wake_at`.
    Tick,
}

/// What was read back for a subscription.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Nothing is missing: proven.
    pub recovered: bool,
    /// The client's cursor is newer than everything that the log ever held.
    pub reset: bool,
    /// The messages, oldest first.
    pub messages: Vec<Arc<Delivery>>,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write a frame.
    Send(Text),
    /// Write a message.
    Deliver(Arc<Delivery>),
    /// Write a ping.
    Ping,
    /// Follow a room, and read back what came after `since`. Answer with `Joined` or `JoinFailed`.
    Join {
        /// The room.
        room: RoomId,
        /// The client's cursor.
        since: Option<EntryId>,
    },
    /// Leave a room.
    Leave(RoomId),
    /// Write to a room. Answer with `Published`.
    Publish {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// The payload.
        payload: Text,
    },
    /// Read back. Answer with `HistoryRead`.
    ReadHistory {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Entries before this one.
        before: EntryId,
        /// At most so many.
        limit: usize,
    },
    /// Count a refused request.
    Refused(Code),
    /// Count a resume and how it went.
    Resumed(bool),
    /// Count a resync.
    Resynced(Reason),
    /// Close the connection. Last of all effects.
    Close(Closing),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The close code (RFC 6455 section 7.4).
    pub code: u16,
    /// Why, as in the metrics' label `reason` and the close frame.
    pub reason: &'static str,
}

impl Closing {
    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

impl Session {
    /// A new session. `raw_rooms` are the rooms that a raw session's URL names.
    pub fn new(
        id: String,
        protocol: Protocol,
        raw_rooms: Vec<RoomId>,
        config: &InForce,
        now: Millis,
        jitter: f64,
    ) -> Self {
        Self {
            id,
            protocol,
            opened_at: now,
            subscriptions: BTreeMap::new(),
            raw_rooms,
            requests: Bucket::full(now),
            joins: Bucket::full(now),
            heartbeat: Heartbeat::new(&config.heartbeat, now, jitter),
            leaves_at: None,
            closing: false,
        }
    }

    /// The rooms that it is in, or is about to be in.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.subscriptions.keys()
    }

    /// Whether a `Join` is under way: messages must be kept back, and requests other than `subscribe` must wait.
    pub fn joining(&self) -> bool {
        self.subscriptions.values().any(|each| each.joining.is_some())
    }

    /// Whether it was told to move.
    pub fn draining(&self) -> bool {
        self.leaves_at.is_some()
    }

    /// When `Tick` is due next.
    pub fn wake_at(&self) -> Millis {
        self.leaves_at.unwrap_or(Millis::MAX).min(self.heartbeat.wake_at())
    }

    /// One step.
    pub fn step(&mut self, event: Event, config: &InForce, now: Millis) -> Vec<Effect> {
        if self.closing {
            return Vec::new();
        }
        let effects = self.decide(event, config, now);
        self.closing = matches!(effects.last(), Some(Effect::Close(_)));
        effects
    }

    fn decide(&mut self, event: Event, config: &InForce, now: Millis) -> Vec<Effect> {
        match event {
            Event::Opened { node } => self.opened(&node, config),
            Event::Text(text) => self.text(text, config, now),
            Event::Request(request) => self.request(request, config, now),
            Event::Binary => vec![Effect::Close(Closing::new(close::UNSUPPORTED, "binary"))],
            Event::TooLarge => self.too_large(config),
            Event::Joined { room, position, replay } => self.joined(&room, position, replay),
            Event::JoinFailed { room, refusal } => self.join_failed(&room, refusal),
            Event::Published { reference, result } => self.published(reference, result),
            Event::HistoryRead { reference, room, result } => Self::history(reference, &room, result),
            Event::Message(delivery) => self.message(delivery),
            Event::Gap { room, reason, position } => self.gap(&room, reason, position),
            Event::Drain { retry_after_ms, deadline_ms } => self.drain(retry_after_ms, deadline_ms, now),
            Event::DrainCancelled => self.drain_cancelled(),
            Event::DrainForced => vec![Effect::Close(Closing::new(close::SERVICE_RESTART, "drain_forced"))],
            Event::Overflowed => vec![Effect::Close(Closing::new(close::TRY_AGAIN_LATER, "slow"))],
            Event::GoingAway => vec![Effect::Close(Closing::new(close::GOING_AWAY, "shutdown"))],
            Event::Pong => self.pong(),
            Event::Tick => self.tick(config, now),
        }
    }

    fn opened(&mut self, node: &str, config: &InForce) -> Vec<Effect> {
        if self.protocol == Protocol::V1 {
            return vec![Effect::Send(protocol::encode(&Frame::Welcome {
                session: &self.id,
                node,
                heartbeat_ms: config.heartbeat.interval_seconds * 1000,
                max_message_bytes: config.limits.max_message_bytes,
                resume_window_ms: config.drain.resume_window_seconds * 1000,
            }))];
        }
        let rooms = self.raw_rooms.clone();
        rooms.into_iter().filter_map(|room| self.join(room, None, None)).collect()
    }

    fn text(&mut self, text: Text, config: &InForce, now: Millis) -> Vec<Effect> {
        if text.as_str().len() > config.limits.max_message_bytes {
            return self.too_large(config);
        }
        match self.protocol {
            Protocol::V1 => match protocol::parse(text.as_str()) {
                Ok(request) => self.request(request, config, now),
                Err(refusal) => self.refused_frame(refusal, config, now),
            },
            Protocol::Raw => self.raw_publish(text, config, now),
        }
    }

    /// A frame that could not be understood costs as much as one that could.
    fn refused_frame(&mut self, refusal: Refusal, config: &InForce, now: Millis) -> Vec<Effect> {
        match self.spend(refusal.reference, config, now) {
            Ok(()) => Self::refuse(&refusal),
            Err(limited) => Self::refuse(&limited),
        }
    }

    fn raw_publish(&mut self, payload: Text, config: &InForce, now: Millis) -> Vec<Effect> {
        let [room] = self.raw_rooms.as_slice() else {
            return vec![Effect::Close(Closing::new(close::FORBIDDEN, "forbidden"))];
        };
        let room = room.clone();
        if !config.may_publish(room.as_str()) {
            return vec![Effect::Refused(Code::Forbidden), Effect::Close(Closing::new(close::FORBIDDEN, "forbidden"))];
        }
        match self.spend(None, config, now) {
            Ok(()) => vec![Effect::Publish { reference: None, room, payload }],
            Err(refusal) => vec![Effect::Refused(refusal.code)],
        }
    }

    fn request(&mut self, request: Request, config: &InForce, now: Millis) -> Vec<Effect> {
        let result = match request {
            Request::Ping { reference } => Ok(vec![Effect::Send(protocol::encode(&Frame::Pong { reference }))]),
            Request::Subscribe { reference, room, since } => self.subscribe(reference, room, since, config, now),
            Request::Unsubscribe { reference, room } => self.unsubscribe(reference, room, config, now),
            Request::Publish { reference, room, payload } => self.publish(reference, room, payload, config, now),
            Request::History { reference, room, before, limit } => self
                .read(reference, &room, config, now)
                .map(|()| vec![Effect::ReadHistory { reference, room, before: before.unwrap_or(EntryId::MAX), limit }]),
        };
        result.unwrap_or_else(|refusal| Self::refuse(&refusal))
    }

    fn subscribe(
        &mut self,
        reference: Option<u64>,
        room: RoomId,
        since: Option<EntryId>,
        config: &InForce,
        now: Millis,
    ) -> Result<Vec<Effect>, Refusal> {
        let limits = &config.limits;
        // A client that comes back subscribes to all its rooms at once: that is no flood.
        let burst = f64::from(limits.burst).max(limits.max_rooms_per_connection as f64);
        if !self.joins.take(f64::from(limits.messages_per_second), burst, now) {
            return Err(limited(reference));
        }
        if !config.may_subscribe(room.as_str()) {
            return Err(forbidden(reference));
        }
        if !self.subscriptions.contains_key(&room) && self.subscriptions.len() >= limits.max_rooms_per_connection {
            let message = format!("at most {} rooms per connection", limits.max_rooms_per_connection);
            return Err(Refusal::new(reference, Code::TooManyRooms, message));
        }
        match self.join(room, reference, since) {
            Some(effect) => Ok(vec![effect]),
            None => Err(Refusal::new(reference, Code::BadRequest, "this room is being subscribed to already")),
        }
    }

    fn join(&mut self, room: RoomId, reference: Option<u64>, since: Option<EntryId>) -> Option<Effect> {
        let subscription =
            self.subscriptions.entry(room.clone()).or_insert(Subscription { cursor: EntryId::ZERO, joining: None });
        if subscription.joining.is_some() {
            return None;
        }
        subscription.joining = Some(Joining { reference, since });
        Some(Effect::Join { room, since })
    }

    fn unsubscribe(
        &mut self,
        reference: Option<u64>,
        room: RoomId,
        config: &InForce,
        now: Millis,
    ) -> Result<Vec<Effect>, Refusal> {
        self.spend(reference, config, now)?;
        if self.subscriptions.remove(&room).is_none() {
            return Err(Refusal::new(reference, Code::NotSubscribed, "not subscribed to this room"));
        }
        let ok = Effect::Send(protocol::encode(&Frame::Ok { reference, id: None }));
        Ok(vec![Effect::Leave(room), ok])
    }

    fn publish(
        &mut self,
        reference: Option<u64>,
        room: RoomId,
        payload: Text,
        config: &InForce,
        now: Millis,
    ) -> Result<Vec<Effect>, Refusal> {
        self.spend(reference, config, now)?;
        if !config.may_publish(room.as_str()) {
            return Err(forbidden(reference));
        }
        Ok(vec![Effect::Publish { reference, room, payload }])
    }

    fn read(&mut self, reference: Option<u64>, room: &RoomId, config: &InForce, now: Millis) -> Result<(), Refusal> {
        self.spend(reference, config, now)?;
        if config.may_subscribe(room.as_str()) { Ok(()) } else { Err(forbidden(reference)) }
    }

    fn spend(&mut self, reference: Option<u64>, config: &InForce, now: Millis) -> Result<(), Refusal> {
        let limits = &config.limits;
        let may = self.requests.take(f64::from(limits.messages_per_second), f64::from(limits.burst), now);
        if may { Ok(()) } else { Err(limited(reference)) }
    }

    fn joined(&mut self, room: &RoomId, position: EntryId, replay: Option<Replay>) -> Vec<Effect> {
        let Some(subscription) = self.subscriptions.get_mut(room) else { return Vec::new() };
        let Some(joining) = subscription.joining.take() else { return Vec::new() };
        let replay =
            replay.unwrap_or(Replay { recovered: joining.since.is_none(), reset: false, messages: Vec::new() });
        // Live messages up to the cursor are dropped: a client whose cursor is ahead of this gateway has them already.
        let from = joining.since.filter(|_| !replay.reset).unwrap_or(position);
        subscription.cursor = from;
        let fresh = replay.messages.into_iter().filter(|message| message.entry.id > from);
        let messages: Vec<_> = fresh.map(Effect::Deliver).collect();
        if let Some(Effect::Deliver(last)) = messages.last() {
            subscription.cursor = last.entry.id;
        }
        let mut effects = Vec::with_capacity(messages.len() + 2);
        if joining.since.is_some() {
            effects.push(Effect::Resumed(replay.recovered));
        }
        if self.protocol == Protocol::V1 {
            effects.push(Effect::Send(protocol::encode(&Frame::Subscribed {
                reference: joining.reference,
                room,
                position: from,
                recovered: replay.recovered,
                replayed: messages.len(),
            })));
        }
        effects.extend(messages);
        effects
    }

    fn join_failed(&mut self, room: &RoomId, refusal: Refusal) -> Vec<Effect> {
        let reference = self.subscriptions.remove(room).and_then(|each| each.joining).and_then(|each| each.reference);
        match self.protocol {
            Protocol::V1 => {
                let mut effects = vec![Effect::Leave(room.clone())];
                effects.extend(Self::refuse(&Refusal { reference, ..refusal }));
                effects
            }
            // A raw client cannot be told, and must not wait for ever: it may come back.
            Protocol::Raw => vec![Effect::Close(Closing::new(close::TRY_AGAIN_LATER, "unavailable"))],
        }
    }

    fn published(&self, reference: Option<u64>, result: Result<EntryId, Refusal>) -> Vec<Effect> {
        match (self.protocol, result) {
            (Protocol::V1, Ok(id)) => {
                vec![Effect::Send(protocol::encode(&Frame::Ok { reference, id: Some(id) }))]
            }
            (Protocol::V1, Err(refusal)) => Self::refuse(&refusal),
            (Protocol::Raw, Ok(_)) => Vec::new(),
            (Protocol::Raw, Err(refusal)) => vec![Effect::Refused(refusal.code)],
        }
    }

    fn history(reference: Option<u64>, room: &RoomId, result: Result<(Vec<Entry>, bool), Refusal>) -> Vec<Effect> {
        match result {
            Ok((entries, more)) => {
                let messages = entries.iter().map(Past::from).collect();
                vec![Effect::Send(protocol::encode(&Frame::History { reference, room, messages, more }))]
            }
            Err(refusal) => Self::refuse(&refusal),
        }
    }

    fn message(&mut self, delivery: Arc<Delivery>) -> Vec<Effect> {
        match self.subscriptions.get_mut(&delivery.room) {
            Some(subscription) if delivery.entry.id > subscription.cursor => {
                subscription.cursor = delivery.entry.id;
                vec![Effect::Deliver(delivery)]
            }
            _ => Vec::new(),
        }
    }

    fn gap(&mut self, room: &RoomId, reason: Reason, position: EntryId) -> Vec<Effect> {
        let Some(subscription) = self.subscriptions.get_mut(room) else { return Vec::new() };
        // A cursor ahead of the gap misses nothing, unless ids have gone back.
        if reason == Reason::Trimmed && subscription.cursor > position {
            return Vec::new();
        }
        subscription.cursor = position;
        let mut effects = vec![Effect::Resynced(reason)];
        if self.protocol == Protocol::V1 {
            effects.push(Effect::Send(protocol::encode(&Frame::Resync { room, reason, position })));
        }
        effects
    }

    fn drain(&mut self, retry_after_ms: Millis, deadline_ms: Millis, now: Millis) -> Vec<Effect> {
        let raw = self.protocol == Protocol::Raw;
        let leaves_in = if raw { deadline_ms.min(retry_after_ms + RAW_GRACE) } else { deadline_ms };
        self.leaves_at = Some(now + leaves_in);
        let deadline_ms = (!raw).then_some(deadline_ms);
        vec![Effect::Send(protocol::encode(&Frame::Drain { retry_after_ms, deadline_ms }))]
    }

    fn drain_cancelled(&mut self) -> Vec<Effect> {
        self.leaves_at = None;
        Vec::new()
    }

    fn pong(&mut self) -> Vec<Effect> {
        self.heartbeat.answered();
        Vec::new()
    }

    fn tick(&mut self, config: &InForce, now: Millis) -> Vec<Effect> {
        if self.leaves_at.is_some_and(|at| at <= now) {
            let reason = if self.protocol == Protocol::Raw { "drained" } else { "drain_forced" };
            return vec![Effect::Close(Closing::new(close::SERVICE_RESTART, reason))];
        }
        match self.heartbeat.tick(&config.heartbeat, now) {
            heartbeat::Due::Nothing => Vec::new(),
            heartbeat::Due::Ping => vec![Effect::Ping],
            heartbeat::Due::Missed => {
                vec![Effect::Close(Closing::new(close::HEARTBEAT_MISSED, "heartbeat"))]
            }
        }
    }

    fn too_large(&self, config: &InForce) -> Vec<Effect> {
        let closing = Effect::Close(Closing::new(close::TOO_BIG, "too_large"));
        let message = format!("at most {} bytes per message", config.limits.max_message_bytes);
        let refusal = Refusal::new(None, Code::TooLarge, message);
        match self.protocol {
            Protocol::V1 => Self::refuse(&refusal).into_iter().chain([closing]).collect(),
            Protocol::Raw => vec![Effect::Refused(Code::TooLarge), closing],
        }
    }

    fn refuse(refusal: &Refusal) -> Vec<Effect> {
        vec![Effect::Refused(refusal.code), Effect::Send(protocol::encode_refusal(refusal))]
    }
}

fn limited(reference: Option<u64>) -> Refusal {
    Refusal::new(reference, Code::RateLimited, "too many requests: slow down")
}

fn forbidden(reference: Option<u64>) -> Refusal {
    Refusal::new(reference, Code::Forbidden, "not allowed in this room")
}
