//! Which connections of one shard are in which rooms, by slot.

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::room::RoomId;

/// A connection's place in the shard's table.
pub(super) type Slot = u32;

/// The rooms that have members in this shard.
#[derive(Default)]
pub(super) struct Rooms {
    members: HashMap<RoomId, Members>,
}

/// Most rooms have one member: it needs no table.
enum Members {
    One(Slot),
    Many(IndexSet<Slot>),
}

impl Rooms {
    /// Adds a member; `false` if it is one already.
    pub(super) fn enter(&mut self, room: &RoomId, slot: Slot) -> bool {
        let Some(members) = self.members.get_mut(room) else {
            self.members.insert(room.clone(), Members::One(slot));
            return true;
        };
        match members {
            Members::One(only) if *only == slot => false,
            Members::One(only) => {
                *members = Members::Many(IndexSet::from([*only, slot]));
                true
            }
            Members::Many(many) => many.insert(slot),
        }
    }

    /// Removes a member; `false` if it is none.
    pub(super) fn leave(&mut self, room: &RoomId, slot: Slot) -> bool {
        let Some(members) = self.members.get_mut(room) else { return false };
        let (was, empty) = match members {
            Members::One(only) => (*only == slot, *only == slot),
            Members::Many(many) => (many.swap_remove(&slot), many.is_empty()),
        };
        if empty {
            self.members.remove(room);
        }
        was
    }

    /// All members, copied: they may leave while the copy is walked.
    pub(super) fn copy(&self, room: &RoomId) -> Vec<Slot> {
        match self.members.get(room) {
            None => Vec::new(),
            Some(Members::One(only)) => vec![*only],
            Some(Members::Many(many)) => many.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_enter_once_and_leave_once() {
        let (mut rooms, room) = (Rooms::default(), RoomId::parse("r").unwrap());
        assert!(rooms.enter(&room, 1) && !rooms.enter(&room, 1));
        assert!(rooms.enter(&room, 2) && !rooms.enter(&room, 2));
        assert_eq!(rooms.copy(&room), [1, 2]);
        assert!(rooms.leave(&room, 1) && !rooms.leave(&room, 1));
        assert!(rooms.leave(&room, 2) && !rooms.leave(&room, 2));
        assert!(rooms.copy(&room).is_empty() && rooms.members.is_empty());
    }
}
