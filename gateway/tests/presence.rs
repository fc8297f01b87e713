//! Who is in a room, over the wire: on one gateway alone and on several that share a real Redis.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{Client, Gateway, Process, http, until};

const SHORT: &str = "presence: {leaseSeconds: 2}";

/// A client that is listed in `room`, and the id of its session. Its own joining has been told.
async fn listed(address: std::net::SocketAddr, room: &str) -> (Client, String) {
    let mut client = Client::open(address, "/ws", &[("sec-websocket-protocol", "wscluster.v1.json")]).await.unwrap();
    let session = client.next().await["session"].as_str().unwrap().to_owned();
    let answer = client.ask(json!({"type": "subscribe", "ref": 1, "room": room, "presence": true})).await;
    assert_eq!(answer["type"], "subscribed", "{answer}");
    let own = client.next().await;
    assert_eq!((&own["type"], names(&own)), (&json!("join"), set([session.as_str()])), "{own}");
    (client, session)
}

/// Waits until a gateway hears the others. What it has not heard before it would find by its sweep only.
async fn hears(admin: std::net::SocketAddr) {
    let mode = || async {
        let state: Value = serde_json::from_str(&http(admin, "GET", "/v1/connections", "", "").await.1).unwrap();
        state["redis"]["mode"].clone()
    };
    until(|| async { mode().await == "notifications" }).await;
}

