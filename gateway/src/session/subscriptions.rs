//! The rooms of a session, as plain data.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::reading::Reading;
use crate::entry::EntryId;
use crate::room::RoomId;

/// A session's subscriptions, ordered by room. Most sessions are in one: it costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Subscriptions(SmallVec<[Subscription; 1]>);

/// One room of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) room: RoomId,
    /// The last entry that the client was given.
    pub(super) cursor: EntryId,
    /// How far a subscription is that does not follow its room live yet. Boxed: most do.
    pub(super) stage: Option<Box<Stage>>,
    /// It is listed among the room's members, and told who comes and leaves.
    pub(super) present: bool,
}

/// What is done before a subscription is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It is being made.
    Joining(Joining),
    /// It is made, and the client is given what the log has.
    Reading(Reading),
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
    /// The newest message that came meanwhile and was passed over: the log has it.
    #[serde(default)]
    pub(super) passed: EntryId,
}

impl Joining {
    /// A subscription that is made anew behind the client's back.
    pub(super) fn silent(cursor: EntryId, presence: bool) -> Self {
        Self { reference: None, since: Some(cursor), presence, silent: true, passed: EntryId::ZERO }
    }
}

impl Subscription {
    /// It is still being made.
    pub(super) fn joining(&self) -> Option<&Joining> {
        match self.stage.as_deref() {
            Some(Stage::Joining(joining)) => Some(joining),
            _ => None,
        }
    }

    /// The same, and it no more is.
    pub(super) fn take_joining(&mut self) -> Option<Joining> {
        match *self.stage.take_if(|stage| matches!(**stage, Stage::Joining(_)))? {
            Stage::Joining(joining) => Some(joining),
            Stage::Reading(_) => None,
        }
    }

    /// The client is given what the log has.
    pub(super) fn reading(&mut self) -> Option<&mut Reading> {
        match self.stage.as_deref_mut() {
            Some(Stage::Reading(reading)) => Some(reading),
            _ => None,
        }
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
            self.0.insert(at, Subscription { room: room.clone(), cursor: EntryId::ZERO, stage: None, present: false });
            at
        });
        &mut self.0[at]
    }

    /// The first after number `from`, in turn, of which something holds, and its number.
    pub(super) fn next_where(&self, from: usize, holds: impl Fn(&Subscription) -> bool) -> Option<usize> {
        let count = self.0.len();
        (0..count).map(|step| (from + step) % count).find(|number| holds(&self.0[*number]))
    }

    pub(super) fn at(&mut self, number: usize) -> &mut Subscription {
        &mut self.0[number]
    }

    pub(super) fn remove(&mut self, room: &RoomId) -> Option<Subscription> {
        self.find(room).ok().map(|at| self.0.remove(at))
    }

    fn find(&self, room: &RoomId) -> Result<usize, usize> {
        self.0.binary_search_by(|each| each.room.cmp(room))
    }
}
