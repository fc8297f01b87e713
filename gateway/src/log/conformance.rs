//! What every log must do: one suite, run on each backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::continuity::recovered;
use super::*;
use crate::clock::{self, Millis};
use crate::config::{self, Config, Shared, TrimStrategy};
use crate::idempotency::IdempotencyKey;
use crate::metrics::Metrics;
use crate::redis_server::RedisServer;

const PATIENCE: Duration = Duration::from_secs(10);

/// Remembers what it was fed.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<(Token, EntryId, String)>>,
    gaps: Mutex<Vec<(Token, Reason, EntryId)>>,
    signals: Mutex<Vec<Signal>>,
    more: Notify,
}

impl Feed for Ear {
    fn entries(&self, _room: &RoomId, token: Token, entries: Vec<Entry>) {
        self.heard.lock().extend(entries.into_iter().map(|each| (token, each.id, each.payload.to_string())));
        self.more.notify_one();
    }
    fn gap(&self, _room: &RoomId, token: Token, reason: Reason, position: EntryId) {
        self.gaps.lock().push((token, reason, position));
        self.more.notify_one();
    }
    fn signal(&self, signal: Signal) {
        self.signals.lock().push(signal);
        self.more.notify_one();
    }
}

impl Ear {
    async fn until(&self, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                self.more.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("heard only {:?}", self.heard.lock()));
    }

    async fn hears(&self, count: usize) -> Vec<EntryId> {
        self.until(|ear| ear.heard.lock().len() >= count).await;
        self.heard.lock().iter().map(|(_, id, _)| *id).collect()
    }
}

struct World {
    log: Arc<dyn Log>,
    ear: Arc<Ear>,
}

impl World {
    async fn append(&self, room: &RoomId, payload: &str) -> EntryId {
        self.log.append(room, &payload.into(), None, clock::now()).await.unwrap()
    }

    async fn append_once(&self, room: &RoomId, key: &str, now: Millis) -> EntryId {
        let key = IdempotencyKey::parse(key).unwrap();
        self.log.append(room, &"once".into(), Some(&key), now).await.unwrap()
    }

    async fn append_many(&self, room: &RoomId, count: usize) -> Vec<EntryId> {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(self.append(room, &n.to_string()).await);
        }
        ids
    }
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn exactly(max_len: u64) -> Trim {
    Trim { max_len, approximate: false, ..Trim::default() }
}

fn settings() -> Shared {
    let overrides = r#"
streams:
  overrides:
    - {match: "short:*", trim: {maxLen: 3, approximate: false}}
    - {match: "brief:*", idleTtlSeconds: 1}
"#;
    config::share(Config::parse(overrides).unwrap())
}

async fn suite(world: &World) {
    ids_grow_and_entries_come_back(world).await;
    reading_is_bounded_and_exclusive(world).await;
    a_room_that_was_never_written_to_has_no_state(world).await;
    the_state_counts_what_was_trimmed(world).await;
    publishes_trim_as_the_settings_say(world).await;
    old_entries_are_trimmed_by_age(world).await;
    a_watched_room_is_fed_in_order_from_its_position(world).await;
    a_room_that_does_not_exist_yet_can_be_watched(world).await;
    an_unwatched_room_is_silent_and_an_old_token_ends_nothing(world).await;
    an_idle_room_is_removed(world).await;
    a_key_writes_once_per_room(world).await;
    a_keyed_write_that_is_asked_for_many_times_at_once_is_written_once(world).await;
    a_signal_reaches_this_gateway_too(world).await;
    all_rooms_are_listed_page_by_page(world).await;
}

