//! Reads back what a client has missed, bounded, and says whether that is all. Knows nothing of sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::{self, Millis};
use crate::config::InForce;
use crate::entry::{Delivery, Entry, EntryId, frame_cost};
use crate::error::LogError;
use crate::log::{Log, StreamState, continuity};
use crate::room::RoomId;
use crate::session::Replay;

/// Most entries of one replay.
const MAX_ENTRIES: usize = 10_000;
/// Most bytes of one replay, payloads only.
const MAX_BYTES: usize = 8 << 20;
const CHUNK: usize = 500;

/// How long a replay is kept for others that ask for the same.
const KEPT: Duration = Duration::from_secs(1);

/// Replays under way and just done. Clients that ask for the same room at the same time, as they do after a move, share
/// the reads, the entries and the frames: a room is held once, however many ask for it.
#[derive(Clone, Default)]
pub struct Replays(Arc<Mutex<HashMap<RoomId, Shared>>>);

type Shared = Arc<tokio::sync::Mutex<Option<Tail>>>;

/// What a stream held after a point.
struct Tail {
    from: EntryId,
    messages: Vec<Arc<Delivery>>,
    /// After this more came than fits, and so it did after everything before it.
    cut: Option<EntryId>,
    /// Taken after the reads: what it proves to be present was present for them.
    state: Option<StreamState>,
    read_at: Instant,
}

impl Tail {
    /// Whether it answers a client that has seen `since`, and gets what comes after `upto` live. One that has seen more
    /// than there was when this was read is ahead of it, which proves nothing: it is read anew.
    fn answers(&self, since: EntryId, upto: EntryId) -> bool {
        let to = self.messages.last().map_or(self.from, |last| last.entry.id);
        let last = self.state.as_ref().map_or(EntryId::ZERO, |state| state.last);
        self.read_at.elapsed() < KEPT
            && since <= last
            && (self.from <= since || self.cut.is_some_and(|cut| since <= cut))
            && upto <= to.max(since)
    }

    fn replay(&self, since: EntryId, idle_ttl: Millis) -> Replay {
        let complete = self.from <= since;
        let state = self.state.as_ref();
        let recovered = complete && continuity::recovered(since, state, idle_ttl, clock::now());
        let reset = state.is_none_or(|state| state.last < since) && since != EntryId::ZERO;
        let first = self.messages.partition_point(|message| message.entry.id <= since);
        Replay { recovered, reset, messages: self.messages[first..].to_vec() }
    }
}

impl Replays {
    /// Reads what came after `since`, at least up to `upto`. What does not fit into the bounds is left out from the
    /// front, and the replay is then not `recovered`.
    pub async fn read(
        &self,
        log: &dyn Log,
        room: &RoomId,
        since: EntryId,
        upto: EntryId,
        config: &InForce,
    ) -> Result<Replay, LogError> {
        let idle_ttl = config.idle_ttl_ms(room.as_str());
        let shared = Arc::clone(self.0.lock().entry(room.clone()).or_default());
        let mut tail = shared.lock().await;
        if !tail.as_ref().is_some_and(|tail| tail.answers(since, upto)) {
            *tail = Some(read_for(log, room, since, tail.as_ref()).await?);
            self.forget_later(room, &shared);
        }
        Ok(tail.as_ref().expect("just read").replay(since, idle_ttl))
    }

    fn forget_later(&self, room: &RoomId, shared: &Shared) {
        let (all, room, shared) = (Arc::clone(&self.0), room.clone(), Arc::downgrade(shared));
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let mut all = all.lock();
            let fresh = |tail: &Tail| tail.read_at.elapsed() < KEPT;
            let gone = |shared: Shared| shared.try_lock().is_ok_and(|tail| !tail.as_ref().is_some_and(fresh));
            if shared.upgrade().is_some_and(gone) {
                all.remove(&room);
            }
        });
    }
}

/// Reads for a client that has seen `since`. Where others have just asked who had seen more, whoever asks next may have
/// seen less still: then somewhat more is read, if it fits.
async fn read_for(log: &dyn Log, room: &RoomId, since: EntryId, last: Option<&Tail>) -> Result<Tail, LogError> {
    let others = last.is_some_and(|tail| tail.read_at.elapsed() < KEPT && tail.cut.is_none() && since < tail.from);
    if others {
        let tail = read_tail(log, room, before(log, room, since).await?).await?;
        if tail.cut.is_none() {
            return Ok(tail);
        }
    }
    read_tail(log, room, since).await
}

