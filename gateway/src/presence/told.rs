//! What the members here know of a room, and what they are to be told when it has changed. Pure.

use std::collections::BTreeMap;

use super::{Change, Listing, Member};

/// What the members here know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Every member by name.
    Named(BTreeMap<String, Option<String>>),
    /// A large room: how many there are.
    Counted(usize),
}

/// What they are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// Members came or left; nobody is named in a large room.
    Changed(Change, Vec<Member>, usize),
    /// A large room has become a small one: all of its members.
    All(Listing),
}

impl Told {
    /// How many there are, as far as is known.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Named(members) => members.len(),
            Self::Counted(count) => *count,
        }
    }

    /// All members, where they are known by name.
    pub(super) fn listing(&self) -> Option<Listing> {
        let Self::Named(members) = self else { return None };
        let members: Vec<_> = members.iter().map(member).collect();
        Some(Listing { count: members.len(), members })
    }

    /// Takes over what was read. `trusted`: who is not in it has left. `new_here` are members of this gateway that were
    /// not there when the last reading was made.
    pub(super) fn update(
        &mut self,
        listing: &Listing,
        most: usize,
        trusted: bool,
        new_here: impl Fn(&str) -> bool,
    ) -> Vec<Saying> {
        let all = || listing.members.iter().map(|each| (each.session.clone(), each.user.clone()));
        if *self == Self::Nothing {
            *self = if listing.complete() && listing.count <= most {
                Self::Named(all().filter(|(session, _)| !new_here(session)).collect())
            } else {
                Self::Counted(listing.count)
            };
        }
        match self {
            Self::Named(known) if listing.complete() && listing.count <= most => named(known, all().collect(), trusted),
            Self::Counted(_) if may_be_named(listing, most) && trusted => {
                *self = Self::Named(all().collect());
                vec![Saying::All(listing.clone())]
            }
            _ => self.counted(listing.count, trusted),
        }
    }

    fn counted(&mut self, now: usize, trusted: bool) -> Vec<Saying> {
        let (before, named) = (self.count(), matches!(self, Self::Named(_)));
        let now = if trusted { now } else { now.max(before) };
        *self = Self::Counted(now);
        let change = match now.cmp(&before) {
            std::cmp::Ordering::Greater => Change::Join,
            std::cmp::Ordering::Less => Change::Leave,
            // That nobody is named any more must be told.
            std::cmp::Ordering::Equal if named => Change::Join,
            std::cmp::Ordering::Equal => return Vec::new(),
        };
        vec![Saying::Changed(change, Vec::new(), now)]
    }
}

/// Not at once when it is below the limit, or a room at its limit would be listed whenever someone comes or leaves.
pub(super) fn may_be_named(listing: &Listing, most: usize) -> bool {
    listing.complete() && listing.count <= named_again(most)
}

/// How many members a large room has at most when it becomes a small one.
pub(super) fn named_again(most: usize) -> usize {
    most - most / 10
}

fn named(
    known: &mut BTreeMap<String, Option<String>>,
    mut now: BTreeMap<String, Option<String>>,
    trusted: bool,
) -> Vec<Saying> {
    if !trusted {
        for (session, user) in known.iter() {
            now.entry(session.clone()).or_insert_with(|| user.clone());
        }
    }
    let only = |these: &BTreeMap<String, Option<String>>, others: &BTreeMap<String, Option<String>>| -> Vec<Member> {
        these.iter().filter(|(session, _)| !others.contains_key(*session)).map(member).collect()
    };
    let (came, left) = (only(&now, known), only(known, &now));
    *known = now;
    // Who moves from one gateway to another comes before it leaves.
    [(Change::Join, came), (Change::Leave, left)]
        .into_iter()
        .filter(|(_, members)| !members.is_empty())
        .map(|(change, members)| Saying::Changed(change, members, known.len()))
        .collect()
}

fn member((session, user): (&String, &Option<String>)) -> Member {
    Member { session: session.clone(), user: user.clone() }
}