async fn a_key_writes_once_per_room(world: &World) {
    let (one, two) = (room("keyed"), room("keyed:{2}"));
    let now = clock::now();
    let first = world.append_once(&one, "k", now).await;
    assert_eq!(world.append_once(&one, "k", now + 1).await, first, "the same id, and nothing is written");
    let other = world.append_once(&one, "k2", now).await;
    let elsewhere = world.append_once(&two, "k", now).await;
    assert!(other > first);
    assert_eq!(world.append_once(&one, "k", now).await, first);
    assert_eq!(world.append_once(&two, "k", now).await, elsewhere);
    let entries = world.log.read_after(&one, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [first, other]);
    assert_eq!((entries[0].payload.as_str(), entries[0].timestamp), ("once", now));
}

async fn a_keyed_write_that_is_asked_for_many_times_at_once_is_written_once(world: &World) {
    let room = room("keyed:together");
    let now = clock::now();
    let ids = futures::future::join_all((0..50).map(|_| world.append_once(&room, "k", now))).await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(world.log.state(&room).await.unwrap().unwrap().length, 1);
}

async fn a_signal_reaches_this_gateway_too(world: &World) {
    let signal = Signal::CloseSession { id: "s".into() };
    // A hint may be lost before the subscription takes effect, so it is given again.
    let heard = async {
        while world.ear.signals.lock().is_empty() {
            world.log.signal(&signal).await.unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(20), world.ear.more.notified()).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("no signal");
    assert_eq!(world.ear.signals.lock()[0], signal);
}

async fn all_rooms_are_listed_page_by_page(world: &World) {
    for n in 0..120 {
        world.append(&room(&format!("listed:{n}")), "1").await;
    }
    let (mut listed, mut cursor, mut pages) = (std::collections::BTreeSet::new(), None, 0);
    loop {
        let (page, next) = world.log.rooms(cursor, 25).await.unwrap();
        listed.extend(page.into_iter().filter(|room| room.as_str().starts_with("listed:")));
        pages += 1;
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), 120);
    assert!(pages >= 3, "{pages}");
    assert!(world.log.rooms(Some("\u{1}".into()), 1).await.is_err() || world.log.health().mode == Mode::Embedded);
}

async fn ids_grow_and_entries_come_back(world: &World) {
    let room = room("grow");
    let before = clock::now();
    let ids = world.append_many(&room, 50).await;
    assert!(ids.is_sorted_by(|a, b| a < b));
    let entries = world.log.read_after(&room, EntryId::ZERO, 100).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
    assert_eq!(entries[7].payload.as_str(), "7");
    assert!(entries.iter().all(|entry| entry.timestamp >= before && entry.is_json()));
}

async fn reading_is_bounded_and_exclusive(world: &World) {
    let room = room("read");
    let ids = world.append_many(&room, 10).await;
    let after = |id, limit| world.log.read_after(&room, id, limit);
    let before = |id, limit| world.log.read_before(&room, id, limit);
    let get = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
    assert_eq!(get(after(ids[2], 3).await.unwrap()), ids[3..6]);
    assert_eq!(get(after(ids[9], 3).await.unwrap()), []);
    assert_eq!(get(before(ids[5], 3).await.unwrap()), ids[2..5]);
    assert_eq!(get(before(EntryId::MAX, 2).await.unwrap()), ids[8..]);
    assert_eq!(get(before(ids[0], 3).await.unwrap()), []);
    assert_eq!(get(before(EntryId::ZERO, 3).await.unwrap()), []);
}

async fn a_room_that_was_never_written_to_has_no_state(world: &World) {
    assert_eq!(world.log.state(&room("never")).await.unwrap(), None);
    assert_eq!(world.log.read_after(&room("never"), EntryId::ZERO, 9).await.unwrap(), []);
    assert_eq!(world.log.trim(&room("never"), &exactly(1), clock::now()).await.unwrap(), 0);
}

