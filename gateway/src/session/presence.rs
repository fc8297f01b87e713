//! Being listed: when a session appears among a room's members, and what it is told of the others.

use std::sync::Arc;

use super::Session;
use super::event::Effect;
use crate::presence::{Listing, Member, Notice};
use crate::protocol::{self, Frame, Refusal};
use crate::room::RoomId;

impl Session {
    /// The rooms in which it is listed.
    pub fn present_in(&self) -> impl Iterator<Item = &RoomId> {
        self.subscriptions.iter().filter(|subscription| subscription.present).map(|subscription| &subscription.room)
    }

    /// As whom it is listed.
    pub fn member(&self) -> Member {
        Member { session: self.id(), user: self.identity.as_ref().and_then(|identity| identity.user.clone()) }
    }

    pub(super) fn appearance(&self, room: &RoomId, was: bool, shall: bool) -> Option<Effect> {
        match (was, shall) {
            (false, true) => Some(Effect::Appear { room: room.clone(), member: self.member() }),
            (true, false) => Some(Effect::Disappear(room.clone())),
            _ => None,
        }
    }

    /// A notice that was queued before the session left the room is none of its business any more.
    pub(super) fn notice(&self, notice: &Notice) -> Vec<Effect> {
        let present = self.subscriptions.get(&notice.room).is_some_and(|subscription| subscription.present);
        Vec::from_iter(present.then(|| Effect::Send(notice.frame.clone())))
    }

    pub(super) fn presence(
        reference: Option<u64>,
        room: &RoomId,
        result: Result<Arc<Listing>, Refusal>,
    ) -> Vec<Effect> {
        match result {
            Ok(listing) => {
                let (members, count) = (&listing.members[..], listing.count);
                vec![Effect::Send(protocol::encode(&Frame::Presence { reference, room, members, count }))]
            }
            Err(refusal) => Self::refuse(&refusal),
        }
    }
}
