//! What was observed, sorted by the part that each revision plays now. Decides nothing.

use jiff::Timestamp;

use super::{DrainState, Pod, Revision, Seen, Wish};

/// What a turn looks at.
pub(super) struct View<'a> {
    pub(super) wish: &'a Wish,
    pub(super) now: Timestamp,
    /// The revision that takes new connections.
    pub(super) active: &'a str,
    /// Old ones from the oldest on.
    pub(super) sides: Vec<Side<'a>>,
}

/// A revision and its part.
pub(super) struct Side<'a> {
    pub(super) revision: &'a Revision,
    pub(super) part: Part,
    /// Its pods but for those that end or are sure to.
    pub(super) live: Vec<&'a Pod>,
    /// Pods that its Deployment, already smaller than its pods are many, is about to remove.
    pub(super) doomed: Vec<&'a Pod>,
}

/// The part that a revision plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The Service selects it.
    Active,
    /// The spec asks for it, and the Service does not select it yet.
    Wanted,
    /// It was active before.
    Old,
    /// It was never active, and is not wanted: it holds no session.
    Unused,
}

impl<'a> View<'a> {
    pub(super) fn of(wish: &'a Wish, seen: &'a Seen) -> View<'a> {
        let active = seen.active.as_deref().or_else(|| survivor(seen)).unwrap_or(&wish.revision);
        let part = |revision: &Revision| match () {
            () if revision.hash == active => Part::Active,
            () if revision.hash == wish.revision => Part::Wanted,
            () if revision.activated_at.is_some() => Part::Old,
            () => Part::Unused,
        };
        let mut sides: Vec<_> = seen.revisions.iter().map(|revision| Side::of(revision, part(revision))).collect();
        sides.sort_by_key(|side| (side.revision.activated_at, side.revision.hash.as_str()));
        View { wish, now: seen.now, active, sides }
    }

    /// Gateways that are wanted.
    pub(super) fn replicas(&self) -> i32 {
        self.wish.replicas.max(0)
    }

    pub(super) fn max_surge(&self) -> i32 {
        self.wish.max_surge.max(1)
    }

    /// Whether the revision that is active is not the one that is wanted.
    pub(super) fn turning(&self) -> bool {
        self.active != self.wish.revision
    }

    /// Whether the wanted revision did not come up. With no gateway wanted, none can fail to.
    pub(super) fn failed(&self) -> bool {
        self.replicas() > 0 && self.side(Part::Wanted).is_some_and(|side| side.revision.deadline_exceeded)
    }

    /// The active revision or the wanted one, which are one at most.
    pub(super) fn side(&self, part: Part) -> Option<&Side<'a>> {
        self.sides.iter().find(|side| side.part == part)
    }

    /// Revisions that were active before, the oldest first.
    pub(super) fn old(&self) -> impl DoubleEndedIterator<Item = &Side<'a>> {
        self.sides.iter().filter(|side| side.part == Part::Old)
    }

    pub(super) fn active_pods(&self) -> &[&'a Pod] {
        self.side(Part::Active).map_or(&[], |side| &side.live)
    }

    /// Each pod that is neither ending nor sure to.
    pub(super) fn live(&self) -> impl Iterator<Item = &'a Pod> {
        self.sides.iter().flat_map(|side| side.live.iter().copied())
    }
}

impl<'a> Side<'a> {
    fn of(revision: &'a Revision, part: Part) -> Side<'a> {
        let standing: Vec<_> = revision.pods.iter().filter(|pod| !pod.terminating).collect();
        let surplus =
            if revision.deployed { standing.len().saturating_sub(revision.replicas.max(0) as usize) } else { 0 };
        let (cheap, others): (Vec<_>, Vec<_>) = standing.into_iter().partition(|pod| pod.cheap);
        let doomed: Vec<_> = cheap.iter().take(surplus).copied().collect();
        let live = cheap.into_iter().skip(surplus).chain(others).collect();
        Side { revision, part, live, doomed }
    }

    /// Gateways that take connections, and are not about to leave.
    pub(super) fn ready(&self) -> i32 {
        count(self.live.iter().filter(|pod| pod.ready && pod.mark.is_none()))
    }

    /// Its pods that are neither ending nor sure to.
    pub(super) fn size(&self) -> i32 {
        count(self.live.iter())
    }

    /// Gateways that its Deployment is told to have.
    pub(super) fn replicas(&self) -> i32 {
        if self.revision.deployed { self.revision.replicas.max(0) } else { 0 }
    }
}

/// Whether a pod drains, by its mark or by its own word.
pub(super) fn under_way(pod: &Pod) -> bool {
    pod.mark.is_some() || matches!(pod.drain, DrainState::Draining | DrainState::Drained)
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

/// The revision to go on with when somebody has deleted the Service.
fn survivor(seen: &Seen) -> Option<&str> {
    let serves = |revision: &&Revision| {
        revision.deployed
            && revision.activated_at.is_some()
            && revision.pods.iter().any(|pod| pod.ready && !pod.terminating)
    };
    let newest = seen.revisions.iter().filter(serves).max_by_key(|revision| (revision.activated_at, &revision.hash));
    newest.map(|revision| revision.hash.as_str())
}
