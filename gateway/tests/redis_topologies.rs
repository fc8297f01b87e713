//! Gateways on Redis behind Sentinels, on a Redis Cluster, and with TLS and users: real servers, real failovers.

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::certificates::Certificates;
use support::redis_server::RedisServer;
use support::redis_topology::{RedisCluster, Sentinels, answers};
use support::{Client, Gateway, soon, until};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wscluster_gateway::clock;
use wscluster_gateway::config::{self, Config};
use wscluster_gateway::entry::{Entry, EntryId};
use wscluster_gateway::idempotency::IdempotencyKey;
use wscluster_gateway::log::redis::{Address, RedisLog};
use wscluster_gateway::log::{Feed, Log, Signal, Token};
use wscluster_gateway::metrics::Metrics;
use wscluster_gateway::protocol::Reason;
use wscluster_gateway::room::RoomId;

const FAST: &str = "limits: {messagesPerSecond: 100000, burst: 100000}";

/// Publishes to a room until it is told to stop; returns what was acknowledged, and how often it was not.
fn publisher(mut client: Client, room: &'static str) -> (oneshot::Sender<()>, JoinHandle<(Vec<String>, u32)>) {
    let (stop, mut stopped) = oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        while stopped.try_recv().is_err() {
            let answer = client.publish(room, json!(acknowledged.len())).await;
            if answer["type"] == "ok" {
                acknowledged.push(answer["id"].as_str().unwrap().to_owned());
            } else {
                assert_eq!(answer["code"], "unavailable", "{answer}");
                refused += 1;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (acknowledged, refused)
    });
    (stop, writing)
}

/// What a member has heard.
#[derive(Default)]
struct Heard {
    ids: Vec<String>,
    /// Number of messages heard before each resync.
    resyncs: Vec<usize>,
}

impl Heard {
    async fn next(&mut self, member: &mut Client) {
        let frame = member.next().await;
        match frame["type"].as_str() {
            Some("message") => self.ids.push(frame["id"].as_str().unwrap().to_owned()),
            Some("resync") => self.resyncs.push(self.ids.len()),
            _ => panic!("{frame}"),
        }
    }

    async fn more(&mut self, member: &mut Client, count: usize) {
        let wanted = self.ids.len() + count;
        while self.ids.len() < wanted {
            self.next(member).await;
        }
    }
}

