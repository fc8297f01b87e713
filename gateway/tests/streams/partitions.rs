//! A Redis that does not notify, and does not let itself be told to: reads that wait tell which rooms have news.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::World;
use crate::foreign::keys_that_hold_something_else_trouble_no_other_room;
use crate::support::until;

const MANY: &str = "limits: {maxRoomsPerConnection: 1000, messagesPerSecond: 100000, burst: 100000}";
/// How often the reader looks for itself, at the rarest.
const SWEEP: Duration = Duration::from_secs(5);
/// More than fit one partition of 256.
const ROOMS: usize = 310;

impl World {
    /// Where notifications cannot be switched on, as with most who run Redis for others.
    async fn without_rights() -> Self {
        let rights =
            "~room:* ~wscluster/* &* -@all +@stream +@read +@pubsub +@connection +expire +set +eval +scan +info";
        Self::start(rights, &[], MANY).await
    }

    async fn without_the_command() -> Self {
        Self::start("~* &* +@all", &["--rename-command", "CONFIG", ""], MANY).await
    }

    /// Connections whose read has waited for so many seconds.
    async fn waiting(&self, seconds: u64) -> usize {
        let clients = self.redis.command(&["CLIENT", "LIST"]).await;
        let field =
            |line: &str, name: &str| line.split(' ').find_map(|field| Some(field.strip_prefix(name)?.to_owned()));
        let waits = |line: &&str| {
            let idle: u64 = field(line, "idle=").and_then(|idle| idle.parse().ok()).unwrap_or_default();
            field(line, "cmd=").as_deref() == Some("xread")
                && field(line, "flags=").as_deref() == Some("b")
                && idle >= seconds
        };
        clients.lines().filter(waits).count()
    }

    /// How many `XREAD` Redis has done.
    async fn reads(&self) -> u64 {
        let stats = self.redis.command(&["INFO", "commandstats"]).await;
        let calls =
            stats.lines().find_map(|line| line.strip_prefix("cmdstat_xread:calls=")?.split(',').next()?.parse().ok());
        calls.unwrap_or_default()
    }
}

async fn many_rooms_are_served_by_reads_that_wait(mut world: World) {
    for n in 0..ROOMS {
        world.member.subscribe(&n.to_string()).await;
    }
    until(|| async { world.waiting(0).await == 2 }).await;
    assert_eq!(world.gateway.metric("redis_reader_mode{mode=\"partitions\"}").await, 1);
    assert_eq!(world.gateway.metric("redis_reader_mode{mode=\"notifications\"}").await, 0);
    world.script(&format!("for n=0,{} do redis.call('XADD','room:'..n,'*','payload',n) end", ROOMS - 1)).await;
    let mut heard = HashSet::new();
    for _ in 0..ROOMS {
        let frame = world.member.next().await;
        assert_eq!(frame["room"], frame["payload"].to_string(), "{frame}");
        heard.insert(frame["room"].to_string());
    }
    assert_eq!(heard.len(), ROOMS);
    // Polling, at fifty times a second and partition, would not let a read wait for two seconds.
    until(|| async { world.waiting(0).await == 2 }).await;
    let before = world.reads().await;
    until(|| async { world.waiting(2).await == 2 }).await;
    let reads = world.reads().await - before;
    assert!(reads < 30, "{reads} reads while nothing was written");
    // Sweeps alone would bring a message in five seconds.
    let began = Instant::now();
    for n in 0..10 {
        let room = (n * 31).to_string();
        world.write(&room, "1").await;
        world.hears(&room, json!(1)).await;
    }
    assert!(began.elapsed() < SWEEP, "ten messages, one after the other, took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_user_without_rights_to_configure_is_served_by_reads_that_wait() {
    many_rooms_are_served_by_reads_that_wait(World::without_rights().await).await;
}

#[tokio::test]
async fn a_redis_without_the_command_to_configure_is_served_by_reads_that_wait() {
    many_rooms_are_served_by_reads_that_wait(World::without_the_command().await).await;
}

#[tokio::test]
async fn a_room_that_is_left_or_joined_changes_what_is_waited_for() {
    let mut world = World::without_the_command().await;
    world.member.subscribe("a").await;
    until(|| async { world.waiting(0).await == 1 }).await;
    world.member.subscribe("b").await;
    world.member.ask(json!({"type": "unsubscribe", "ref": 3, "room": "a"})).await;
    let began = Instant::now();
    for n in 0..5 {
        world.write("a", "0").await;
        world.write("b", &n.to_string()).await;
        world.hears("b", json!(n)).await;
    }
    assert!(began.elapsed() < SWEEP, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_key_that_holds_something_else_troubles_no_other_room_of_its_partition() {
    keys_that_hold_something_else_trouble_no_other_room(&mut World::without_rights().await).await;
}