/// A point some entries before another.
async fn before(log: &dyn Log, room: &RoomId, point: EntryId) -> Result<EntryId, LogError> {
    let earlier = log.read_before(room, point, CHUNK).await?;
    Ok(earlier.first().map_or(point, |first| first.id.previous()))
}

async fn read_tail(log: &dyn Log, room: &RoomId, from: EntryId) -> Result<Tail, LogError> {
    let (entries, cut) = match all_after(log, room, from).await? {
        Some(entries) => (entries, None),
        None => (newest(log, room, from).await?, Some(from)),
    };
    let from = entries.first().filter(|_| cut.is_some()).map_or(from, |first| first.id.previous());
    let state = log.state(room).await?;
    let messages = entries.into_iter().map(|entry| Delivery::new(room.clone(), entry)).collect();
    Ok(Tail { from, messages, cut, state, read_at: Instant::now() })
}

/// Everything after `since`, or `None` if that is more than a replay may be.
async fn all_after(log: &dyn Log, room: &RoomId, since: EntryId) -> Result<Option<Vec<Entry>>, LogError> {
    let (mut entries, mut after, mut bytes) = (Vec::new(), since, 0);
    loop {
        let chunk = log.read_after(room, after, CHUNK).await?;
        let Some(last) = chunk.last() else { return Ok(Some(entries)) };
        after = last.id;
        let full = chunk.len() == CHUNK;
        bytes += chunk.iter().map(|entry| entry.payload.as_str().len()).sum::<usize>();
        entries.extend(chunk);
        if entries.len() > MAX_ENTRIES || bytes > MAX_BYTES {
            return Ok(None);
        }
        if !full {
            return Ok(Some(entries));
        }
    }
}

