//! Replays of a real Redis.

use futures::future::join_all;

use super::*;
use crate::config::{self, Config};
use crate::entry::{Delivery, Entry, frame_cost};
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
    settings: config::Shared,
    log: Arc<RedisLog>,
    replays: Replays,
    room: RoomId,
    ids: Vec<EntryId>,
}

fn keeps(count: u64) -> Config {
    Config::parse(&format!("streams: {{trim: {{maxLen: {count}, approximate: false}}}}")).unwrap()
}

/// What a client was given.
struct Given {
    recovered: bool,
    reset: bool,
    passages: Vec<Vec<Arc<Delivery>>>,
    holes: usize,
}

impl Given {
    fn messages(&self) -> impl Iterator<Item = &Arc<Delivery>> {
        self.passages.iter().flatten()
    }

    fn ids(&self) -> Vec<EntryId> {
        self.messages().map(|message| message.entry.id).collect()
    }
}

impl World {
    /// A room with some entries.
    async fn start(count: usize, payload: &str) -> Self {
        let redis = RedisServer::start(&[]).await;
        let settings = config::share(keeps(100_000));
        let address = Address::parse(&redis.url()).unwrap();
        let log = RedisLog::start(address, Arc::clone(&settings), Arc::new(Nobody), Arc::new(Metrics::new()));
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
        Self { redis, settings, log, replays: Replays::default(), room, ids }
    }

    fn wanted(&self, most: usize) -> Wanted<'_> {
        Wanted { room: &self.room, protocol: Protocol::Raw, most, idle_ttl: 3_600_000 }
    }

    async fn begin(&self, since: EntryId, upto: EntryId) -> Replay {
        self.replays.begin(&*self.log, self.wanted(PASSAGE_BYTES), since, upto).await.unwrap()
    }

    async fn next(&self, at: Position, typical: usize) -> Passage {
        self.replays.next(&*self.log, self.wanted(PASSAGE_BYTES), at, typical).await.unwrap()
    }

    /// Everything that a client is given that has seen `since`.
    async fn read(&self, since: EntryId) -> Given {
        let replay = self.begin(since, *self.ids.last().unwrap()).await;
        let mut given = Given { recovered: replay.recovered, reset: replay.reset, passages: Vec::new(), holes: 0 };
        let (mut at, mut first) = (replay.begin, replay.first);
        while given.messages().count() < replay.count {
            let passage = match first.take() {
                Some(first) => first,
                None => self.next(at, replay.typical).await,
            };
            assert_eq!(passage.after, at.id);
            at = passage.end;
            given.holes += usize::from(passage.hole.is_some());
            if passage.complete && passage.messages.is_empty() {
                break;
            }
            given.passages.push(passage.messages);
        }
        given
    }

    async fn append(&mut self, payload: &str) -> EntryId {
        let id = self.log.append(&self.room, &payload.into(), None, clock::now()).await.unwrap();
        self.ids.push(id);
        id
    }

    /// Forgets what was kept for others.
    fn forget(&mut self) {
        self.replays = Replays::default();
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
    let first = world.begin(world.ids[0], world.ids[2]).await;
    assert_eq!((first.recovered, first.count), (true, 2));
    let newer = world.append("y").await;
    // It saw the newest elsewhere; this gateway has not delivered it yet.
    let ahead = world.begin(newer, world.ids[2]).await;
    assert_eq!((ahead.recovered, ahead.reset, ahead.count), (true, false, 0));
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
        assert_eq!(replay.ids(), world.ids[seen + 1..], "{n}");
        assert!(replay.recovered && !replay.reset, "{n}");
    }
    let reads = world.reads().await - before;
    assert!(reads <= 8, "{reads} reads");
    let (one, other) = (&replays[998].passages[0][0], &replays[999].passages[0][0]);
    assert!(Arc::ptr_eq(one, other), "and the frames are shared");
}

#[tokio::test]
async fn a_thousand_clients_that_resume_a_room_in_many_passages_share_them() {
    let world = World::start(300, &"x".repeat(4000)).await;
    let before = world.reads().await;
    let replays = join_all((0..1000).map(|n| world.read(world.ids[n % 100]))).await;
    for (n, replay) in replays.iter().enumerate() {
        assert_eq!(replay.ids(), world.ids[n % 100 + 1..], "{n}");
        assert!(replay.recovered && replay.holes == 0 && replay.passages.len() > 10, "{n}");
    }
    // 256 KiB at a time, and the state of the stream.
    let reads = world.reads().await - before;
    assert!(reads <= 12, "{reads} reads");
}

#[tokio::test]
async fn a_replay_reaches_what_was_written_since_another_one_was_read_and_only_that_is_read() {
    let mut world = World::start(600, "1").await;
    assert_eq!(world.read(world.ids[0]).await.ids().len(), 599);
    let before = world.reads().await;
    let id = world.append("2").await;
    let replay = world.read(world.ids[0]).await;
    assert_eq!(replay.ids().last(), Some(&id), "live begins after it");
    assert_eq!((replay.ids().len(), replay.recovered), (600, true));
    let reads = world.reads().await - before;
    assert!(reads <= 2, "{reads} reads");
}

