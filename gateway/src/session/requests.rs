//! What a client asks for: whether it may, and what is to be done for it.

use super::event::{Closing, Effect};
use super::{Joining, Session, Stage};
use crate::clock::Millis;
use crate::config::InForce;
use crate::entry::{EntryId, Text};
use crate::idempotency::IdempotencyKey;
use crate::protocol::{self, Code, Frame, Protocol, Refusal, Request, close};
use crate::room::RoomId;

impl Session {
    pub(super) fn text(&mut self, text: Text, config: &InForce, now: Millis) -> Vec<Effect> {
        if text.as_str().len() > config.limits.max_message_bytes {
            return self.too_large(config);
        }
        match self.protocol {
            Protocol::V1 => match protocol::parse(text.as_str()) {
                Ok(request) => self.request(request, config, now),
                Err(refusal) => self.refused_frame(&refusal, config, now),
            },
            Protocol::Raw => self.raw_publish(text, config, now),
        }
    }

    /// A frame that could not be understood costs as much as one that could.
    fn refused_frame(&mut self, refusal: &Refusal, config: &InForce, now: Millis) -> Vec<Effect> {
        match self.spend(refusal.reference, config, now) {
            Ok(()) => Self::refuse(refusal),
            Err(limited) => Self::refuse(&limited),
        }
    }

    fn raw_publish(&mut self, payload: Text, config: &InForce, now: Millis) -> Vec<Effect> {
        let [room] = &*self.raw_rooms else {
            return vec![Effect::Close(Closing::new(close::FORBIDDEN, "forbidden"))];
        };
        let room = room.clone();
        if !self.may_publish(&room, config) {
            return vec![Effect::Refused(Code::Forbidden), Effect::Close(Closing::new(close::FORBIDDEN, "forbidden"))];
        }
        match self.spend(None, config, now) {
            Ok(()) => vec![Effect::Publish { reference: None, room, payload, key: None }],
            Err(refusal) => vec![Effect::Refused(refusal.code)],
        }
    }

    pub(super) fn request(&mut self, request: Request, config: &InForce, now: Millis) -> Vec<Effect> {
        let result = match request {
            Request::Auth { reference, token } => self.authenticate(reference, token, config, now),
            Request::Ping { reference } => Ok(vec![Effect::Send(protocol::encode(&Frame::Pong { reference }))]),
            Request::Subscribe { reference, room, since, presence } => {
                let joining = Joining { reference, since, presence, silent: false, passed: EntryId::ZERO };
                self.subscribe(room, joining, config, now)
            }
            Request::Unsubscribe { reference, room } => self.unsubscribe(reference, room, config, now),
            Request::Publish { reference, room, payload, key } => {
                self.publish(reference, room, payload, key, config, now)
            }
            Request::History { reference, room, before, limit } => self
                .read(reference, &room, config, now)
                .map(|()| vec![Effect::ReadHistory { reference, room, before: before.unwrap_or(EntryId::MAX), limit }]),
            Request::Presence { reference, room } => {
                self.read(reference, &room, config, now).map(|()| vec![Effect::ReadPresence { reference, room }])
            }
        };
        result.unwrap_or_else(|refusal| Self::refuse(&refusal))
    }

    fn subscribe(
        &mut self,
        room: RoomId,
        joining: Joining,
        config: &InForce,
        now: Millis,
    ) -> Result<Vec<Effect>, Refusal> {
        let (limits, reference) = (&config.limits, joining.reference);
        // A client that comes back subscribes to all its rooms at once: that is no flood.
        let burst = f64::from(limits.burst).max(limits.max_rooms_per_connection as f64);
        if !self.joins.take(f64::from(limits.messages_per_second), burst, now) {
            return Err(limited(reference));
        }
        if !self.may_subscribe(&room, config) {
            return Err(forbidden(reference));
        }
        if !self.is_in(&room) && self.subscriptions.len() >= limits.max_rooms_per_connection {
            let message = format!("at most {} rooms per connection", limits.max_rooms_per_connection);
            return Err(Refusal::new(reference, Code::TooManyRooms, message));
        }
        match self.join(room, joining) {
            Some(effect) => Ok(vec![effect]),
            None => Err(Refusal::new(reference, Code::BadRequest, "this room is being subscribed to already")),
        }
    }

    pub(super) fn join(&mut self, room: RoomId, joining: Joining) -> Option<Effect> {
        let subscription = self.subscriptions.get_or_insert(&room);
        if subscription.joining().is_some() {
            return None;
        }
        let since = joining.since;
        // What was still to be given of an older subscription ends with it.
        subscription.stage = Some(Box::new(Stage::Joining(joining)));
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
        let Some(subscription) = self.subscriptions.remove(&room) else {
            return Err(Refusal::new(reference, Code::NotSubscribed, "not subscribed to this room"));
        };
        let mut effects = Vec::from_iter(subscription.present.then(|| Effect::Disappear(room.clone())));
        effects.push(Effect::Leave(room));
        effects.push(Effect::Send(protocol::encode(&Frame::Ok { reference, id: None })));
        Ok(effects)
    }

    fn publish(
        &mut self,
        reference: Option<u64>,
        room: RoomId,
        payload: Text,
        key: Option<IdempotencyKey>,
        config: &InForce,
        now: Millis,
    ) -> Result<Vec<Effect>, Refusal> {
        self.spend(reference, config, now)?;
        if !self.may_publish(&room, config) {
            return Err(forbidden(reference));
        }
        Ok(vec![Effect::Publish { reference, room, payload, key }])
    }

    fn read(&mut self, reference: Option<u64>, room: &RoomId, config: &InForce, now: Millis) -> Result<(), Refusal> {
        self.spend(reference, config, now)?;
        if self.may_subscribe(room, config) { Ok(()) } else { Err(forbidden(reference)) }
    }

    pub(super) fn spend(&mut self, reference: Option<u64>, config: &InForce, now: Millis) -> Result<(), Refusal> {
        let limits = &config.limits;
        let may = self.requests.take(f64::from(limits.messages_per_second), f64::from(limits.burst), now);
        if may { Ok(()) } else { Err(limited(reference)) }
    }
}

fn limited(reference: Option<u64>) -> Refusal {
    Refusal::new(reference, Code::RateLimited, "too many requests: slow down")
}

fn forbidden(reference: Option<u64>) -> Refusal {
    Refusal::new(reference, Code::Forbidden, "not allowed in this room")
}
