//! How much of a room a publish leaves: by number or by age, exactly or by whole macro-nodes, as the room's settings say,
//! and for how long.

use std::sync::Arc;

use wscluster_gateway::clock::{self, Millis};
use wscluster_gateway::config::{self, Config};
use wscluster_gateway::entry::{Entry, EntryId};
use wscluster_gateway::idempotency::IdempotencyKey;
use wscluster_gateway::log::redis::{Address, RedisLog};
use wscluster_gateway::log::{Feed, Log, Signal, Token};
use wscluster_gateway::metrics::Metrics;
use wscluster_gateway::protocol::Reason;
use wscluster_gateway::room::RoomId;

use crate::support::redis_server::RedisServer;
use crate::support::until;

/// Is told, and does nothing.
struct Nobody;

impl Feed for Nobody {
    fn entries(&self, _: &RoomId, _: Token, _: Vec<Entry>) {}
    fn gap(&self, _: &RoomId, _: Token, _: Reason, _: EntryId) {}
    fn signal(&self, _: Signal) {}
}

/// A log with settings, and its Redis.
struct Kept {
    redis: RedisServer,
    log: Arc<RedisLog>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.log.stop();
    }
}

impl Kept {
    async fn start(yaml: &str) -> Self {
        let redis = RedisServer::start(&[]).await;
        let settings = config::share(Config::parse(yaml).unwrap());
        let address = Address::parse(&redis.url()).unwrap();
        let log = RedisLog::start(address, settings, Arc::new(Nobody), Arc::new(Metrics::new()));
        until(|| async { log.health().connected }).await;
        Self { redis, log }
    }

    async fn publish(&self, room: &str, count: usize) {
        for _ in 0..count {
            self.publish_at(room, None, clock::now()).await;
        }
    }

    async fn publish_at(&self, room: &str, key: Option<&str>, now: Millis) {
        let (room, key) = (RoomId::parse(room).unwrap(), key.map(|key| IdempotencyKey::parse(key).unwrap()));
        self.log.append(&room, &"1".into(), key.as_ref(), now).await.unwrap();
    }

    async fn number(&self, command: &[&str]) -> i64 {
        self.redis.command(command).await.parse().unwrap()
    }

    async fn length(&self, room: &str) -> i64 {
        self.number(&["XLEN", &format!("room:{room}")]).await
    }

    async fn milliseconds_left(&self, room: &str) -> i64 {
        self.number(&["PTTL", &format!("room:{room}")]).await
    }

    /// Entries of a foreign writer with these ids' milliseconds.
    async fn write(&self, room: &str, times: impl Iterator<Item = Millis>) {
        for time in times {
            self.redis.command(&["XADD", &format!("room:{room}"), &format!("{time}-1"), "payload", "1"]).await;
        }
    }
}

#[tokio::test]
async fn an_exact_number_is_kept_and_not_one_more() {
    let kept = Kept::start("streams: {trim: {maxLen: 5, approximate: false}}").await;
    for (published, expect) in [(4, 4), (1, 5), (1, 5), (20, 5)] {
        kept.publish("a", published).await;
        assert_eq!(kept.length("a").await, expect);
    }
    kept.publish_at("a", Some("once"), clock::now()).await;
    assert_eq!(kept.length("a").await, 5, "with an idempotency key, too");
    let last = kept.redis.command(&["XREVRANGE", "room:a", "+", "-", "COUNT", "5"]).await;
    assert_eq!(kept.redis.command(&["XREVRANGE", "room:a", "+", "-"]).await, last, "the newest");
}

#[tokio::test]
async fn an_approximate_number_keeps_less_than_a_macro_node_more_and_never_fewer() {
    let kept = Kept::start("streams: {trim: {maxLen: 10}}").await;
    // A macro-node has 100 entries, and goes as soon as 10 others are there.
    for (published, expect) in [(10, 10), (1, 11), (98, 109), (1, 10), (99, 109), (1, 10)] {
        kept.publish("a", published).await;
        assert_eq!(kept.length("a").await, expect);
    }
}

#[tokio::test]
async fn entries_that_are_too_old_go_and_the_one_of_the_very_millisecond_stays() {
    let trim = "streams: {trim: {strategy: MinId, maxAgeSeconds: 60, approximate: false}}";
    let kept = Kept::start(trim).await;
    let now = clock::now();
    let limit = now - 60_000;
    kept.write("a", [limit - 30_000, limit - 1, limit, limit + 1].into_iter()).await;
    kept.publish_at("a", None, now).await;
    assert_eq!(kept.length("a").await, 3);
    let first = kept.redis.command(&["XRANGE", "room:a", "-", "+", "COUNT", "1"]).await;
    assert!(first.starts_with(&format!("{limit}-1 ")), "{first}");
}

#[tokio::test]
async fn by_approximate_age_only_macro_nodes_that_are_too_old_as_a_whole_go() {
    let kept = Kept::start("streams: {trim: {strategy: MinId, maxAgeSeconds: 60}}").await;
    let now = clock::now();
    kept.write("a", now - 60_250..now - 60_000).await;
    kept.publish_at("a", None, now).await;
    assert_eq!(kept.length("a").await, 51, "two whole nodes of 100 went, of the third not all is too old");
}

#[tokio::test]
async fn the_first_override_that_fits_a_room_says_what_is_kept_and_how_long() {
    let yaml = r#"
streams:
  idleTtlSeconds: 1000
  trim: {maxLen: 4, approximate: false}
  overrides:
    - {match: "news:*", idleTtlSeconds: 2000, trim: {maxLen: 2, approximate: false}}
    - {match: "news:sport", idleTtlSeconds: 3000, trim: {maxLen: 3, approximate: false}}
    - {match: "long:*", idleTtlSeconds: 4000}
"#;
    let kept = Kept::start(yaml).await;
    for (room, length, seconds) in [("a", 4, 1000), ("news:sport", 2, 2000), ("long:a", 4, 4000)] {
        kept.publish(room, 9).await;
        assert_eq!(kept.length(room).await, length, "{room}");
        let left = kept.milliseconds_left(room).await;
        assert!((seconds - 60) * 1000 < left && left <= seconds * 1000, "{room}: {left}");
    }
}

#[tokio::test]
async fn every_publish_renews_the_time_that_an_idle_room_has_left() {
    let kept = Kept::start("streams: {idleTtlSeconds: 1000}").await;
    for (key, length) in [(None, 2), (Some("once"), 4)] {
        kept.publish("a", 1).await;
        kept.redis.command(&["PEXPIRE", "room:a", "5000"]).await;
        kept.publish_at("a", key, clock::now()).await;
        let left = kept.milliseconds_left("a").await;
        assert!(900_000 < left && left <= 1_000_000, "{left}");
        assert_eq!(kept.length("a").await, length);
    }
}

#[tokio::test]
async fn a_room_that_nobody_writes_to_goes() {
    let kept = Kept::start("streams: {idleTtlSeconds: 1}").await;
    kept.publish("a", 1).await;
    assert_eq!(kept.length("a").await, 1);
    until(|| async { kept.number(&["EXISTS", "room:a"]).await == 0 }).await;
}
