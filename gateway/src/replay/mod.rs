//! Reads back what a client has missed, bounded, and says whether that is all: first how much it is, then one passage
//! after another as the client takes them. Knows nothing of sessions and sockets.

mod kept;
mod reader;
mod stretch;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::{self, Millis};
use crate::entry::EntryId;
use crate::error::LogError;
use crate::log::Log;
use crate::log::continuity::Position;
use crate::protocol::Protocol;
use crate::room::RoomId;
use crate::session::{Passage, Replay};
use kept::{KEPT, Kept};
use reader::{Reader, count_of};
pub use stretch::PASSAGE_BYTES;
use stretch::{Stretch, proven};
use tail::Tail;

/// Most entries of one replay.
pub const MAX_ENTRIES: usize = 10_000;
/// Most bytes of one replay, payloads only.
pub const MAX_BYTES: usize = 8 << 20;

/// Replays under way and just done. Clients that ask for the same room at the same time, as they do after a move, share
/// the reads, the entries and the frames. What is kept for others is bounded for all rooms together; a client holds
/// only the passage that it was given last.
#[derive(Clone, Default)]
pub struct Replays {
    rooms: Arc<Mutex<HashMap<RoomId, Shared>>>,
    kept: Arc<Kept>,
}

type Shared = Arc<tokio::sync::Mutex<Reads>>;

/// What was read of one room.
#[derive(Default)]
struct Reads {
    tail: Option<Tail>,
    /// By the entry before them, as long as anybody keeps them.
    stretches: BTreeMap<EntryId, Weak<Stretch>>,
    /// When that was.
    last: Option<Instant>,
}

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// How the client speaks: its frames are counted.
    pub protocol: Protocol,
    /// Bytes of frames that it is given at once.
    pub most: usize,
    /// The time in milliseconds after which the room is removed when nobody writes to it.
    pub idle_ttl: Millis,
}

impl Wanted<'_> {
    fn fit(&self, mut passage: Passage) -> Passage {
        passage.shorten(self.protocol, self.most);
        passage
    }
}

impl Replays {
    /// Reads what came after `since`, at least up to `upto`, and says how much it is; what comes first is in the answer
    /// where it is at hand. What does not fit into the bounds is left out from the front, and the replay is then not
    /// `recovered`.
    pub async fn begin(
        &self,
        log: &dyn Log,
        wanted: Wanted<'_>,
        since: EntryId,
        upto: EntryId,
    ) -> Result<Replay, LogError> {
        let shared = self.room(wanted.room);
        let mut reads = shared.lock().await;
        if !reads.tail.as_ref().is_some_and(|tail| tail.answers(since, upto)) {
            let last = reads.tail.take();
            let mut reader = Reader { log, room: wanted.room, kept: &self.kept, reads: &mut reads };
            reads.tail = Some(reader.tail(since, last).await?);
            reads.last = Some(Instant::now());
        }
        let tail = reads.tail.as_ref().expect("just read");
        let mut replay = tail.replay(since, wanted.idle_ttl, clock::now());
        let at = replay.begin;
        replay.first = match reads.find(at.id) {
            _ if replay.count == 0 => Some(Passage::new(at, Vec::new())),
            Some(stretch) => Some(wanted.fit(Passage::new(at, stretch.after(at.id)))),
            None => None,
        };
        Ok(replay)
    }

    /// The next passage for a client that stands at `at`. `typical` are the bytes of a payload, about.
    pub async fn next(
        &self,
        log: &dyn Log,
        wanted: Wanted<'_>,
        at: Position,
        typical: usize,
    ) -> Result<Passage, LogError> {
        let shared = self.room(wanted.room);
        let mut reads = shared.lock().await;
        if let Some(stretch) = reads.find(at.id) {
            let passage = proven(at, stretch.after(at.id), stretch.state(), wanted.idle_ttl, clock::now());
            return Ok(wanted.fit(passage));
        }
        let limit = count_of(wanted.most, typical);
        let mut reader = Reader { log, room: wanted.room, kept: &self.kept, reads: &mut reads };
        let (read, state) = reader.passage(at.id, limit).await?;
        reads.last = Some(Instant::now());
        let messages = read.first().map(|first| first.after(at.id)).unwrap_or_default();
        let complete = read.iter().map(|stretch| stretch.count()).sum::<usize>() < limit && read.len() <= 1;
        let passage = proven(at, messages, state.as_ref(), wanted.idle_ttl, clock::now());
        Ok(wanted.fit(Passage { complete, ..passage }))
    }

    fn room(&self, room: &RoomId) -> Shared {
        let mut rooms = self.rooms.lock();
        let new = || {
            tokio::spawn(self.clone().forget_when_old(room.clone()));
            Shared::default()
        };
        Arc::clone(rooms.entry(room.clone()).or_insert_with(new))
    }

    /// Forgets a room that was not read for a moment. Who reads it just now, or waits for that, has it.
    async fn forget_when_old(self, room: RoomId) {
        loop {
            tokio::time::sleep(KEPT).await;
            self.kept.expire();
            let mut rooms = self.rooms.lock();
            let Some(shared) = rooms.get(&room) else { return };
            if Arc::strong_count(shared) == 1 && shared.try_lock().is_ok_and(|reads| reads.are_old()) {
                rooms.remove(&room);
                return;
            }
        }
    }
}

impl Reads {
    fn are_old(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= KEPT)
    }

    /// The stretch that has what comes next after an entry, if it is at hand.
    fn find(&self, at: EntryId) -> Option<Arc<Stretch>> {
        let (_, stretch) = self.stretches.range(..=at).next_back()?;
        stretch.upgrade().filter(|stretch| stretch.follows(at))
    }
}

/// Delays between attempts to subscribe while the log is away: a moving client should not be refused because of a
/// hiccup. After the last one it is told `unavailable`.
pub const PATIENCE: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
];

/// Delay after which a log that was away is asked again for what comes next.
pub const RETRY: Duration = Duration::from_millis(500);