/// The newest entries after `since` that fit.
async fn newest(log: &dyn Log, room: &RoomId, since: EntryId) -> Result<Vec<Entry>, LogError> {
    let mut entries = log.read_before(room, EntryId::MAX, CHUNK).await?;
    let mut room_left = MAX_BYTES;
    let fits = |entry: &Entry| {
        let cost = frame_cost(entry.payload.as_str().len());
        let fit = entry.id > since && cost <= room_left;
        room_left = room_left.saturating_sub(cost);
        fit
    };
    let count = entries.iter().rev().map(fits).take_while(|fit| *fit).count();
    Ok(entries.split_off(entries.len() - count))
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

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::config::{self, Config};
    use crate::log::redis::{Address, RedisLog};
    use crate::log::{Feed, Signal, Token};
    use crate::metrics::Metrics;
    use crate::protocol::Reason;
    use crate::redis_server::RedisServer;

    struct Nobody;

    impl Feed for Nobody {
        fn entries(&self, _: &RoomId, _: Token, _: Vec<Entry>) {}
        fn gap(&self, _: &RoomId, _: Token, _: Reason, _: EntryId) {}
        fn signal(&self, _: Signal) {}
    }

    struct World {
        redis: RedisServer,
        log: Arc<RedisLog>,
        replays: Replays,
        room: RoomId,
        ids: Vec<EntryId>,
    }

    impl World {
        /// A room with some entries.
        async fn start(count: usize, payload: &str) -> Self {
            let redis = RedisServer::start(&[]).await;
            let text = "streams: {trim: {maxLen: 100000}}";
            let settings = config::share(Config::parse(text).unwrap());
            let address = Address::parse(&redis.url()).unwrap();
            let log = RedisLog::start(address, settings, Arc::new(Nobody), Arc::new(Metrics::new()));
            let connected = async {
                while !log.health().connected {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), connected).await.unwrap();
            let room = RoomId::parse("a").unwrap();
            let text: crate::entry::Text = payload.into();
            let appended = join_all((0..count).map(|_| log.append(&room, &text, None, clock::now()))).await;
            let ids = appended.into_iter().map(Result::unwrap).collect();
            Self { redis, log, replays: Replays::default(), room, ids }
        }

        async fn read(&self, since: EntryId) -> Replay {
            let upto = *self.ids.last().unwrap();
            let config = InForce::from(Config::default());
            self.replays.read(&*self.log, &self.room, since, upto, &config).await.unwrap()
        }

        /// Commands that read a stream, so far.
        async fn reads(&self) -> u64 {
            let stats = self.redis.command(&["INFO", "commandstats"]).await;
            let calls = |line: &str| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
            let reads = ["cmdstat_xrange", "cmdstat_xrevrange", "cmdstat_xinfo"];
            stats.lines().filter(|line| reads.iter().any(|read| line.starts_with(read))).filter_map(calls).sum()
        }
    }

    #[tokio::test]
    async fn a_client_ahead_of_what_others_were_given_is_not_told_that_ids_went_back() {
        let mut world = World::start(3, "x").await;
        let config = Config::default().into();
        let first = world.replays.read(&*world.log, &world.room, world.ids[0], world.ids[2], &config).await.unwrap();
        assert_eq!((first.recovered, first.messages.len()), (true, 2));
        let text: crate::entry::Text = "y".into();
        let newer = world.log.append(&world.room, &text, None, clock::now()).await.unwrap();
        // It saw the newest elsewhere; this gateway has not delivered it yet.
        let ahead = world.replays.read(&*world.log, &world.room, newer, world.ids[2], &config).await.unwrap();
        assert_eq!((ahead.recovered, ahead.reset, ahead.messages.len()), (true, false, 0));
        world.redis.stop().await;
    }

    #[tokio::test]
    async fn a_thousand_clients_that_resume_a_room_cost_a_handful_of_reads() {
        let world = World::start(400, "1").await;
        let before = world.reads().await;
        // Each has seen another part, the later ones less and less.
        let replays = join_all((0..1000).map(|n| world.read(world.ids[399 - n * 2 / 5]))).await;
        for (n, replay) in replays.iter().enumerate() {
            let seen = 399 - n * 2 / 5;
            let got: Vec<_> = replay.messages.iter().map(|message| message.entry.id).collect();
            assert_eq!(got, world.ids[seen + 1..], "{n}");
            assert!(replay.recovered && !replay.reset, "{n}");
        }
        let reads = world.reads().await - before;
        assert!(reads <= 8, "{reads} reads");
        let (one, other) = (&replays[998].messages[0], &replays[999].messages[0]);
        assert!(Arc::ptr_eq(one, other), "and the frames are shared");
    }

    #[tokio::test]
    async fn a_replay_reaches_what_was_written_since_another_one_was_read() {
        let mut world = World::start(3, "1").await;
        assert_eq!(world.read(world.ids[0]).await.messages.len(), 2);
        let id = world.log.append(&world.room, &"2".into(), None, clock::now()).await.unwrap();
        world.ids.push(id);
        let replay = world.read(world.ids[0]).await;
        assert_eq!(replay.messages.last().unwrap().entry.id, id, "live begins after it");
    }

    #[tokio::test]
    async fn a_replay_is_bounded_at_below_and_above_its_number_of_entries() {
        let world = World::start(MAX_ENTRIES + 2, "1").await;
        let read = async |index: usize| world.read(world.ids[index]).await;
        let (below, at) = (read(2).await, read(1).await);
        assert_eq!((below.messages.len(), below.recovered), (MAX_ENTRIES - 1, true));
        assert_eq!((at.messages.len(), at.recovered), (MAX_ENTRIES, true));
        let above = read(0).await;
        assert!(!above.recovered && above.messages.len() < MAX_ENTRIES);
        assert_eq!(above.messages.last().unwrap().entry.id, *world.ids.last().unwrap(), "the newest are what is kept");
    }

    #[tokio::test]
    async fn a_replay_is_bounded_by_bytes() {
        let world = World::start(10, &"x".repeat(1 << 20)).await;
        let replay = world.read(world.ids[0]).await;
        assert!(!replay.recovered);
        assert!((6..=8).contains(&replay.messages.len()), "{}", replay.messages.len());
        assert!(world.read(world.ids[3]).await.recovered, "six of them fit");
    }
}
