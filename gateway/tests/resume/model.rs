//! What must be true of what a reader saw. Knows no socket.

use std::fmt;

use wscluster_gateway::entry::EntryId;

/// What a reader saw on one subscription.
pub(crate) enum Saw {
    /// The answer to `subscribe`; `floor` is the oldest entry that was left at that time, for whoever reads what went wrong.
    Subscribed {
        since: EntryId,
        recovered: bool,
        replayed: u64,
        floor: EntryId,
    },
    Message(EntryId),
    Resync(EntryId),
}

impl fmt::Display for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscribed { since, recovered, replayed, floor } => {
                write!(f, "subscribed since {since}, recovered: {recovered}, {replayed} replayed; kept from {floor}")
            }
            Self::Message(id) => write!(f, "{id}"),
            Self::Resync(position) => write!(f, "resync to {position}"),
        }
    }
}

/// The truth: what was published, in order, and the oldest entry that is left.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) published: Vec<EntryId>,
    pub(crate) floor: EntryId,
}

impl Model {
    fn between(&self, after: EntryId, before: EntryId) -> impl Iterator<Item = &EntryId> {
        self.published.iter().filter(move |id| **id > after && **id < before)
    }

    /// Judges one subscription; returns where it stands at the end.
    pub(crate) fn judge(&self, saw: &[Saw]) -> Result<EntryId, String> {
        let (mut cursor, mut told_of_hole) = (EntryId::ZERO, false);
        for (at, each) in saw.iter().enumerate() {
            match *each {
                Saw::Subscribed { since, recovered, replayed, .. } => {
                    cursor = since;
                    // Recovered up to where the gateway stood. It may be a moment behind, and what comes next may be trimmed
                    // before it gets there: then it tells of the hole. Or it has what was trimmed, from when it read it for
                    // others. Either way nothing may be missing silently in what follows.
                    told_of_hole = !recovered;
                    let all = self.published.iter().filter(|id| **id > since).count() as u64;
                    if replayed > all {
                        return Err(format!("{at}: replayed more than the {all} that there were: {each}"));
                    }
                }
                Saw::Resync(position) => (cursor, told_of_hole) = (cursor.max(position), true),
                Saw::Message(id) => {
                    if id <= cursor {
                        return Err(format!("{at}: {id} after {cursor}: twice, or out of order"));
                    }
                    let skipped: Vec<_> = self.between(cursor, id).collect();
                    if !skipped.is_empty() && !told_of_hole {
                        let (count, first) = (skipped.len(), skipped[0]);
                        return Err(format!(
                            "{at}: {id} after {cursor}: {count} from {first} on are missing, silently"
                        ));
                    }
                    if let Some(there) = skipped.iter().find(|skipped| ***skipped >= self.floor) {
                        return Err(format!("{at}: {id} after {cursor}: {there} was left out, and is still there"));
                    }
                    (cursor, told_of_hole) = (id, false);
                }
            }
        }
        Ok(cursor)
    }
}
