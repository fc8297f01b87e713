//! A rebalance over real sockets: who is told to move, how fast, and who is left alone.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, Gateway, http, until};

async fn ask(gateway: &Gateway, method: &str, wish: &str) -> Value {
    let (status, body) = http(gateway.admin, method, "/v1/rebalance", "", wish).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn status(gateway: &Gateway) -> Value {
    ask(gateway, "GET", "").await
}

/// Clients that came one after another.
async fn come(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(gateway.client().await);
        // The gateway's clock tells them apart by milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    clients
}

/// What it was told until now. Two pings: a shard looks at its sockets before it looks at what the gateway says.
async fn told(client: &mut Client) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..2 {
        client.send(json!({"type": "ping"})).await;
        loop {
            match client.next().await["type"].as_str().unwrap() {
                "pong" => break,
                kind => told.push(kind.to_owned()),
            }
        }
    }
    told
}

#[tokio::test]
async fn the_surplus_is_told_the_newest_first_and_to_the_pace() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let raw = [Client::raw(gateway.public, "room=a").await, Client::raw(gateway.public, "room=a").await];
    let mut clients = come(&gateway, 6).await;
    let began = Instant::now();
    let answer = ask(&gateway, "PUT", r#"{"keep": 5, "connectionsPerSecond": 4}"#).await;
    assert_eq!(answer["wish"], json!({"keep": 5, "connectionsPerSecond": 4, "settledForSeconds": 0}));
    until(async || status(&gateway).await["noticed"] == 3).await;
    assert!(began.elapsed() >= Duration::from_millis(700), "three at four a second");
    for client in &mut clients[3..] {
        let notice = client.next().await;
        assert_eq!(notice["type"], "drain");
        assert!(notice["retryAfterMs"].as_u64().unwrap() <= 500, "{notice}");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(told(client).await, [""; 0], "client {number}: the older ones stay, and nobody is told twice");
    }
    // Who was told stays as long as it likes.
    let now = status(&gateway).await;
    assert_eq!((&now["outstanding"], &now["moved"]), (&json!(3), &json!(0)));
    clients.truncate(3);
    until(async || status(&gateway).await["moved"] == 3).await;
    assert_eq!(gateway.metric("ws_rebalance_noticed_total").await, 3);
    assert_eq!(gateway.metric("ws_rebalance_moved_total").await, 3);
    assert_eq!(gateway.metric("ws_drain_noticed_total").await, 0, "it is no drain");
    assert_eq!(http(gateway.admin, "GET", "/readyz", "", "").await.0, 200, "it goes on taking connections");
    drop(raw);
}

#[tokio::test]
async fn raw_clients_and_those_who_came_lately_stay() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let mut old = come(&gateway, 1).await.remove(0);
    let mut raw = Client::raw(gateway.public, "room=a").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut new = come(&gateway, 2).await;
    ask(&gateway, "PUT", r#"{"keep": 0, "connectionsPerSecond": 1000, "settledForSeconds": 1}"#).await;
    assert_eq!(old.next().await["type"], "drain");
    for client in &mut new {
        assert_eq!(told(client).await, [""; 0]);
    }
    old.publish("a", json!("still here")).await;
    assert_eq!(raw.next_text().await, r#""still here""#, "it was told nothing before");
}

#[tokio::test]
async fn it_ends_when_it_is_withdrawn_or_a_drain_begins() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let mut clients = come(&gateway, 3).await;
    ask(&gateway, "PUT", r#"{"keep": 0, "connectionsPerSecond": 1}"#).await;
    assert_eq!(ask(&gateway, "DELETE", "").await["wish"], Value::Null);
    ask(&gateway, "PUT", r#"{"keep": 2, "connectionsPerSecond": 1000}"#).await;
    until(async || status(&gateway).await["noticed"] == 1).await;
    assert_eq!(http(gateway.admin, "POST", "/v1/drain", "", "{}").await.0, 200);
    until(async || status(&gateway).await["wish"].is_null()).await;
    assert!(ask(&gateway, "PUT", r#"{"keep": 0, "connectionsPerSecond": 1000}"#).await["wish"].is_null());
    // The drain tells everybody, those too who were told before.
    assert_eq!(clients[0].next().await["type"], "drain");
    assert_eq!(clients[1].next().await["type"], "drain");
    assert_eq!([clients[2].next().await["type"].clone(), clients[2].next().await["type"].clone()], ["drain", "drain"]);
}

#[tokio::test]
async fn a_bad_wish_changes_nothing_and_says_why() {
    let gateway = Gateway::start("", None).await;
    let (code, body) = http(gateway.admin, "PUT", "/v1/rebalance", "", r#"{"keep": "x"}"#).await;
    assert_eq!(code, 400);
    assert!(body.starts_with("not a rebalance request: invalid type: string \"x\", expected usize"), "{body}");
    assert!(status(&gateway).await["wish"].is_null());
}
