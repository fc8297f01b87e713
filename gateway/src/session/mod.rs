//! A session: plain data, and how it changes. `step` takes an event and returns what to do; it knows no socket, no
//! log and no clock, so that a session can be written down and carried on elsewhere.

mod auth;
mod event;
mod heartbeat;
mod limits;
mod presence;
mod reading;
mod requests;
mod restoring;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use event::{Closing, Effect, Event, Passage, Receipt, Replay};
pub use heartbeat::Heartbeat;
pub use limits::Bucket;

use crate::auth::{Identity, written};
use auth::Authenticating;
use reading::Reading;
use restoring::Restoring;
use subscriptions::{Joining, Stage, Subscriptions};

use crate::clock::Millis;
use crate::config::InForce;
use crate::entry::{Delivery, Entry, EntryId};
use crate::log::continuity::Position;
use crate::protocol::{self, Code, Frame, Past, Protocol, Reason, Refusal, Request, close};
use crate::room::RoomId;

/// How long a raw client keeps its connection after it was told to move, beyond the delay that it was told, in
/// milliseconds. It cannot open the next connection before it leaves this one, so there is nothing to wait for.
const RAW_GRACE: Millis = 3000;

/// Everything about a session but its socket and what waits to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its number, random; as text it is the session's id.
    pub number: u128,
    /// How it speaks.
    pub protocol: Protocol,
    /// When it began.
    pub opened_at: Millis,
    /// By room. Few, so a table costs less than a map.
    subscriptions: Subscriptions,
    /// A raw session's rooms, as its URL names them.
    raw_rooms: Box<[RoomId]>,
    /// The log is being asked for more of what the client has missed.
    asked: bool,
    /// The room whose turn it is then, by its number.
    turn: u16,
    requests: Bucket,
    joins: Bucket,
    /// Pings and their answers.
    pub heartbeat: Heartbeat,
    /// When a raw session that was told to move is closed; `Millis::MAX`: not.
    leaves_at: Millis,
    /// Whether it came back to everything that it had missed.
    restoring: Restoring,
    /// Who the client is; `None` is anonymous, judged by the settings.
    #[serde(with = "written")]
    pub identity: Option<Arc<Identity>>,
    /// Boxed: most are not.
    authenticating: Option<Box<Authenticating>>,
    /// When the token ends, or the time in which one must be shown; `Millis::MAX`: never.
    ends_at: Millis,
    closing: bool,
}

impl Session {
    /// A new session. `raw_rooms` are the rooms that a raw session's URL names.
    pub fn new(
        number: u128,
        protocol: Protocol,
        raw_rooms: Vec<RoomId>,
        config: &InForce,
        now: Millis,
        jitter: f64,
    ) -> Self {
        Self {
            number,
            protocol,
            opened_at: now,
            subscriptions: Subscriptions::default(),
            raw_rooms: raw_rooms.into(),
            asked: false,
            turn: 0,
            requests: Bucket::full(now),
            joins: Bucket::full(now),
            heartbeat: Heartbeat::new(&config.heartbeat, now, jitter),
            leaves_at: Millis::MAX,
            restoring: Restoring::default(),
            identity: None,
            authenticating: None,
            ends_at: if config.token_required() {
                now + config.limits.auth_timeout_seconds * 1000
            } else {
                Millis::MAX
            },
            closing: false,
        }
    }

