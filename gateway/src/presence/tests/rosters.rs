//! What every roster does.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Member, MemoryRoster, Query, RedisRoster, Roster, Write};
use crate::config::{self, Config};
use crate::log::redis::{Address, RedisLog};
use crate::log::{Feed, Log, Signal, Token};
use crate::metrics::Metrics;
use crate::redis_server::RedisServer;
use crate::room::RoomId;

const ALL: Query = Query { most: 1000, partial: false };
const LEASE: u64 = 60_000;

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn member(session: &str, user: Option<&str>) -> Member {
    Member { session: session.into(), user: user.map(ToOwned::to_owned) }
}

fn members(from: usize, to: usize) -> Vec<Member> {
    (from..to).map(|n| member(&format!("s{n:05}"), Some("u"))).collect()
}

fn whole(version: u64, add: Vec<Member>) -> Write {
    Write { whole: true, before: 0, version, add, remove: Vec::new(), lease: LEASE }
}

fn change(before: u64, version: u64, add: Vec<Member>, remove: &[&str]) -> Write {
    let remove = remove.iter().map(ToString::to_string).collect();
    Write { whole: false, before, version, add, remove, lease: LEASE }
}

async fn names(roster: &dyn Roster, room: &RoomId) -> Vec<String> {
    let reading = roster.read(room, ALL).await.unwrap();
    assert!(reading.listing.complete());
    let mut names: Vec<_> = reading.listing.members.into_iter().map(|each| each.session).collect();
    names.sort();
    names
}

async fn conforms(roster: &dyn Roster) {
    parts_are_written_changed_and_removed(roster, &room("a")).await;
    a_change_of_another_part_is_refused(roster, &room("{b}")).await;
    names_are_limited_at_below_and_above(roster, &room("c}")).await;
    users_are_kept_as_they_are(roster, &room("d")).await;
}

async fn parts_are_written_changed_and_removed(roster: &dyn Roster, room: &RoomId) {
    assert_eq!(roster.read(room, ALL).await.unwrap(), super::Reading::default());
    assert!(roster.write(room, &whole(5, members(0, 3))).await.unwrap());
    assert_eq!(names(roster, room).await, ["s00000", "s00001", "s00002"]);
    assert_eq!(roster.read(room, ALL).await.unwrap().own_version, Some(5));
    assert!(roster.write(room, &change(5, 6, members(7, 8), &["s00001", "nobody"])).await.unwrap());
    assert_eq!(names(roster, room).await, ["s00000", "s00002", "s00007"]);
    assert!(roster.renew(room, 6, LEASE).await.unwrap());
    assert!(roster.write(room, &whole(7, members(1, 2))).await.unwrap());
    assert_eq!(names(roster, room).await, ["s00001"]);
    assert!(roster.write(room, &change(7, 8, Vec::new(), &["s00001"])).await.unwrap());
    assert_eq!(roster.read(room, ALL).await.unwrap(), super::Reading::default(), "nothing is left behind");
}

async fn a_change_of_another_part_is_refused(roster: &dyn Roster, room: &RoomId) {
    assert!(!roster.renew(room, 5, LEASE).await.unwrap());
    assert!(!roster.write(room, &change(5, 6, members(0, 1), &[])).await.unwrap());
    roster.write(room, &whole(5, members(0, 1))).await.unwrap();
    assert!(!roster.renew(room, 4, LEASE).await.unwrap());
    assert!(!roster.write(room, &change(4, 6, members(1, 2), &[])).await.unwrap());
    assert_eq!(names(roster, room).await, ["s00000"]);
}

async fn names_are_limited_at_below_and_above(roster: &dyn Roster, room: &RoomId) {
    roster.write(room, &whole(1, members(0, 600))).await.unwrap();
    roster.write(room, &change(1, 2, members(600, 1001), &[])).await.unwrap();
    for (most, partial, expect) in
        [(1001, false, 1001), (1002, true, 1001), (1000, false, 0), (1000, true, 1000), (1, true, 1)]
    {
        let listing = roster.read(room, Query { most, partial }).await.unwrap().listing;
        assert_eq!((listing.count, listing.members.len()), (1001, expect), "{most} {partial}");
    }
}

async fn users_are_kept_as_they_are(roster: &dyn Roster, room: &RoomId) {
    let members = vec![member("a", None), member("b", Some("")), member("c", Some("Zoë \"=\"\n"))];
    roster.write(room, &whole(1, members.clone())).await.unwrap();
    let mut read = roster.read(room, ALL).await.unwrap().listing.members;
    read.sort();
    assert_eq!(read, members);
}

#[tokio::test]
async fn the_roster_in_memory_conforms() {
    conforms(&MemoryRoster::default()).await;
}

struct Nobody;

impl Feed for Nobody {
    fn entries(&self, _: &RoomId, _: Token, _: Vec<crate::entry::Entry>) {}
    fn gap(&self, _: &RoomId, _: Token, _: crate::protocol::Reason, _: crate::entry::EntryId) {}
    fn signal(&self, _: Signal) {}
}

async fn on(redis: &RedisServer) -> Arc<RedisRoster> {
    let (address, settings) = (Address::parse(&redis.url()).unwrap(), config::share(Config::default()));
    let log = RedisLog::start(address, settings, Arc::new(Nobody), Arc::new(Metrics::new()));
    while !log.health().connected {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    RedisRoster::new(log.commands(), "node {1}")
}

#[tokio::test]
async fn the_roster_on_redis_conforms_and_leaves_nothing_behind() {
    let redis = RedisServer::start(&[]).await;
    let roster = on(&redis).await;
    conforms(&*roster).await;
    for (name, version) in [("{b}", 5), ("c}", 2), ("d", 1)] {
        let empty = Write { before: version, ..whole(version + 1, Vec::new()) };
        roster.write(&room(name), &empty).await.unwrap();
    }
    assert_eq!(redis.command(&["KEYS", "*"]).await, "");
}

#[tokio::test]
async fn parts_of_several_gateways_are_one_list_and_end_with_their_leases() {
    let redis = RedisServer::start(&[]).await;
    let (one, two) = (on(&redis).await, on(&redis).await);
    let room = room("a");
    one.write(&room, &whole(1, members(0, 2))).await.unwrap();
    let short = Write { lease: 400, ..whole(1, members(2, 3)) };
    let started = std::time::Instant::now();
    two.write(&room, &short).await.unwrap();
    let reading = one.read(&room, ALL).await.unwrap();
    assert_eq!((reading.listing.count, reading.own_version), (3, Some(1)));
    let ends = reading.first_expiry.unwrap();
    assert!((1..=400).contains(&ends), "{ends}");
    assert!(two.read(&room, ALL).await.unwrap().first_expiry.unwrap() > 50_000);
    while names(&*one, &room).await.len() > 2 {
        assert!(started.elapsed() < Duration::from_secs(5), "the lease does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(400), "not before its time");
    assert!(!two.renew(&room, 1, LEASE).await.unwrap(), "what has expired is not renewed");
    two.write(&room, &whole(2, members(2, 3))).await.unwrap();
    assert_eq!(names(&*one, &room).await.len(), 3);
    let ttl: i64 = redis.command(&["PTTL", "wscluster/presence/{room:a}"]).await.parse().unwrap();
    assert!(ttl > 50_000, "a short lease does not shorten the others: {ttl}");
}