async fn the_state_counts_what_was_trimmed(world: &World) {
    let room = room("state");
    let ids = world.append_many(&room, 10).await;
    let whole =
        StreamState { first: Some(ids[0]), last: ids[9], length: 10, added: Some(10), reliable_since: EntryId::ZERO };
    assert_eq!(world.log.state(&room).await.unwrap(), Some(whole));
    assert_eq!(world.log.trim(&room, &exactly(4), clock::now()).await.unwrap(), 6);
    let state = world.log.state(&room).await.unwrap();
    assert_eq!(state, Some(StreamState { first: Some(ids[6]), length: 4, ..whole }));
    let proven = |since| recovered(since, state.as_ref(), 86_400_000, clock::now());
    assert_eq!([5, 6, 9].map(|n| proven(ids[n])), [false, true, true]);
}

async fn publishes_trim_as_the_settings_say(world: &World) {
    let room = room("short:1");
    let ids = world.append_many(&room, 9).await;
    let kept = world.log.read_after(&room, EntryId::ZERO, 100).await.unwrap();
    assert_eq!(kept.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids[6..]);
}

async fn old_entries_are_trimmed_by_age(world: &World) {
    let room = room("age");
    let id = world.append(&room, "1").await;
    let by_age =
        Trim { strategy: TrimStrategy::MinId, max_age_seconds: Some(60), approximate: false, ..Trim::default() };
    assert_eq!(world.log.trim(&room, &by_age, id.ms + 60_000).await.unwrap(), 0);
    assert_eq!(world.log.trim(&room, &by_age, id.ms + 60_001).await.unwrap(), 1);
    assert_eq!(world.log.state(&room).await.unwrap().unwrap().first, None);
}

async fn a_watched_room_is_fed_in_order_from_its_position(world: &World) {
    world.ear.heard.lock().clear();
    let room = room("fed");
    let old = world.append(&room, "old").await;
    assert_eq!(world.log.watch(&room, 1).await.unwrap(), old);
    let ids = world.append_many(&room, 700).await;
    assert_eq!(world.ear.hears(700).await, ids);
    world.log.unwatch(&room, 1);
}

async fn a_room_that_does_not_exist_yet_can_be_watched(world: &World) {
    world.ear.heard.lock().clear();
    let room = room("new");
    assert_eq!(world.log.watch(&room, 2).await.unwrap(), EntryId::ZERO);
    let id = world.append(&room, "first").await;
    assert_eq!(world.ear.hears(1).await, [id]);
    world.log.unwatch(&room, 2);
}

async fn an_unwatched_room_is_silent_and_an_old_token_ends_nothing(world: &World) {
    let room = room("tokens");
    world.log.watch(&room, 3).await.unwrap();
    world.log.watch(&room, 4).await.unwrap();
    world.log.unwatch(&room, 3);
    world.ear.heard.lock().clear();
    world.append(&room, "heard").await;
    world.ear.hears(1).await;
    assert_eq!(world.ear.heard.lock()[0].0, 4);
    world.log.unwatch(&room, 4);
    world.append(&room, "not heard").await;
    // Whatever was fed of this room would come before what is fed of another one later.
    let other = self::room("tokens:other");
    world.log.watch(&other, 5).await.unwrap();
    world.append(&other, "last").await;
    world.ear.hears(2).await;
    assert_eq!(world.ear.heard.lock()[1].2, "last");
    world.log.unwatch(&other, 5);
}