#[tokio::test]
async fn a_passage_is_bounded_at_below_and_above_its_bytes() {
    for (what, more, passages) in [("below", 0, 1), ("at", 1, 1), ("above", 2, 2)] {
        let mut world = World::start(1, "first").await;
        let half = PASSAGE_BYTES / 2;
        let payload = |bytes: usize| "x".repeat(bytes - (frame_cost(half) - half));
        world.append(&payload(half)).await;
        world.append(&payload(half - 1 + more)).await;
        let given = world.read(world.ids[0]).await;
        assert_eq!((given.passages.len(), given.ids()), (passages, world.ids[1..].to_vec()), "{what}");
        let bytes = |passage: &Vec<Arc<Delivery>>| passage.iter().map(|each| each.cost(Protocol::Raw)).sum::<usize>();
        assert!(given.passages.iter().all(|passage| bytes(passage) <= PASSAGE_BYTES), "{what}");
    }
}

#[tokio::test]
async fn one_message_fits_whatever_its_size() {
    let world = World::start(3, &"x".repeat(PASSAGE_BYTES * 2)).await;
    let given = world.read(world.ids[0]).await;
    assert_eq!((given.ids(), given.passages.len()), (world.ids[1..].to_vec(), 2));
}

#[tokio::test]
async fn who_was_left_behind_by_what_is_kept_reads_on_alone_and_in_order() {
    let mut world = World::start(200, &"x".repeat(4000)).await;
    let replay = world.begin(world.ids[0], world.ids[199]).await;
    let (mut at, mut got) = (replay.begin, Vec::new());
    while got.len() < replay.count {
        world.forget();
        let passage = world.next(at, replay.typical).await;
        assert!(passage.hole.is_none() && passage.messages.len() <= 16, "{} messages", passage.messages.len());
        got.extend(passage.messages.iter().map(|message| message.entry.id));
        at = passage.end;
    }
    assert_eq!(got, world.ids[1..]);
    let end = world.next(at, replay.typical).await;
    assert!(end.complete && end.messages.is_empty() && end.hole.is_none());
}

#[tokio::test]
async fn what_is_trimmed_between_two_passages_is_a_hole_and_what_is_left_comes() {
    let mut world = World::start(200, &"x".repeat(4000)).await;
    let replay = world.begin(world.ids[0], world.ids[199]).await;
    assert!(replay.recovered);
    let first = replay.first.expect("just read");
    let seen = first.messages.len();
    world.settings.store(Arc::new(keeps(50).into()));
    world.append("last").await;
    world.forget();
    let next = world.next(first.end, replay.typical).await;
    assert!(seen < 100 && world.ids[151..].starts_with(&[next.messages[0].entry.id]));
    assert_eq!(next.hole, Some((Reason::Trimmed, world.ids[151].previous())));
    // What comes after it was trimmed to exactly there: nothing is missing behind the hole.
    world.forget();
    assert_eq!(world.next(next.end, replay.typical).await.hole, None);
}

#[tokio::test]
async fn trimming_up_to_where_a_client_stands_is_no_hole() {
    let mut world = World::start(100, &"x".repeat(4000)).await;
    let replay = world.begin(world.ids[0], world.ids[99]).await;
    let first = replay.first.expect("just read");
    let left = 99 - first.messages.len();
    world.settings.store(Arc::new(keeps(left as u64 + 1).into()));
    world.append("last").await;
    world.forget();
    let next = world.next(first.end, replay.typical).await;
    assert_eq!((next.hole, next.messages[0].entry.id), (None, world.ids[100 - left]));
}

#[tokio::test]
async fn everything_of_a_stream_that_was_never_trimmed_has_no_hole() {
    let mut world = World::start(100, &"x".repeat(4000)).await;
    let replay = world.begin(EntryId::ZERO, world.ids[99]).await;
    assert_eq!((replay.recovered, replay.count), (true, 100));
    world.forget();
    let first = world.next(replay.begin, replay.typical).await;
    assert_eq!((first.hole, first.messages[0].entry.id), (None, world.ids[0]));
}

#[tokio::test]
async fn who_was_told_of_a_hole_at_once_is_not_told_of_it_twice() {
    let mut world = World::start(100, &"x".repeat(4000)).await;
    world.settings.store(Arc::new(keeps(60).into()));
    world.append("last").await;
    let replay = world.begin(world.ids[0], world.ids[100]).await;
    assert_eq!((replay.recovered, replay.count), (false, 60));
    world.forget();
    let first = world.next(replay.begin, replay.typical).await;
    assert_eq!((first.hole, first.messages[0].entry.id), (None, world.ids[41]));
}

#[tokio::test]
async fn a_replay_is_bounded_at_below_and_above_its_number_of_entries() {
    let world = World::start(MAX_ENTRIES + 2, "1").await;
    let read = async |index: usize| world.read(world.ids[index]).await;
    let (below, at) = (read(2).await, read(1).await);
    assert_eq!((below.ids().len(), below.recovered), (MAX_ENTRIES - 1, true));
    assert_eq!((at.ids().len(), at.recovered), (MAX_ENTRIES, true));
    let above = read(0).await;
    assert!(!above.recovered && above.ids().len() < MAX_ENTRIES);
    assert_eq!(above.ids().last(), world.ids.last(), "the newest are what is kept");
}

#[tokio::test]
async fn a_replay_is_bounded_by_bytes() {
    let world = World::start(10, &"x".repeat(1 << 20)).await;
    let replay = world.read(world.ids[0]).await;
    assert!(!replay.recovered);
    assert!((6..=8).contains(&replay.ids().len()), "{}", replay.ids().len());
    assert!(world.read(world.ids[3]).await.recovered, "six of them fit");
}
