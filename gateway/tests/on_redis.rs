//! Gateways joined by a real Redis.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use support::redis_server::RedisServer;
use support::{Gateway, soon, until};

#[tokio::test]
async fn a_plain_xadd_reaches_the_members_of_every_gateway() {
    let redis = RedisServer::start(&[]).await;
    let (one, two) = (Gateway::start("", Some(&redis.url())).await, Gateway::start("", Some(&redis.url())).await);
    one.connected().await;
    two.connected().await;
    let (mut a, mut b) = (one.client().await, two.client().await);
    a.subscribe("42").await;
    b.subscribe("42").await;
    redis
        .command(&[
            "XADD",
            "room:42",
            "MAXLEN",
            "~",
            "1000",
            "*",
            "type",
            "message",
            "payload",
            "{\"x\":1}",
            "timestamp",
            "5",
        ])
        .await;
    redis.command(&["XADD", "room:42", "*", "payload", "no json"]).await;
    for client in [&mut a, &mut b] {
        let frame = client.next().await;
        assert_eq!(
            (&frame["payload"], &frame["timestamp"], &frame["room"]),
            (&json!({"x": 1}), &json!(5), &json!("42"))
        );
        assert_eq!(client.message().await.1, json!("no json"));
    }
    b.publish("42", json!("from b")).await;
    assert_eq!(a.message().await.1, json!("from b"));
    assert_eq!(one.metric("redis_odd_entries_total{oddity=\"not_json\"}").await, 1);
    until(|| async { one.connections().await["redis"]["mode"] == "notifications" }).await;
}

#[tokio::test]
async fn publishes_are_written_as_documented() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start("streams: {idleTtlSeconds: 77, keyPrefix: \"r:\"}", Some(&redis.url())).await;
    gateway.connected().await;
    let mut client = gateway.client().await;
    assert_eq!(client.publish("a", json!({"b": 1})).await["type"], "ok");
    let entry = redis.command(&["XRANGE", "r:a", "-", "+"]).await;
    assert!(entry.contains("type message payload {\"b\":1} timestamp 1"), "{entry}");
    let ttl = redis.command(&["TTL", "r:a"]).await;
    assert!(["76", "77"].contains(&&*ttl), "{ttl}");
}

/// Follows a room through any number of gateways, as a client library would: resumes with its cursor, and keeps what it
/// has seen.
struct Session {
    cursor: String,
    seen: Vec<String>,
    unproven: u32,
}

impl Session {
    async fn follow(&mut self, gateway: &Gateway, room: &str, count: usize) -> support::Client {
        let mut client = gateway.client().await;
        let answer = client.resume(room, &self.cursor).await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        self.unproven += u32::from(answer["recovered"] != true);
        for _ in 0..count {
            let (id, _) = client.message().await;
            self.seen.push(id.clone());
            self.cursor = id;
        }
        client
    }
}

#[tokio::test]
async fn a_session_that_moves_under_traffic_misses_nothing_and_gets_nothing_twice() {
    let redis = RedisServer::start(&[]).await;
    let gateways = [Gateway::start("", Some(&redis.url())).await, Gateway::start("", Some(&redis.url())).await];
    for gateway in &gateways {
        gateway.connected().await;
    }
    let redis = Arc::new(redis);
    let (writer, written) = (Arc::clone(&redis), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        let client = redis::Client::open(writer.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        loop {
            let mut command = redis::cmd("XADD");
            command.arg(&["room:a", "*", "type", "message", "payload", "1"]);
            let _: String = command.query_async(&mut connection).await.unwrap();
            count.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    });
    let mut session = Session { cursor: "0-0".into(), seen: Vec::new(), unproven: 0 };
    for round in 0..20 {
        // The old connection is left only after the new one has begun: the moved session overlaps, as after a drain.
        let old = session.follow(&gateways[round % 2], "a", 20).await;
        let new = session.follow(&gateways[(round + 1) % 2], "a", 5).await;
        drop((old, new));
    }
    writing.abort();
    let ids = redis.command(&["XRANGE", "room:a", "-", "+", "COUNT", "500"]).await;
    let expect: Vec<_> = ids.split(' ').filter(|word| word.contains('-')).collect();
    assert_eq!(session.seen[..], expect[..500]);
    assert_eq!(session.unproven, 0);
}

#[tokio::test]
async fn redis_restarted_under_traffic_loses_nothing_and_keeps_the_connections() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let gateway = Gateway::start("limits: {messagesPerSecond: 100000, burst: 100000}", Some(&redis.url())).await;
    gateway.connected().await;
    let (mut member, mut writer) = (gateway.client().await, gateway.client().await);
    member.subscribe("a").await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        while stopped.try_recv().is_err() {
            let answer = writer.publish("a", json!(1)).await;
            if answer["type"] == "ok" {
                acknowledged.push(answer["id"].as_str().unwrap().to_owned());
                continue;
            }
            assert_eq!(answer["code"], "unavailable", "{answer}");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (acknowledged, refused)
    });
    let mut seen = Vec::new();
    for _ in 0..50 {
        seen.push(member.message().await.0);
    }
    redis.stop().await;
    until(|| async { gateway.connections().await["redis"]["connected"] == false }).await;
    assert_eq!(gateway.admin("GET", "/readyz").await.0, 200, "killing sessions would help nobody");
    assert_eq!(gateway.admin("GET", "/livez").await.0, 200);
    redis.launch().await;
    until(|| async { gateway.connections().await["redis"]["connected"] == true }).await;
    assert_eq!(gateway.connections().await["connections"], 2);
    for _ in 0..50 {
        seen.push(member.message().await.0);
    }
    stop.send(()).unwrap();
    let (acknowledged, refused) = soon(writing).await.unwrap();
    while seen.last() != acknowledged.last() {
        seen.push(member.message().await.0);
    }
    let unique: HashSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "none twice");
    assert!(acknowledged.iter().all(|id| unique.contains(id)), "none lost");
    assert!(refused > 0);
    assert!(gateway.metric("redis_reconnects_total{connection=\"reads\"}").await >= 1);
}