async fn an_idle_room_is_removed(world: &World) {
    let (brief, other) = (room("brief:1"), room("other"));
    world.append(&brief, "1").await;
    let gone = async {
        while world.log.state(&brief).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.append(&other, "time passes").await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the room is still there");
}

#[tokio::test]
async fn the_memory_log_conforms() {
    let ear = Arc::new(Ear::default());
    let log: Arc<dyn Log> = Arc::new(memory::MemoryLog::new(settings(), Arc::clone(&ear) as _));
    suite(&World { log, ear }).await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_five_minutes_in_memory() {
    let ear = Arc::new(Ear::default());
    let world = World { log: Arc::new(memory::MemoryLog::new(settings(), Arc::clone(&ear) as _)), ear };
    let (room, now) = (room("a"), 1_000_000);
    let first = world.append_once(&room, "k", now).await;
    assert_eq!(world.append_once(&room, "k", now + 299_999).await, first);
    assert!(world.append_once(&room, "k", now + 300_000).await > first);
}

#[tokio::test]
async fn a_key_is_forgotten_after_five_minutes_in_redis() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    world.append_once(&room("a"), "k", clock::now()).await;
    let ttl: u64 = server.command(&["PTTL", "wscluster/idempotency-1/{room:a}/k"]).await.parse().unwrap();
    assert!((290_000..=300_000).contains(&ttl), "{ttl}");
    assert!(server.command(&["TTL", "room:a"]).await.parse::<i64>().unwrap() > 0, "and the room expires as always");
}

async fn on_redis(server: &RedisServer) -> World {
    let ear = Arc::new(Ear::default());
    let address = redis::Address::parse(&server.url()).unwrap();
    let log = redis::RedisLog::start(address, settings(), Arc::clone(&ear) as _, Arc::new(Metrics::new()));
    let connected = async {
        while !log.health().connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("no connection to Redis");
    World { log, ear }
}

async fn mode(world: &World, expect: Mode) {
    let wait = async {
        while world.log.health().mode != expect {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("another mode");
}

#[tokio::test]
async fn the_redis_log_conforms() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    suite(&world).await;
    mode(&world, Mode::Notifications).await;
}

#[tokio::test]
async fn the_redis_log_conforms_where_nothing_may_be_configured() {
    let server = RedisServer::start(&["--rename-command", "CONFIG", ""]).await;
    let world = on_redis(&server).await;
    suite(&world).await;
    assert_eq!(world.log.health().mode, Mode::Partitions);
}

#[tokio::test]
async fn notifications_set_by_others_are_kept() {
    let server = RedisServer::start(&["--notify-keyspace-events", "Ex"]).await;
    let world = on_redis(&server).await;
    mode(&world, Mode::Notifications).await;
    let answer = server.command(&["CONFIG", "GET", "notify-keyspace-events"]).await;
    let flags = answer.rsplit(' ').next().unwrap();
    assert!(["E", "x", "K", "t"].iter().all(|flag| flags.contains(flag)), "{flags}");
}

#[tokio::test]
async fn notifications_that_were_switched_off_are_noticed_and_switched_on_again() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    mode(&world, Mode::Notifications).await;
    world.log.watch(&room("off"), 1).await.unwrap();
    server.command(&["CONFIG", "SET", "notify-keyspace-events", ""]).await;
    world.append(&room("off"), "1").await;
    world.ear.hears(1).await;
    let on = async { while !server.command(&["CONFIG", "GET", "notify-keyspace-events"]).await.contains('K') {} };
    tokio::time::timeout(PATIENCE, on).await.expect("still off");
}

#[tokio::test]
async fn the_setting_is_looked_at_also_where_nothing_is_written() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    mode(&world, Mode::Notifications).await;
    // A sweep finds nothing here that could make anybody doubt.
    server.command(&["CONFIG", "SET", "notify-keyspace-events", ""]).await;
    let on = async { while !server.command(&["CONFIG", "GET", "notify-keyspace-events"]).await.contains('K') {} };
    tokio::time::timeout(PATIENCE, on).await.expect("still off");
}

#[tokio::test]
async fn a_plain_xadd_by_anybody_is_fed() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    world.log.watch(&room("42"), 1).await.unwrap();
    server.command(&["XADD", "room:42", "MAXLEN", "~", "1000", "*", "type", "message", "payload", "{\"x\":1}"]).await;
    server.command(&["XADD", "room:42", "*", "color", "red"]).await;
    world.ear.hears(2).await;
    let heard: Vec<_> = world.ear.heard.lock().iter().map(|(_, _, payload)| payload.clone()).collect();
    assert_eq!(heard, ["{\"x\":1}", "{\"color\":\"red\"}"]);
}

