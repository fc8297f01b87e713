//! Reading a room back, and publishing once, over the wire: on the embedded log and on a real Redis.

mod support;

use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{Client, Gateway};

const FAST: &str = "limits: {messagesPerSecond: 100000, burst: 100000}\nstreams: {trim: {maxLen: 100000}}";

async fn history(client: &mut Client, before: Option<&str>, limit: usize) -> Value {
    let mut request = json!({"type": "history", "ref": 5, "room": "a", "limit": limit});
    if let Some(before) = before {
        request["before"] = json!(before);
    }
    client.ask(request).await
}

/// Ids and payloads of a page.
fn messages(page: &Value) -> Vec<(String, Value)> {
    assert_eq!((&page["type"], &page["ref"], &page["room"]), (&json!("history"), &json!(5), &json!("a")), "{page}");
    let read = |each: &Value| (each["id"].as_str().unwrap().to_owned(), each["payload"].clone());
    page["messages"].as_array().unwrap().iter().map(read).collect()
}

/// Pages back from the newest message to the first.
async fn all_pages(client: &mut Client, limit: usize) -> Vec<(String, Value)> {
    let (mut all, mut before): (Vec<(String, Value)>, Option<String>) = (Vec::new(), None);
    loop {
        let page = history(client, before.as_deref(), limit).await;
        let found = messages(&page);
        assert!(found.len() <= limit);
        assert!(!found.is_empty() || page["more"] == false, "an empty page ends it");
        before = found.first().map(|(id, _)| id.clone());
        all.splice(0..0, found);
        if page["more"] == false {
            return all;
        }
    }
}

/// Publishes messages of which some are so large that few fit into a page.
async fn fill(client: &mut Client, count: usize) -> Vec<(String, Value)> {
    let mut written = Vec::new();
    for n in 0..count {
        let payload = if n % 7 == 3 { json!("x".repeat(60_000)) } else { json!(n) };
        let answer = client.publish("a", payload.clone()).await;
        written.push((answer["id"].as_str().unwrap().to_owned(), payload));
    }
    written
}

async fn check_pages(gateway: &Gateway) -> Vec<(String, Value)> {
    let mut client = gateway.client().await;
    assert_eq!(all_pages(&mut client, 10).await, [], "a room that nobody wrote to");
    let written = fill(&mut client, 60).await;
    // 59, 60 and 61 are the limits just below, at and above what there is.
    for limit in [1, 2, 7, 20, 59, 60, 61, 200] {
        assert_eq!(all_pages(&mut client, limit).await, written, "limit {limit}");
    }
    assert_eq!(messages(&history(&mut client, Some(&written[0].0), 5).await), []);
    assert_eq!(messages(&history(&mut client, Some("0-0"), 5).await), []);
    for wrong in [0, 201] {
        assert_eq!(history(&mut client, None, wrong).await["code"], "bad_request", "limit {wrong}");
    }
    written
}

#[tokio::test]
async fn pages_joined_are_the_whole_embedded_room() {
    check_pages(&Gateway::start(FAST, None).await).await;
}

#[tokio::test]
async fn pages_joined_are_the_whole_stream() {
    let redis = RedisServer::start(&[]).await;
    let gateway = Gateway::start(FAST, Some(&redis.url())).await;
    gateway.connected().await;
    let written = check_pages(&gateway).await;
    let stream = redis.command(&["XRANGE", "room:a", "-", "+"]).await;
    let ids: Vec<_> = stream.split(' ').filter(|word| written.iter().any(|(id, _)| id == word)).collect();
    assert_eq!(ids, written.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_is_for_those_who_may_subscribe() {
    let yaml = r#"auth: {anonymous: {subscribe: ["open"], publish: ["*"]}}"#;
    let gateway = Gateway::start(yaml, None).await;
    let mut client = gateway.client().await;
    assert_eq!(history(&mut client, None, 5).await["code"], "forbidden");
    let answer = client.ask(json!({"type": "history", "ref": 1, "room": "open"})).await;
    assert_eq!((&answer["messages"], &answer["more"]), (&json!([]), &json!(false)));
}

async fn publish(client: &mut Client, room: &str, payload: u64, key: &str) -> Value {
    client.ask(json!({"type": "publish", "ref": 4, "room": room, "payload": payload, "idempotencyKey": key})).await
}

async fn check_once(one: &Gateway, other: &Gateway) {
    let (mut here, mut there) = (one.client().await, other.client().await);
    let first = publish(&mut here, "a", 1, "k").await;
    assert_eq!(first["type"], "ok", "{first}");
    assert_eq!(publish(&mut here, "a", 1, "k").await["id"], first["id"]);
    assert_eq!(publish(&mut there, "a", 1, "k").await["id"], first["id"], "by whatever gateway");
    assert_eq!(all_pages(&mut here, 10).await, [(first["id"].as_str().unwrap().to_owned(), json!(1))]);
    assert_ne!(publish(&mut here, "a", 1, "other").await["id"], first["id"]);
    let elsewhere = publish(&mut here, "b", 1, "k").await;
    assert_eq!(elsewhere["type"], "ok", "a key counts within its room");
    let longest = "k".repeat(200);
    assert_eq!(publish(&mut here, "a", 2, &longest).await["type"], "ok");
    for wrong in ["", "a\nb", &"k".repeat(201)] {
        assert_eq!(publish(&mut here, "a", 2, wrong).await["code"], "bad_request", "{wrong:?}");
    }
    assert_eq!(all_pages(&mut here, 10).await.len(), 3);
}

#[tokio::test]
async fn a_publish_with_the_same_key_is_written_once_to_the_embedded_log() {
    let gateway = Gateway::start("", None).await;
    check_once(&gateway, &gateway).await;
}

#[tokio::test]
async fn a_publish_with_the_same_key_is_written_once_to_redis() {
    let redis = RedisServer::start(&[]).await;
    let (one, two) = (Gateway::start("", Some(&redis.url())).await, Gateway::start("", Some(&redis.url())).await);
    one.connected().await;
    two.connected().await;
    check_once(&one, &two).await;
    assert_eq!(redis.command(&["XLEN", "room:a"]).await, "3");
}

#[tokio::test]
async fn a_key_opens_no_room_that_is_closed() {
    let yaml = r#"auth: {anonymous: {subscribe: ["*"], publish: ["open"]}}"#;
    let gateway = Gateway::start(yaml, None).await;
    let mut client = gateway.client().await;
    assert_eq!(publish(&mut client, "a", 1, "k").await["code"], "forbidden");
    assert_eq!(publish(&mut client, "open", 1, "k").await["type"], "ok");
}
