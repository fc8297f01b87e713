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

/// Most rooms have few members, which need no table: four bytes each instead of forty.
enum Members {
    One(Slot),
    Few(Vec<Slot>),
    Many(IndexSet<Slot>),
}

/// So many are found as fast by looking at each.
const FEW: usize = 32;

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
                *members = Members::Few(vec![*only, slot]);
                true
            }
            Members::Few(few) if few.contains(&slot) => false,
            Members::Few(few) if few.len() < FEW => {
                few.push(slot);
                true
            }
            Members::Few(few) => {
                *members = Members::Many(few.iter().copied().chain([slot]).collect());
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
            Members::Few(few) => {
                let place = few.iter().position(|each| *each == slot);
                (place.map(|place| few.swap_remove(place)).is_some(), few.is_empty())
            }
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
            Some(Members::Few(few)) => few.clone(),
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
        for count in [1, 2, FEW as Slot, FEW as Slot + 1, 3 * FEW as Slot] {
            assert!((0..count).all(|slot| rooms.enter(&room, slot) && !rooms.enter(&room, slot)), "{count}");
            let mut all = rooms.copy(&room);
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            assert!((0..count).all(|slot| rooms.leave(&room, slot) && !rooms.leave(&room, slot)), "{count}");
            assert!(rooms.copy(&room).is_empty() && rooms.members.is_empty());
        }
    }
}
