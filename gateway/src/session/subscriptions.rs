//! The rooms of a session, as plain data.

use serde::{Deserialize, Serialize};

use crate::entry::EntryId;
use crate::room::RoomId;

/// A session's subscriptions, ordered by room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Subscriptions(Vec<Subscription>);

/// One room of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) room: RoomId,
    /// The last entry that the client was given.
    pub(super) cursor: EntryId,
    /// Where a subscription stands that is still being made. Boxed: most are made.
    pub(super) joining: Option<Box<Joining>>,
    /// It is listed among the room's members, and told who comes and leaves.
    pub(super) present: bool,
}

/// What a subscription was asked for with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Joining {
    /// The client's number.
    pub(super) reference: Option<u64>,
    /// The client's cursor.
    pub(super) since: Option<EntryId>,
    /// It is to be listed among the room's members.
    pub(super) presence: bool,
    /// The client did not ask and is not answered.
    pub(super) silent: bool,
}

impl Joining {
    /// A subscription that is made anew behind the client's back.
    pub(super) fn silent(cursor: EntryId, presence: bool) -> Self {
        Self { reference: None, since: Some(cursor), presence, silent: true }
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.0.iter_mut()
    }

    pub(super) fn get(&self, room: &RoomId) -> Option<&Subscription> {
        self.find(room).ok().map(|at| &self.0[at])
    }

    pub(super) fn get_mut(&mut self, room: &RoomId) -> Option<&mut Subscription> {
        self.find(room).ok().map(|at| &mut self.0[at])
    }

    /// The subscription to a room, made without a cursor if there is none.
    pub(super) fn get_or_insert(&mut self, room: &RoomId) -> &mut Subscription {
        let at = self.find(room).unwrap_or_else(|at| {
            self.0.reserve_exact(1);
            self.0
                .insert(at, Subscription { room: room.clone(), cursor: EntryId::ZERO, joining: None, present: false });
            at
        });
        &mut self.0[at]
    }

    pub(super) fn remove(&mut self, room: &RoomId) -> Option<Subscription> {
        self.find(room).ok().map(|at| self.0.remove(at))
    }

    fn find(&self, room: &RoomId) -> Result<usize, usize> {
        self.0.binary_search_by(|each| each.room.cmp(room))
    }
}