fn number(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// Traffic goes through a failover: nothing comes twice or out of order, the member is told that something may be
/// missing, and what Redis still has after the failover was all heard.
async fn traffic_through_a_failover(gateway: &Gateway, room: &'static str, fail: impl AsyncFnOnce()) -> Heard {
    let (mut member, writer) = (gateway.client().await, gateway.client().await);
    member.subscribe(room).await;
    let (stop, writing) = publisher(writer, room);
    let mut heard = Heard::default();
    heard.more(&mut member, 50).await;
    fail().await;
    while heard.resyncs.is_empty() {
        heard.next(&mut member).await;
    }
    heard.more(&mut member, 50).await;
    stop.send(()).unwrap();
    let (acknowledged, _) = soon(writing).await.unwrap();
    while heard.ids.last() < acknowledged.last() {
        heard.next(&mut member).await;
    }
    assert!(heard.ids.is_sorted_by(|a, b| number(a) < number(b)), "in order, none twice");
    // What comes after the resync is complete: nothing that was acknowledged since is missing.
    let after = number(&heard.ids[*heard.resyncs.last().unwrap()]);
    let missing: Vec<_> = acknowledged.iter().filter(|id| number(id) > after && !heard.ids.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // And before it nothing is missing that Redis still has.
    let mut reader = gateway.client().await;
    let kept = history(&mut reader, room).await;
    assert!(kept.iter().all(|id| heard.ids.contains(id)), "Redis has what was not heard");
    let stale = reader.resume(room, &heard.ids[10]).await;
    assert_eq!(stale["recovered"], false, "a cursor from before the failover proves nothing: {stale}");
    heard
}

async fn history(client: &mut Client, room: &str) -> Vec<String> {
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let mut ask = json!({"type": "history", "ref": 9, "room": room, "limit": 100});
        if let Some(before) = &before {
            ask["before"] = json!(before);
        }
        let page = client.ask(ask).await;
        let found: Vec<_> =
            page["messages"].as_array().unwrap().iter().map(|each| each["id"].as_str().unwrap().to_owned()).collect();
        before = found.first().cloned();
        ids.extend(found);
        if page["more"] != true {
            return ids;
        }
    }
}

#[tokio::test]
async fn a_sentinel_failover_under_traffic_is_told_and_loses_nothing_that_redis_has_kept() {
    let mut sentinels = Sentinels::start().await;
    let gateway = Gateway::start(FAST, Some(&sentinels.url())).await;
    gateway.connected().await;
    let old = sentinels.master(|port| port != 0).await;
    traffic_through_a_failover(&gateway, "a", async || {
        sentinels.servers[0].stop().await;
        sentinels.master(|port| port != old).await;
        gateway.connected().await;
    })
    .await;
    until(|| async { gateway.connections().await["redis"]["mode"] == "notifications" }).await;
}

#[tokio::test]
async fn a_gateway_follows_the_master_that_sentinels_choose_while_the_old_one_lives() {
    let sentinels = Sentinels::start().await;
    let gateway = Gateway::start(FAST, Some(&sentinels.url())).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    member.subscribe("a").await;
    gateway.client().await.publish("a", json!(1)).await;
    assert_eq!(member.message().await.1, json!(1));
    let sentinel = sentinels.url().replace("redis+sentinel", "redis");
    let sentinel = sentinel.split(',').next().unwrap();
    answers(sentinel, &["SENTINEL", "FAILOVER", "main"], |answer| answer == "OK").await;
    let port = sentinels.master(|port| port == sentinels.servers[1].port()).await;
    let frame = member.next().await;
    assert_eq!((&frame["type"], &frame["reason"]), (&json!("resync"), &json!("reset")), "{frame}");
    let url = format!("redis://127.0.0.1:{port}");
    answers(&url, &["XADD", "room:a", "*", "payload", "2"], |_| true).await;
    assert_eq!(member.message().await.1, json!(2));
}

#[tokio::test]
async fn a_cluster_serves_many_rooms_with_few_connections() {
    let cluster = RedisCluster::start(&[]).await;
    let gateway = Gateway::start(
        "limits: {maxRoomsPerConnection: 1000, messagesPerSecond: 100000, burst: 100000}",
        Some(&cluster.url()),
    )
    .await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    for n in 0..120 {
        member.subscribe(&format!("{n}")).await;
    }
    until(|| async { gateway.connections().await["redis"]["mode"] == "notifications" }).await;
    for n in 0..120 {
        let key = format!("room:{n}");
        cluster.command(&key, &["XADD", &key, "*", "payload", &n.to_string()]).await;
    }
    let mut seen = HashMap::new();
    for _ in 0..120 {
        let frame = member.next().await;
        seen.insert(frame["room"].as_str().unwrap().to_owned(), frame["payload"].clone());
    }
    assert!((0..120).all(|n| seen[&n.to_string()] == json!(n)));
    for server in &cluster.servers[..3] {
        let clients = server.command(&["CLIENT", "LIST"]).await;
        let normal = clients
            .lines()
            .filter(|line| line.contains(" addr=") && !line.contains("flags=S") && !line.contains("flags=M"));
        assert_eq!(normal.count(), 4, "three of the gateway's, and the one that asks:\n{clients}");
    }
}

#[tokio::test]
async fn a_cluster_failover_under_traffic_is_told_and_loses_nothing_that_redis_has_kept() {
    let mut cluster = RedisCluster::start(&[]).await;
    let gateway = Gateway::start(FAST, Some(&cluster.url())).await;
    gateway.connected().await;
    let (owner, elsewhere) = (cluster.owner("room:a").await, "b");
    assert_ne!(owner, cluster.owner("room:b").await);
    let mut bystander = gateway.client().await;
    bystander.subscribe(elsewhere).await;
    traffic_through_a_failover(&gateway, "a", async || {
        cluster.servers[owner].stop().await;
        // The others go on meanwhile, and are not told to resync.
        let mut writer = gateway.client().await;
        assert_eq!(writer.publish(elsewhere, json!("meanwhile")).await["type"], "ok");
        assert_eq!(bystander.message().await.1, json!("meanwhile"));
        answers(&cluster.servers[owner + 3].url(), &["ROLE"], |role| role.starts_with("master")).await;
    })
    .await;
}

#[tokio::test]
async fn rooms_follow_their_slots_to_another_node() {
    let cluster = RedisCluster::start(&[]).await;
    let gateway = Gateway::start(FAST, Some(&cluster.url())).await;
    gateway.connected().await;
    let (mut member, mut writer) = (gateway.client().await, gateway.client().await);
    member.subscribe("a").await;
    writer.publish("a", json!(0)).await;
    assert_eq!(member.message().await.1, json!(0));
    let slot = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "room:a"]).await;
    let from = cluster.owner("room:a").await;
    let to = (from + 1) % 3;
    let mut ids = Vec::new();
    for index in [from, to] {
        ids.push(cluster.servers[index].command(&["CLUSTER", "MYID"]).await);
    }
    cluster.servers[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
    cluster.servers[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]).await;
    writer.publish("a", json!(1)).await;
    let port = cluster.servers[to].port().to_string();
    cluster.servers[from].command(&["MIGRATE", "127.0.0.1", &port, "room:a", "0", "5000"]).await;
    // Now the old node answers ASK.
    assert_eq!(writer.publish("a", json!(2)).await["type"], "ok");
    for index in [to, from] {
        cluster.servers[index].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]).await;
    }
    // And now MOVED.
    assert_eq!(writer.publish("a", json!(3)).await["type"], "ok");
    for n in 1..=3 {
        assert_eq!(member.message().await.1, json!(n), "in order, and without a resync: nothing was lost");
    }
    answers(&cluster.servers[to].url(), &["PUBSUB", "CHANNELS", "__keyspace@0__:room:a"], |channels| {
        !channels.is_empty()
    })
    .await;
    cluster.servers[to].command(&["XADD", "room:a", "*", "payload", "4"]).await;
    assert_eq!(member.message().await.1, json!(4));
}

