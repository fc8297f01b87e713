//! Who the client is: a token that is being checked, what becomes of the rooms afterwards, and when a token ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Closing, Effect};
use super::{Joining, Session};
use crate::auth::{self, Identity, Refused, Token};
use crate::clock::Millis;
use crate::config::InForce;
use crate::protocol::{self, Code, Frame, Protocol, Refusal, close};
use crate::room::RoomId;

/// A token that is being checked. Kept, so that a session that is carried on elsewhere can have it checked there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Authenticating {
    reference: Option<u64>,
    token: Token,
    /// It came with the handshake: nobody waits for an answer.
    silent: bool,
}

impl Session {
    /// The same for a client whose token was checked already.
    #[must_use]
    pub fn with_identity(mut self, identity: Arc<Identity>) -> Self {
        self.become_known(identity);
        self
    }

    /// The same for a client whose token is to be checked first of all.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.authenticating = Some(Box::new(Authenticating { reference: None, token, silent: true }));
        self
    }

    /// Whether a token is being checked.
    pub fn authenticating(&self) -> bool {
        self.authenticating.is_some()
    }

    /// When the client's right to be here ends: its token, or the time in which it must show one.
    pub(super) fn ends_at(&self) -> Millis {
        // Whoever has shown a token in time is not closed while it is checked.
        if self.authenticating() { Millis::MAX } else { self.ends_at }
    }

    pub(super) fn authenticate(
        &mut self,
        reference: Option<u64>,
        token: Token,
        config: &InForce,
        now: Millis,
    ) -> Result<Vec<Effect>, Refusal> {
        self.spend(reference, config, now)?;
        self.authenticating = Some(Box::new(Authenticating { reference, token, silent: false }));
        Ok(Vec::from_iter(self.checks_token()))
    }

    /// What has the token checked that waits for it.
    pub(super) fn checks_token(&self) -> Option<Effect> {
        self.authenticating.as_ref().map(|each| Effect::Authenticate(each.token.clone()))
    }

    pub(super) fn authenticated(&mut self, result: Result<Identity, Refused>, config: &InForce) -> Vec<Effect> {
        let Some(authenticating) = self.authenticating.take() else { return Vec::new() };
        match result {
            Ok(identity) => {
                let answer = Frame::Ok { reference: authenticating.reference, id: None };
                let mut effects =
                    Vec::from_iter((!authenticating.silent).then(|| Effect::Send(protocol::encode(&answer))));
                let was = self.become_known(Arc::new(identity));
                effects.extend(self.leave_forbidden(config));
                effects.extend(self.reappear(was.as_deref()));
                effects.extend(self.enter_raw_rooms(config));
                effects
            }
            Err(refused) => self.token_refused(refused, authenticating.reference),
        }
    }

    fn become_known(&mut self, identity: Arc<Identity>) -> Option<Arc<Identity>> {
        self.ends_at = identity.expires_at.unwrap_or(Millis::MAX);
        self.identity.replace(identity)
    }

    fn token_refused(&self, refused: Refused, reference: Option<u64>) -> Vec<Effect> {
        let (code, closing) = if refused.is_temporary() {
            (Code::Unavailable, Closing::new(close::TRY_AGAIN_LATER, "unavailable"))
        } else {
            (Code::Unauthorized, Closing::new(close::UNAUTHORIZED, "unauthorized"))
        };
        let mut effects = match self.protocol {
            Protocol::V1 => Self::refuse(&Refusal::new(reference, code, refused.to_string())),
            Protocol::Raw => vec![Effect::Refused(code)],
        };
        // Who is known already goes on until its token ends: our fault is not its own.
        if !(refused.is_temporary() && self.identity.is_some()) {
            effects.push(Effect::Close(closing));
        }
        effects
    }

    /// A new token may allow less than the one before.
    fn leave_forbidden(&mut self, config: &InForce) -> Vec<Effect> {
        let rooms: Vec<RoomId> = self.rooms().filter(|room| !self.may_subscribe(room, config)).cloned().collect();
        rooms.into_iter().flat_map(|room| self.expel(room)).collect()
    }

    fn expel(&mut self, room: RoomId) -> Vec<Effect> {
        let present = self.subscriptions.remove(&room).is_some_and(|subscription| subscription.present);
        let mut effects = Vec::from_iter(present.then(|| Effect::Disappear(room.clone())));
        let message = "the new token does not allow this room: it was left";
        let error = Frame::Error { reference: None, code: Code::Forbidden, room: Some(&room), message };
        effects.push(Effect::Send(protocol::encode(&error)));
        effects.push(Effect::Leave(room));
        effects
    }

    /// Members are listed with their user.
    fn reappear(&self, was: Option<&Identity>) -> Vec<Effect> {
        let user = |identity: Option<&Identity>| identity.and_then(|identity| identity.user.clone());
        if user(was) == user(self.identity.as_deref()) {
            return Vec::new();
        }
        let anew = |room: &RoomId| {
            [Effect::Disappear(room.clone()), Effect::Appear { room: room.clone(), member: self.member() }]
        };
        self.present_in().flat_map(anew).collect()
    }

    /// The rooms of a raw session's URL, as far as it is known who asks.
    pub(super) fn enter_raw_rooms(&mut self, config: &InForce) -> Vec<Effect> {
        let rooms = self.raw_rooms.clone();
        if !rooms.iter().all(|room| self.may_subscribe(room, config)) {
            return vec![Effect::Refused(Code::Forbidden), Effect::Close(Closing::new(close::FORBIDDEN, "forbidden"))];
        }
        rooms.into_iter().filter_map(|room| self.join(room, Joining::default())).collect()
    }

    /// What is due of that at `now`.
    pub(super) fn end_of_stay(&mut self, config: &InForce, now: Millis) -> Option<Effect> {
        if self.ends_at() > now {
            return None;
        }
        if self.identity.is_some() {
            return Some(Effect::Close(Closing::new(close::UNAUTHORIZED, "token_expired")));
        }
        // The settings may have changed meanwhile.
        self.ends_at = Millis::MAX;
        config.token_required().then(|| Effect::Close(Closing::new(close::AUTH_TIMEOUT, "auth_timeout")))
    }

    pub(super) fn may_subscribe(&self, room: &RoomId, config: &InForce) -> bool {
        auth::may_subscribe(self.identity.as_deref(), room, config)
    }

    pub(super) fn may_publish(&self, room: &RoomId, config: &InForce) -> bool {
        auth::may_publish(self.identity.as_deref(), room, config)
    }
}