/// How often Redis was asked to read.
async fn reads(server: &RedisServer) -> usize {
    let stats = server.command(&["INFO", "commandstats"]).await;
    let calls = stats.split("cmdstat_xread:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

/// A world whose room is read, and notified of.
async fn followed(server: &RedisServer, room: &RoomId) -> World {
    let world = on_redis(server).await;
    mode(&world, Mode::Notifications).await;
    world.log.watch(room, 1).await.unwrap();
    world.append(room, "first").await;
    world.ear.hears(1).await;
    // The first may have been found on the way to being subscribed to: it is known to be read along once no other read
    // was needed for one.
    let along = async {
        loop {
            let (before, heard) = (reads(server).await, world.ear.heard.lock().len());
            world.append(room, "next").await;
            world.ear.hears(heard + 1).await;
            if reads(server).await == before + 1 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, along).await.expect("what is written is not read along");
    world
}

#[tokio::test]
async fn what_is_written_here_is_read_along_and_not_once_more() {
    const COUNT: usize = 200;
    let server = RedisServer::start(&[]).await;
    let (room, began) = (room("along"), Instant::now());
    let world = followed(&server, &room).await;
    let (before, heard) = (reads(&server).await, world.ear.heard.lock().len());
    let written = world.append_many(&room, COUNT).await;
    assert_eq!(world.ear.hears(heard + COUNT).await[heard..], written);
    let sweeps = began.elapsed().as_secs() as usize + 1;
    let reads = reads(&server).await - before;
    assert!((COUNT..=COUNT + sweeps).contains(&reads), "{reads} reads of {COUNT} entries");
}

#[tokio::test]
async fn the_first_message_of_a_room_is_read_along_too() {
    const ROOMS: usize = 200;
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    mode(&world, Mode::Notifications).await;
    let rooms: Vec<_> = (0..ROOMS).map(|number| room(&format!("first-{number}"))).collect();
    for room in &rooms {
        world.log.watch(room, 1).await.unwrap();
    }
    let mut along = 0;
    for (heard, room) in rooms.iter().enumerate() {
        let before = reads(&server).await;
        world.append(room, "first").await;
        world.ear.hears(heard + 1).await;
        along += usize::from(reads(&server).await == before);
    }
    // The first few may not have been subscribed to yet, and a sweep reads now and then.
    assert!(along > ROOMS / 2, "{along} of {ROOMS}");
    assert_eq!(world.ear.gaps.lock().len(), 0);
}

#[tokio::test]
async fn what_others_write_between_ours_waits_for_no_sweep() {
    let server = RedisServer::start(&[]).await;
    let room = room("between");
    let world = followed(&server, &room).await;
    let began = Instant::now();
    for number in 0..50 {
        let heard = world.ear.heard.lock().len();
        let foreign = || server.command(&["XADD", "room:between", "*", "payload", "foreign"]);
        match number % 3 {
            0 => drop(tokio::join!(world.append(&room, "ours"), foreign())),
            1 => drop((world.append(&room, "ours").await, foreign().await)),
            _ => drop((foreign().await, world.append(&room, "ours").await)),
        }
        let ids = world.ear.hears(heard + 2).await;
        assert!(ids.is_sorted_by(|a, b| a < b), "each once, in order");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "a sweep would have found them: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_room_that_only_others_write_to_does_not_expire_under_them() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    let ttl = async || server.command(&["TTL", "room:kept"]).await.parse::<i64>().unwrap();
    world.append(&room("kept"), "1").await;
    server.command(&["EXPIRE", "room:kept", "50"]).await;
    world.log.watch(&room("kept"), 1).await.unwrap();
    server.command(&["XADD", "room:kept", "*", "payload", "2"]).await;
    world.ear.hears(1).await;
    let renewed = async { while ttl().await < 1000 {} };
    tokio::time::timeout(PATIENCE, renewed).await.expect("the expiry was not renewed");
    server.command(&["PERSIST", "room:kept"]).await;
    server.command(&["XADD", "room:kept", "*", "payload", "3"]).await;
    world.ear.hears(2).await;
    assert_eq!(ttl().await, -1, "what has no expiry gets none");
}

#[tokio::test]
async fn a_reader_that_keeps_up_with_a_stream_of_one_entry_misses_nothing() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    let room = room("last");
    world.log.watch(&room, 1).await.unwrap();
    for n in 1..=20 {
        server.command(&["XADD", "room:last", "MAXLEN", "1", "*", "payload", &n.to_string()]).await;
        world.ear.hears(n).await;
    }
    assert_eq!(world.ear.gaps.lock().len(), 0);
}

#[tokio::test]
async fn a_trim_before_the_read_is_told() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    let room = room("trimmed");
    world.append(&room, "0").await;
    world.log.watch(&room, 1).await.unwrap();
    // Atomically, so that the reader cannot see what is between.
    let script = "for n=1,9 do redis.call('XADD','room:trimmed','*','payload',n) end redis.call('XTRIM','room:trimmed','MAXLEN',2)";
    server.command(&["EVAL", script, "0"]).await;
    world.ear.hears(2).await;
    let gaps = world.ear.gaps.lock().clone();
    assert_eq!((gaps.len(), gaps[0].1), (1, Reason::Trimmed));
    assert!(gaps[0].2 < world.ear.heard.lock()[0].1);
    let heard: Vec<_> = world.ear.heard.lock().iter().map(|(_, _, payload)| payload.clone()).collect();
    assert_eq!(heard, ["8", "9"], "what is left is delivered");
}

#[tokio::test]
async fn a_stream_written_anew_with_older_ids_is_told() {
    let server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    let room = room("reset");
    world.append_many(&room, 3).await;
    world.log.watch(&room, 1).await.unwrap();
    let script = "redis.call('DEL','room:reset') redis.call('XADD','room:reset','5-0','payload','old')";
    server.command(&["EVAL", script, "0"]).await;
    world.ear.until(|ear| !ear.gaps.lock().is_empty()).await;
    assert_eq!(world.ear.gaps.lock()[0].1, Reason::Reset);
    server.command(&["XADD", "room:reset", "6-0", "payload", "new"]).await;
    world.ear.hears(1).await;
    assert_eq!(world.ear.heard.lock()[0].2, "new");
}

#[tokio::test]
async fn redis_restarted_under_traffic_loses_nothing() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let world = Arc::new(on_redis(&server).await);
    let room = room("restart");
    world.log.watch(&room, 1).await.unwrap();
    let (writer, target) = (Arc::clone(&world), room.clone());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut written = Vec::new();
        while stopped.try_recv().is_err() {
            if let Ok(id) = writer.log.append(&target, &"1".into(), None, clock::now()).await {
                written.push(id);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        written
    });
    world.ear.hears(20).await;
    server.restart().await;
    let before = world.ear.heard.lock().len();
    world.ear.hears(before + 20).await;
    stop.send(()).unwrap();
    let written = writing.await.unwrap();
    let last = *written.last().unwrap();
    world.ear.until(|ear| ear.heard.lock().iter().any(|(_, id, _)| *id >= last)).await;
    let heard = world.ear.hears(1).await;
    assert!(heard.is_sorted_by(|a, b| a < b), "in order, none twice");
    // What was answered as written was heard. More may have been: an answer can be lost.
    assert!(written.iter().all(|id| heard.contains(id)));
    assert_eq!(world.ear.gaps.lock().len(), 0);
}

#[tokio::test]
async fn without_redis_everything_is_unavailable_and_nothing_waits() {
    let mut server = RedisServer::start(&[]).await;
    let world = on_redis(&server).await;
    server.stop().await;
    let gone = async {
        while world.log.health().connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let began = tokio::time::Instant::now();
    let result = world.log.append(&room("a"), &"1".into(), None, clock::now()).await;
    assert!(matches!(result, Err(LogError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_millis(500));
}