/// Is told, and does nothing.
struct Nobody;

impl Feed for Nobody {
    fn entries(&self, _: &RoomId, _: Token, _: Vec<Entry>) {}
    fn gap(&self, _: &RoomId, _: Token, _: Reason, _: EntryId) {}
    fn signal(&self, _: Signal) {}
}

#[tokio::test]
async fn an_idempotent_publish_and_the_list_of_rooms_work_on_a_cluster() {
    let cluster = RedisCluster::start(&[]).await;
    let settings = config::share(Config::default());
    let metrics = Arc::new(Metrics::new());
    let log = RedisLog::start(Address::parse(&cluster.url()).unwrap(), settings, Arc::new(Nobody), metrics);
    until(|| async { log.health().connected }).await;
    let key = IdempotencyKey::parse("k").unwrap();
    let now = clock::now();
    for n in 0..60 {
        let room = RoomId::parse(&format!("{n}}}x")).unwrap();
        let first = log.append(&room, &"1".into(), Some(&key), now).await.unwrap();
        assert_eq!(log.append(&room, &"1".into(), Some(&key), now).await.unwrap(), first);
    }
    let (mut listed, mut cursor) = (HashSet::new(), None);
    loop {
        let (page, next) = log.rooms(cursor, 10).await.unwrap();
        listed.extend(page);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), 60);
    let room = RoomId::parse("1").unwrap();
    let beside = log.commands().key_beside(&room, "presence");
    let count: u64 = log.commands().query(redis::cmd("INCR").arg(&beside)).await.unwrap();
    assert_eq!(count, 1);
    log.stop();
}

#[tokio::test]
async fn a_user_with_a_password_and_few_rights_is_enough() {
    let acl = "on >s3cret ~room:* ~wscluster/* &* -@all +@stream +@read +@pubsub +@connection +expire +set +eval +scan +info +config|get";
    let mut arguments = vec!["--user", "gateway"];
    arguments.extend(acl.split(' '));
    let redis = RedisServer::start(&arguments).await;
    redis.command(&["CONFIG", "SET", "notify-keyspace-events", "Kt"]).await;
    redis.command(&["ACL", "SETUSER", "default", "+@all"]).await;
    let url = format!("redis://gateway:s3cret@127.0.0.1:{}", redis.port());
    let gateway = Gateway::start("", Some(&url)).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    member.subscribe("a").await;
    redis.command(&["XADD", "room:a", "*", "payload", "1"]).await;
    assert_eq!(member.message().await.1, json!(1));
    member.publish("a", json!(2)).await;
    until(|| async { gateway.connections().await["redis"]["mode"] == "notifications" }).await;
    let users = redis.command(&["CLIENT", "LIST"]).await;
    assert_eq!(users.matches("user=gateway").count(), 3, "{users}");
}

#[tokio::test]
async fn a_wrong_password_is_no_connection_and_is_not_shown() {
    let redis = RedisServer::start(&[]).await;
    redis.command(&["ACL", "SETUSER", "gateway", "on", ">right", "~*", "&*", "+@all"]).await;
    let gateway = Gateway::start("", Some(&format!("redis://gateway:wrong@127.0.0.1:{}", redis.port()))).await;
    let mut client = gateway.client().await;
    let answer: Value = client.publish("a", json!(1)).await;
    assert_eq!(answer["code"], "unavailable");
    assert!(!answer.to_string().contains("wrong"), "{answer}");
    let status = gateway.connections().await;
    assert_eq!(status["redis"]["connected"], false);
}

#[tokio::test]
async fn tls_with_an_authority_and_a_certificate_of_our_own() {
    let certificates = Certificates::new();
    let ca = certificates.path("ca.crt");
    let (redis, url) = certificates.redis().await;
    let own = format!("certFile: {}, keyFile: {}", certificates.path("client.crt"), certificates.path("client.key"));
    let gateway = Gateway::start(&format!("redis: {{caFile: {ca}, {own}}}"), Some(&url)).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    member.subscribe("a").await;
    redis.command(&["XADD", "room:a", "*", "payload", "1"]).await;
    assert_eq!(member.message().await.1, json!(1));
    until(|| async { gateway.connections().await["redis"]["mode"] == "notifications" }).await;
    // Without a certificate of ours the server refuses; without its authority we do.
    for settings in [format!("redis: {{caFile: {ca}}}"), format!("redis: {{{own}}}")] {
        let stranger = Gateway::start(&settings, Some(&url)).await;
        assert_eq!(stranger.client().await.publish("a", json!(2)).await["code"], "unavailable");
        assert_eq!(stranger.connections().await["redis"]["connected"], false);
    }
    assert_eq!(redis.command(&["XLEN", "room:a"]).await, "1");
}