fn names(frame: &Value) -> BTreeSet<String> {
    frame["members"].as_array().unwrap().iter().map(|each| each["session"].as_str().unwrap().to_owned()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(ToOwned::to_owned).into()
}

async fn told(client: &mut Client, kind: &str, sessions: BTreeSet<String>, count: usize) {
    let frame = client.next().await;
    assert_eq!((&frame["type"], &frame["count"]), (&json!(kind), &json!(count)), "{frame}");
    assert_eq!(names(&frame), sessions);
}

async fn presence(client: &mut Client, room: &str) -> Value {
    client.ask(json!({"type": "presence", "ref": 6, "room": room})).await
}

async fn check_comings_and_goings(one: &Gateway, two: &Gateway) {
    let (mut a, a_id) = listed(one.public, "lobby").await;
    let (mut b, b_id) = listed(two.public, "lobby").await;
    told(&mut a, "join", set([&b_id]), 2).await;
    let answer = presence(&mut b, "lobby").await;
    assert_eq!((&answer["type"], &answer["ref"], &answer["count"]), (&json!("presence"), &json!(6), &json!(2)));
    assert_eq!(names(&answer), set([&a_id, &b_id]));
    let mut outside = one.client().await;
    outside.subscribe("lobby").await;
    assert_eq!(names(&presence(&mut outside, "lobby").await), set([&a_id, &b_id]), "who is not listed may ask");
    assert_eq!(presence(&mut outside, "elsewhere").await["count"], 0);
    b.ask(json!({"type": "unsubscribe", "room": "lobby"})).await;
    told(&mut a, "leave", set([&b_id]), 1).await;
    let (c, c_id) = listed(two.public, "lobby").await;
    told(&mut a, "join", set([&c_id]), 2).await;
    c.leave().await;
    told(&mut a, "leave", set([&c_id]), 1).await;
    let (d, d_id) = listed(one.public, "lobby").await;
    told(&mut a, "join", set([&d_id]), 2).await;
    drop(d);
    told(&mut a, "leave", set([&d_id]), 1).await;
    assert_eq!(one.metric("ws_presence_members").await, 1);
    a.leave().await;
    until(|| async { one.metric("ws_presence_rooms").await == 0 }).await;
}

#[tokio::test]
async fn comings_and_goings_are_told_on_one_gateway() {
    let gateway = Gateway::start("", None).await;
    check_comings_and_goings(&gateway, &gateway).await;
}

#[tokio::test]
async fn comings_and_goings_are_told_across_gateways() {
    let redis = RedisServer::start(&[]).await;
    let (one, two) = (Gateway::start("", Some(&redis.url())).await, Gateway::start("", Some(&redis.url())).await);
    hears(one.admin).await;
    hears(two.admin).await;
    check_comings_and_goings(&one, &two).await;
    until(|| async { redis.command(&["KEYS", "*"]).await.is_empty() }).await;
}

#[tokio::test]
async fn the_members_of_a_killed_gateway_leave_within_its_lease() {
    let redis = RedisServer::start(&[]).await;
    let one = Process::start(SHORT, Some(&redis.url())).await;
    let mut two = Process::start(SHORT, Some(&redis.url())).await;
    let (mut a, _) = listed(one.public, "lobby").await;
    let (_b, b_id) = listed(two.public, "lobby").await;
    told(&mut a, "join", set([&b_id]), 2).await;
    let killed = Instant::now();
    two.child.kill().await.unwrap();
    told(&mut a, "leave", set([&b_id]), 1).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(2500), "a lease of two seconds, and the time to notice: {took:?}");
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_takes_its_members_along() {
    let redis = RedisServer::start(&[]).await;
    let one = Process::start("presence: {leaseSeconds: 600}", Some(&redis.url())).await;
    let mut two = Process::start("presence: {leaseSeconds: 600}", Some(&redis.url())).await;
    hears(one.admin).await;
    hears(two.admin).await;
    let (mut a, _) = listed(one.public, "lobby").await;
    let (_b, b_id) = listed(two.public, "lobby").await;
    told(&mut a, "join", set([&b_id]), 2).await;
    two.signal("INT").await;
    told(&mut a, "leave", set([&b_id]), 1).await;
    assert!(two.child.wait().await.unwrap().success());
}

#[tokio::test]
async fn nothing_depends_on_a_hint() {
    let redis = RedisServer::start(&["--rename-command", "PUBLISH", ""]).await;
    let (one, two) = (Gateway::start(SHORT, Some(&redis.url())).await, Gateway::start(SHORT, Some(&redis.url())).await);
    one.connected().await;
    two.connected().await;
    let (mut a, _) = listed(one.public, "lobby").await;
    let (b, b_id) = listed(two.public, "lobby").await;
    told(&mut a, "join", set([&b_id]), 2).await;
    b.leave().await;
    told(&mut a, "leave", set([&b_id]), 1).await;
}

#[tokio::test]
async fn while_redis_is_away_nobody_leaves_and_afterwards_all_are_listed_again() {
    // Nothing is saved: on its return Redis knows nobody.
    let mut redis = RedisServer::start(&[]).await;
    let (one, two) = (Gateway::start(SHORT, Some(&redis.url())).await, Gateway::start(SHORT, Some(&redis.url())).await);
    one.connected().await;
    two.connected().await;
    let (mut a, a_id) = listed(one.public, "lobby").await;
    let (b, b_id) = listed(two.public, "lobby").await;
    told(&mut a, "join", set([&b_id]), 2).await;
    redis.stop().await;
    until(|| async { one.connections().await["redis"]["connected"] == false }).await;
    assert_eq!(presence(&mut a, "lobby").await["code"], "unavailable");
    redis.launch().await;
    one.connected().await;
    two.connected().await;
    // That the room's messages may be gone is told; that anybody left is not.
    assert_eq!(a.next().await["type"], "resync");
    until(|| async { redis.command(&["ZCARD", "wscluster/presence/{room:lobby}"]).await == "2" }).await;
    // The next thing that is told is what really happens next.
    b.leave().await;
    told(&mut a, "leave", set([&b_id]), 1).await;
    assert_eq!(names(&presence(&mut a, "lobby").await), set([&a_id]));
}

#[tokio::test]
async fn a_large_room_is_counted_and_some_of_it_is_named() {
    let yaml = "presence: {maxListed: 20}";
    let gateway = Gateway::start(yaml, None).await;
    let (mut first, _) = listed(gateway.public, "a").await;
    let mut others = Vec::new();
    for _ in 0..19 {
        others.push(listed(gateway.public, "a").await.0);
    }
    assert_eq!(counts_until(&mut first, 20).await, 19, "up to the limit all are named");
    for _ in 0..10 {
        let mut client = gateway.client().await;
        client.ask(json!({"type": "subscribe", "ref": 1, "room": "a", "presence": true})).await;
        others.push(client);
    }
    assert_eq!(counts_until(&mut first, 30).await, 0, "above it nobody is");
    let answer = presence(&mut first, "a").await;
    assert_eq!((names(&answer).len(), &answer["count"]), (20, &json!(30)));
    others.truncate(10);
    let all = loop {
        let frame = first.next().await;
        if frame["type"] == "presence" {
            break frame;
        }
        assert_eq!((&frame["type"], names(&frame).len()), (&json!("leave"), 0), "{frame}");
    };
    assert!(all["ref"].is_null() && all["count"].as_u64().unwrap() <= 18, "{all}");
    assert_eq!(names(&all).len() as u64, all["count"].as_u64().unwrap());
}

/// Reads what is told until `count` are there; returns how many were named.
async fn counts_until(client: &mut Client, count: u64) -> usize {
    let mut named = 0;
    loop {
        let frame = client.next().await;
        assert_eq!(frame["type"], "join", "{frame}");
        named += names(&frame).len();
        if frame["count"] == count {
            return named;
        }
    }
}

#[tokio::test]
async fn many_who_come_at_once_are_told_in_few_frames() {
    let redis = RedisServer::start(&[]).await;
    let (one, two) = (Gateway::start("", Some(&redis.url())).await, Gateway::start("", Some(&redis.url())).await);
    hears(one.admin).await;
    hears(two.admin).await;
    let (mut first, _) = listed(one.public, "a").await;
    let mut others = Vec::new();
    for _ in 0..150 {
        others.push(two.client().await);
    }
    for other in &mut others {
        other.send(json!({"type": "subscribe", "ref": 1, "room": "a", "presence": true})).await;
    }
    let (mut frames, mut named) = (0, 0);
    while named < 150 {
        let frame = first.next().await;
        assert!(names(&frame).len() <= 100);
        (frames, named) = (frames + 1, named + names(&frame).len());
    }
    assert!(frames <= 75, "{frames} frames for 150 members");
    let writes = two.metric("ws_presence_operations_total{operation=\"write\"}").await;
    assert!(writes < 150, "{writes} writes for 150 members");
}

#[tokio::test]
async fn presence_needs_the_right_to_subscribe() {
    let gateway = Gateway::start(r#"auth: {anonymous: {subscribe: ["open"]}}"#, None).await;
    let mut client = gateway.client().await;
    assert_eq!(presence(&mut client, "closed").await["code"], "forbidden");
    assert_eq!(presence(&mut client, "open").await["count"], 0);
}
