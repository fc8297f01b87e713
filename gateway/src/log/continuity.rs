//! Whether anything can be missing between a cursor and what a stream still holds. Proofs, not guesses: where it
//! cannot be proven that nothing is missing, the answer is that something may be. Pure.

use crate::clock::Millis;
use crate::entry::EntryId;
use crate::protocol::Reason;

/// What is known of a stream at one moment (`XINFO STREAM`, <https://redis.io/docs/latest/commands/xinfo-stream/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Id of the oldest entry; `None` when all were removed.
    pub first: Option<EntryId>,
    /// The greatest id ever given.
    pub last: EntryId,
    /// Number of entries.
    pub length: u64,
    /// Number of entries ever added; `None` before Redis 7.
    pub added: Option<u64>,
    /// Entries after an older cursor may have been acknowledged and lost since: another server took over.
    pub reliable_since: EntryId,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last entry it has read.
    pub id: EntryId,
    /// Number of entries that had ever been added when that one was; `None` where unknown.
    pub added: Option<u64>,
}

impl Position {
    /// Before the first entry of a stream that does not exist yet.
    pub const START: Self = Self { id: EntryId::ZERO, added: Some(0) };

    /// At the end of a stream as it is.
    pub fn end(state: Option<&StreamState>) -> Self {
        state.map_or(Self::START, |state| Self { id: state.last, added: state.added })
    }

    /// After `count` more entries, the last of which is `id`.
    #[must_use]
    pub fn advanced(self, id: EntryId, count: u64) -> Self {
        Self { id, added: self.added.map(|added| added + count) }
    }
}

/// Whether a reader that stands at `at` can read on without having missed an entry, in a stream that is `state` now.
/// `idle_ttl` is the time in milliseconds after which a stream that nobody writes to is removed.
pub fn check(at: Position, state: Option<&StreamState>, idle_ttl: Millis, now: Millis) -> Result<(), Reason> {
    let Some(state) = state else { return absent(at, idle_ttl, now) };
    if state.last < at.id {
        return Err(Reason::Reset);
    }
    // The last entry ever is the one that was read, or the one that was read is still there and so is what followed:
    // trimming takes from the front.
    if state.last == at.id || state.first.is_some_and(|first| first <= at.id) {
        return Ok(());
    }
    // Everything that is left came after. Was it all that ever came after?
    let (Some(then), Some(added)) = (at.added, state.added) else { return Err(Reason::Trimmed) };
    match added.checked_sub(then) {
        Some(came) if came == state.length => Ok(()),
        Some(came) if came > state.length => Err(Reason::Trimmed),
        _ => reborn(at, state, idle_ttl),
    }
}

/// Where a reader goes on that [`check`] refused: before the first entry that is left after its place, or at the end of
/// what is something else now.
pub fn after_a_gap(at: Position, reason: Reason, first: Option<EntryId>, state: Option<&StreamState>) -> Position {
    let Some(state) = state else { return Position::START };
    let Some(first) = first.filter(|_| state.last >= at.id) else { return Position::end(Some(state)) };
    // Counted from the end, where all that is left is known to have come after.
    let whole = reason != Reason::Reset && state.first == Some(first);
    let added = if whole { state.added.and_then(|added| added.checked_sub(state.length)) } else { None };
    Position { id: first.previous(), added }
}

/// A stream that is gone held nothing unread if idleness removed it. A reader at the start has missed nothing yet.
fn absent(at: Position, idle_ttl: Millis, now: Millis) -> Result<(), Reason> {
    let idle = now.saturating_sub(at.id.ms) >= idle_ttl;
    if at.id == EntryId::ZERO || idle { Ok(()) } else { Err(Reason::Vanished) }
}

/// The counter went back: another life of the stream. Nothing is missing if the first life ended of idleness, and all
/// of the second is there.
fn reborn(at: Position, state: &StreamState, idle_ttl: Millis) -> Result<(), Reason> {
    let pause = state.first.map_or(0, |first| first.ms.saturating_sub(at.id.ms));
    if state.added == Some(state.length) && pause >= idle_ttl { Ok(()) } else { Err(Reason::Vanished) }
}