    /// Its id: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.number)
    }

    /// The rooms that it is in, or is about to be in.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.subscriptions.iter().map(|each| &each.room)
    }

    /// Whether it is in a room, or is about to be.
    pub fn is_in(&self, room: &RoomId) -> bool {
        self.subscriptions.get(room).is_some()
    }

    /// Whether it is in a room; if so, it keeps this copy of the id, which all members share, in place of its own.
    pub fn share(&mut self, room: &RoomId) -> bool {
        let subscription = self.subscriptions.get_mut(room);
        subscription.map(|subscription| subscription.room = room.clone()).is_some()
    }

    /// Whether a `Join` is under way.
    pub fn joining(&self) -> bool {
        self.subscriptions.iter().any(|each| each.joining().is_some())
    }

    /// Whether a `Join` of this room is under way: its messages must be kept back.
    pub fn is_joining(&self, room: &RoomId) -> bool {
        self.subscriptions.get(room).is_some_and(|each| each.joining().is_some())
    }

    /// Whether a request must wait until what came before it is done: requests take effect in the order in which they
    /// were sent.
    pub fn must_wait(&self, request: &Request) -> bool {
        match request {
            Request::Ping { .. } => false,
            Request::Subscribe { .. } => self.authenticating(),
            _ => self.joining() || self.authenticating(),
        }
    }

    /// A message has come. Moves the cursor when the client is to get it; the caller keeps it back while it is early.
    pub fn receive(&mut self, message: &Delivery) -> Receipt {
        let Some(subscription) = self.subscriptions.get_mut(&message.room) else { return Receipt::Known };
        match subscription.stage.as_deref_mut() {
            None if message.entry.id > subscription.cursor => {
                subscription.cursor = message.entry.id;
                Receipt::Fresh
            }
            None => Receipt::Known,
            Some(Stage::Joining(joining)) if joining.passed == EntryId::ZERO => Receipt::Early,
            Some(Stage::Joining(joining)) => {
                joining.passed = joining.passed.max(message.entry.id);
                Receipt::Known
            }
            Some(Stage::Reading(reading)) => reading.receive(message),
        }
    }

    /// When `Tick` is due next.
    pub fn wake_at(&self) -> Millis {
        let own = self.leaves_at.min(self.heartbeat.wake_at()).min(self.ends_at());
        own.min(self.judged_at())
    }

    /// When it is judged whether it was restored. Not while a room is still being read back for it.
    fn judged_at(&self) -> Millis {
        let at = self.restoring.due_at();
        if at == Millis::MAX || self.joining() || self.is_reading() { Millis::MAX } else { at }
    }

    /// The connection has ended: whether the session was restored, where that was not judged before.
    pub fn judge_restoring(&mut self) -> Option<bool> {
        self.restoring.judge()
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
            Event::Joined { room, position, replay } => self.joined(&room, position, replay, now),
            Event::ReadOn { room, passage } => self.read_on(&room, passage, now),
            Event::Roomy => self.roomy(),
            Event::JoinFailed { room, refusal } => self.join_failed(&room, refusal),
            Event::Authenticated(result) => self.authenticated(result, config),
            Event::Published { reference, result } => self.published(reference, result),
            Event::HistoryRead { reference, room, result } => Self::history(reference, &room, result),
            Event::Notice(notice) => self.notice(&notice),
            Event::PresenceRead { reference, room, result } => Self::presence(reference, &room, result),
            Event::Message(delivery) => match self.receive(&delivery) {
                Receipt::Fresh => vec![Effect::Deliver(delivery)],
                Receipt::Known | Receipt::Early | Receipt::TooFar => Vec::new(),
            },
            Event::Gap { room, reason, position } => self.gap(&room, reason, position),
            Event::Drain { retry_after_ms, deadline_ms } => self.drain(retry_after_ms, deadline_ms, now),
            Event::DrainCancelled => self.drain_cancelled(),
            Event::DrainForced => vec![Effect::Close(Closing::new(close::SERVICE_RESTART, "drain_forced"))],
            Event::Dropped => self.dropped(),
            Event::CarriedOn => self.carried_on(),
            Event::Overflowed => vec![Effect::Close(Closing::new(close::TRY_AGAIN_LATER, "slow"))],
            Event::Kicked => vec![Effect::Close(Closing::new(close::FORBIDDEN, "kicked"))],
            Event::GoingAway => vec![Effect::Close(Closing::new(close::GOING_AWAY, "shutdown"))],
            Event::Pong => self.pong(),
            Event::Tick => self.tick(config, now),
        }
    }

    fn opened(&mut self, node: &str, config: &InForce) -> Vec<Effect> {
        if self.protocol == Protocol::V1 {
            let welcome = Effect::Send(protocol::encode(&Frame::Welcome {
                session: &self.id(),
                node,
                heartbeat_ms: config.heartbeat.interval_seconds * 1000,
                max_message_bytes: config.limits.max_message_bytes,
                resume_window_ms: config.drain.resume_window_seconds * 1000,
            }));
            return std::iter::once(welcome).chain(self.checks_token()).collect();
        }
        match self.checks_token() {
            Some(first) => vec![first],
            None => self.enter_raw_rooms(config),
        }
    }

    fn joined(&mut self, room: &RoomId, position: EntryId, replay: Option<Replay>, now: Millis) -> Vec<Effect> {
        let Some(subscription) = self.subscriptions.get_mut(room) else { return Vec::new() };
        let Some(joining) = subscription.take_joining() else { return Vec::new() };
        let was_present = std::mem::replace(&mut subscription.present, joining.presence);
        let replay = replay.unwrap_or_else(|| nothing_missed(position, joining.since.is_none()));
        let (recovered, reset) = (replay.recovered, replay.reset);
        let replay = if reset { nothing_missed(position, false) } else { replay };
        // Live messages up to the cursor are dropped: a client whose cursor is ahead of this gateway has them already.
        let from = joining.since.filter(|_| !reset).unwrap_or(position);
        subscription.cursor = replay.begin.id;
        subscription.stage = Some(Box::new(Stage::Reading(Reading::begin(&replay, position.max(joining.passed)))));
        let mut effects = Vec::new();
        if joining.silent {
            effects.extend(self.told_of_hole(room, from, recovered, reset));
        } else if joining.since.is_some() {
            effects.push(Effect::Resumed(recovered));
            effects.extend(self.restoring.answered(recovered, now).map(Effect::Restored));
        }
        if self.protocol == Protocol::V1 && !joining.silent {
            effects.push(Effect::Send(protocol::encode(&Frame::Subscribed {
                reference: joining.reference,
                room,
                position: from,
                recovered,
                replayed: replay.count,
            })));
        }
        effects.extend(self.give(room, replay.first, now));
        effects.extend(self.appearance(room, was_present, joining.presence));
        effects
    }

    /// A client that did not ask is told only when something is missing.
    fn told_of_hole(&self, room: &RoomId, position: EntryId, recovered: bool, reset: bool) -> Vec<Effect> {
        let reason = if reset { Reason::Reset } else { Reason::Trimmed };
        if recovered { Vec::new() } else { resync(self.protocol, room, reason, position) }
    }

    fn join_failed(&mut self, room: &RoomId, refusal: Refusal) -> Vec<Effect> {
        let subscription = self.subscriptions.remove(room);
        let present = subscription.as_ref().is_some_and(|each| each.present);
        let reference = subscription.and_then(|mut each| each.take_joining()).and_then(|each| each.reference);
        match self.protocol {
            Protocol::V1 => {
                let mut effects = Vec::from_iter(present.then(|| Effect::Disappear(room.clone())));
                effects.push(Effect::Leave(room.clone()));
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

    /// Messages that waited for the client were dropped. It goes on from what comes next, which is what comes live where it
    /// is too far behind.
    fn dropped(&mut self) -> Vec<Effect> {
        let (mut effects, reason) = (Vec::new(), Reason::Slow);
        for subscription in self.subscriptions.iter_mut() {
            if let Some(reading) = subscription.reading().filter(|reading| reading.is_too_far_behind()) {
                subscription.cursor = reading.newest;
                subscription.stage = None;
            }
            let (room, position) = (&subscription.room, subscription.cursor);
            effects.push(Effect::Resynced(reason));
            effects.push(Effect::Send(protocol::encode(&Frame::Resync { room, reason, position })));
        }
        effects
    }

    /// Another process has carried the connection here: rooms are joined anew from the cursors, unseen by the client.
    fn carried_on(&mut self) -> Vec<Effect> {
        self.asked = false;
        let mut effects = Vec::from_iter(self.checks_token());
        for subscription in self.subscriptions.iter_mut() {
            // The log listed it here when it was there: it must appear anew.
            let (cursor, presence) = (subscription.cursor, std::mem::take(&mut subscription.present));
            // What was passed over there is read here, like everything after the cursor.
            let joining = subscription.take_joining().map(|joining| Joining { passed: EntryId::ZERO, ..joining });
            let joining = joining.unwrap_or_else(|| Joining::silent(cursor, presence));
            effects.push(Effect::Join { room: subscription.room.clone(), since: joining.since });
            subscription.stage = Some(Box::new(Stage::Joining(joining)));
        }
        effects
    }

    fn gap(&mut self, room: &RoomId, reason: Reason, position: EntryId) -> Vec<Effect> {
        let Some(subscription) = self.subscriptions.get_mut(room) else { return Vec::new() };
        // A cursor ahead of the gap misses nothing, unless ids have gone back.
        if reason == Reason::Trimmed && subscription.cursor > position {
            return Vec::new();
        }
        subscription.cursor = position;
        if let Some(reading) = subscription.reading() {
            // It reads on from there; what is being read now is of before.
            (reading.added, reading.upto) = (None, None);
        }
        resync(self.protocol, room, reason, position)
    }

    fn drain(&mut self, retry_after_ms: Millis, deadline_ms: Millis, now: Millis) -> Vec<Effect> {
        let raw = self.protocol == Protocol::Raw;
        // The others' deadline is the gateway's to keep: it may move.
        self.leaves_at = if raw { now + deadline_ms.min(retry_after_ms + RAW_GRACE) } else { Millis::MAX };
        let deadline_ms = (!raw).then_some(deadline_ms);
        vec![Effect::Send(protocol::encode(&Frame::Drain { retry_after_ms, deadline_ms }))]
    }

    fn drain_cancelled(&mut self) -> Vec<Effect> {
        self.leaves_at = Millis::MAX;
        match self.protocol {
            Protocol::V1 => vec![Effect::Send(protocol::encode(&Frame::DrainCancelled {}))],
            // It knows one control frame, and has begun to leave.
            Protocol::Raw => Vec::new(),
        }
    }

    fn pong(&mut self) -> Vec<Effect> {
        self.heartbeat.answered();
        Vec::new()
    }

    fn tick(&mut self, config: &InForce, now: Millis) -> Vec<Effect> {
        if self.leaves_at <= now {
            return vec![Effect::Close(Closing::new(close::SERVICE_RESTART, "drained"))];
        }
        if let Some(close) = self.end_of_stay(config, now) {
            return vec![close];
        }
        let judged = if self.judged_at() <= now { self.restoring.judge() } else { None };
        let restored = judged.map(Effect::Restored);
        match self.heartbeat.tick(&config.heartbeat, now) {
            heartbeat::Due::Nothing => Vec::from_iter(restored),
            heartbeat::Due::Ping => restored.into_iter().chain([Effect::Ping]).collect(),
            heartbeat::Due::Missed => {
                let closing = Effect::Close(Closing::new(close::HEARTBEAT_MISSED, "heartbeat"));
                restored.into_iter().chain([closing]).collect()
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

/// Counts a resync, and tells a client that can be told.
fn resync(protocol: Protocol, room: &RoomId, reason: Reason, position: EntryId) -> Vec<Effect> {
    let told = || Effect::Send(protocol::encode(&Frame::Resync { room, reason, position }));
    let told = (protocol == Protocol::V1).then(told);
    std::iter::once(Effect::Resynced(reason)).chain(told).collect()
}

/// For a client without a cursor, which begins with what comes next.
fn nothing_missed(position: EntryId, recovered: bool) -> Replay {
    let begin = Position { id: position, added: None };
    let first = Some(Passage::new(begin, Vec::new()));
    Replay { recovered, reset: false, count: 0, begin, end: position, typical: 0, first }
}