#[tokio::test]
async fn a_gateway_starts_without_redis_and_finds_it_later() {
    let mut redis = RedisServer::start(&[]).await;
    redis.stop().await;
    let gateway = Gateway::start("", Some(&redis.url())).await;
    assert_eq!(gateway.admin("GET", "/readyz").await.0, 200);
    let mut client = gateway.client().await;
    assert_eq!(client.publish("a", json!(1)).await["code"], "unavailable");
    client.send(json!({"type": "subscribe", "ref": 7, "room": "a"})).await;
    redis.launch().await;
    let answer = client.next().await;
    assert_eq!((&answer["type"], &answer["ref"]), (&json!("subscribed"), &json!(7)), "a subscribe has some patience");
    redis.command(&["XADD", "room:a", "*", "payload", "2"]).await;
    assert_eq!(client.message().await.1, json!(2));
}

#[tokio::test]
async fn a_member_behind_the_trim_is_told_to_resync() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start("", Some(&redis.url())).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    member.publish("a", json!(0)).await;
    member.subscribe("a").await;
    let script = "for n=1,9 do redis.call('XADD','room:a','*','payload',n) end redis.call('XTRIM','room:a','MAXLEN',2)";
    redis.command(&["EVAL", script, "0"]).await;
    let frame = member.next().await;
    assert_eq!((&frame["type"], &frame["room"], &frame["reason"]), (&json!("resync"), &json!("a"), &json!("trimmed")));
    assert_eq!(member.message().await.1, json!(8));
    assert_eq!(member.message().await.1, json!(9));
    assert_eq!(gateway.metric("ws_resyncs_total{reason=\"trimmed\"}").await, 1);
}

#[tokio::test]
async fn rooms_are_polled_where_redis_may_not_be_configured() {
    let redis = RedisServer::start(&["--rename-command", "CONFIG", ""]).await;
    let gateway = Gateway::start("", Some(&redis.url())).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    for n in 0..60 {
        member.subscribe(&format!("{n}")).await;
    }
    redis.command(&["XADD", "room:31", "*", "payload", "1"]).await;
    assert_eq!(member.message().await.1, json!(1));
    assert_eq!(gateway.connections().await["redis"]["mode"], "partitions");
    assert_eq!(gateway.metric("redis_reader_mode{mode=\"partitions\"}").await, 1);
}

#[tokio::test]
async fn connections_to_redis_do_not_grow_with_rooms() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start("limits: {maxRoomsPerConnection: 1000}", Some(&redis.url())).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    for n in 0..300 {
        member.subscribe(&format!("{n}")).await;
    }
    let clients = redis.command(&["CLIENT", "LIST"]).await;
    let connections = clients.lines().filter(|line| line.contains(" addr=")).count();
    assert_eq!(connections, 4, "three of the gateway's, and the one that asks:\n{clients}");
}

#[tokio::test]
async fn publishes_of_one_client_keep_their_order() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start("limits: {messagesPerSecond: 100000, burst: 100000}", Some(&redis.url())).await;
    gateway.connected().await;
    let (mut member, mut writer) = (gateway.client().await, gateway.client().await);
    member.subscribe("a").await;
    for n in 0..500 {
        writer.send(json!({"type": "publish", "ref": n, "room": "a", "payload": n})).await;
    }
    for n in 0..500 {
        assert_eq!(member.message().await.1, json!(n));
    }
}

#[tokio::test]
async fn what_is_said_right_before_good_bye_is_published() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start("", Some(&redis.url())).await;
    gateway.connected().await;
    let mut member = gateway.client().await;
    member.subscribe("a").await;
    for n in 0..20 {
        let mut raw = support::Client::raw(gateway.public, "room=a").await;
        raw.send_text(&n.to_string()).await;
        raw.leave().await;
        assert_eq!(member.message().await.1, json!(n));
    }
}

#[tokio::test]
async fn a_client_that_is_left_unread_until_redis_answers_is_not_taken_for_silent() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start("heartbeat: {intervalSeconds: 1, timeoutSeconds: 1}", Some(&redis.url())).await;
    gateway.connected().await;
    let mut client = gateway.client().await;
    redis.command(&["CLIENT", "PAUSE", "3500", "ALL"]).await;
    client.send(json!({"type": "subscribe", "room": "a", "ref": 1})).await;
    // It waits for the subscription, and with it everything that comes after, pongs included.
    client.send(json!({"type": "publish", "room": "a", "payload": 1, "ref": 2})).await;
    let mut answers = HashSet::new();
    while answers.len() < 2 {
        answers.extend(client.next().await["ref"].as_u64());
    }
    assert_eq!(gateway.metric("ws_connections_closed_total{reason=\"heartbeat\"}").await, 0);
    // From now on it is read again, and its library answers nothing while it is not polled.
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"heartbeat\"}").await == 1 }).await;
}