/// Whether a client that has seen everything up to `since` gets everything after it from a stream that is `state` now.
/// The state must be taken **after** the entries were read.
pub fn recovered(since: EntryId, state: Option<&StreamState>, idle_ttl: Millis, now: Millis) -> bool {
    let Some(state) = state else { return since == EntryId::ZERO };
    // A client that has seen nothing gets what there is.
    let reliable = since == EntryId::ZERO || since >= state.reliable_since;
    if state.last < since || !reliable {
        return false;
    }
    if state.last == since || state.first.is_some_and(|first| first <= since) {
        return true;
    }
    let untrimmed = state.added == Some(state.length);
    // A client that was away for longer may speak of an earlier life of the stream.
    let this_life = since == EntryId::ZERO || now.saturating_sub(since.ms) < idle_ttl;
    untrimmed && this_life
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TTL: Millis = 1000;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    fn state(first: Option<u64>, last: u64, length: u64, added: u64) -> StreamState {
        StreamState { first: first.map(id), last: id(last), length, added: Some(added), reliable_since: EntryId::ZERO }
    }

    #[test]
    fn a_reader_that_missed_nothing_reads_on() {
        let at = |ms, added| Position { id: id(ms), added: Some(added) };
        let cases = [
            ("at the end", at(50, 5), Some(state(Some(10), 50, 5, 5)), Ok(())),
            ("its entry is still there", at(30, 3), Some(state(Some(30), 50, 3, 5)), Ok(())),
            ("all trimmed, but it had all", at(50, 5), Some(state(None, 50, 0, 5)), Ok(())),
            ("its entry trimmed, the next there", at(30, 3), Some(state(Some(40), 50, 2, 5)), Ok(())),
            ("one of two trimmed", at(30, 3), Some(state(Some(50), 50, 1, 5)), Err(Reason::Trimmed)),
            ("all after it trimmed", at(30, 3), Some(state(None, 50, 0, 5)), Err(Reason::Trimmed)),
            ("ids went back", at(60, 6), Some(state(Some(10), 50, 5, 5)), Err(Reason::Reset)),
            ("from the start, untrimmed", Position::START, Some(state(Some(10), 50, 5, 5)), Ok(())),
            ("from the start, trimmed", Position::START, Some(state(Some(20), 50, 4, 5)), Err(Reason::Trimmed)),
            ("never written", Position::START, None, Ok(())),
            ("gone at once", at(50, 5), None, Err(Reason::Vanished)),
            ("written anew at once", at(50, 5), Some(state(Some(60), 60, 1, 1)), Err(Reason::Vanished)),
            ("written anew after idleness", at(50, 5), Some(state(Some(1050), 1050, 1, 1)), Ok(())),
        ];
        for (name, at, state, expect) in cases {
            assert_eq!(check(at, state.as_ref(), TTL, 100), expect, "{name}");
        }
        assert_eq!(check(at(50, 5), None, TTL, 1050), Ok(()), "expired");
    }

    #[test]
    fn an_old_server_without_a_counter_gets_the_benefit_of_no_doubt() {
        let old = StreamState { added: None, ..state(Some(40), 50, 2, 0) };
        assert_eq!(check(Position { id: id(30), added: None }, Some(&old), TTL, 100), Err(Reason::Trimmed));
        assert_eq!(check(Position { id: id(40), added: None }, Some(&old), TTL, 100), Ok(()));
        assert!(!recovered(id(30), Some(&old), TTL, 100));
        assert!(recovered(id(45), Some(&old), TTL, 100));
    }

    #[test]
    fn recovered_is_a_proof() {
        let cases = [
            ("cursor is the first entry", 10, Some(state(Some(10), 50, 5, 9)), true),
            ("cursor within", 30, Some(state(Some(10), 50, 5, 9)), true),
            ("cursor before the first, trimmed", 5, Some(state(Some(10), 50, 5, 9)), false),
            ("cursor before the first, nothing ever trimmed", 5, Some(state(Some(10), 50, 5, 5)), true),
            ("cursor is the last id, all trimmed", 50, Some(state(None, 50, 0, 9)), true),
            ("cursor before the last id, all trimmed", 40, Some(state(None, 50, 0, 9)), false),
            ("cursor newer than the last id", 60, Some(state(Some(10), 50, 5, 5)), false),
            ("stream gone", 30, None, false),
            ("never written, asked from the start", 0, None, true),
            ("everything from the start", 0, Some(state(Some(10), 50, 5, 5)), true),
            ("from the start, trimmed", 0, Some(state(Some(10), 50, 5, 6)), false),
        ];
        for (name, since, state, expect) in cases {
            assert_eq!(recovered(id(since), state.as_ref(), TTL, 100), expect, "{name}");
        }
        let failed_over = StreamState { reliable_since: id(35), ..state(Some(10), 50, 5, 5) };
        for (since, proven) in [(0, true), (30, false), (35, true), (50, true)] {
            assert_eq!(recovered(id(since), Some(&failed_over), TTL, 100), proven, "after a failover, {since}");
        }
        let reborn = state(Some(2000), 2000, 1, 1);
        assert!(!recovered(id(30), Some(&reborn), TTL, 2000), "an untrimmed stream may be another life of it");
    }

    proptest! {
        /// Entries 1..=n were added, the oldest trimmed down to `kept`; the reader had read `read` of them.
        #[test]
        fn a_gap_is_told_exactly_when_there_is_one(n in 1u64..50, kept in 0u64..50, read in 0u64..50) {
            let (kept, read) = (kept.min(n), read.min(n));
            let first = (kept > 0).then_some(n - kept + 1);
            let now = state(first, n, kept, n);
            let missing = (n - kept).saturating_sub(read);
            let at = Position { id: id(read), added: Some(read) };
            prop_assert_eq!(check(at, Some(&now), TTL, n).is_ok(), missing == 0);
            if recovered(id(read), Some(&now), TTL, n) {
                prop_assert_eq!(missing, 0);
            }
        }
    }
}
