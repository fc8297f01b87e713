//! Who comes while a gateway drains: it serves them, and tells them in their turn.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Error as WsError;

use crate::support::{Client, Gateway, until};
use crate::{drain, told};

#[tokio::test]
async fn who_comes_while_load_balancers_still_send_is_served_and_told_after_that() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60, minSeconds: 1}", None).await;
    let mut before = gateway.client().await;
    let began = Instant::now();
    drain(&gateway, &json!({})).await;
    assert_eq!(gateway.admin("GET", "/readyz").await, (503, "draining".into()));
    let (mut late, mut raw) = (gateway.client().await, Client::raw(gateway.public, "room=a").await);
    late.subscribe("a").await;
    raw.send_text("1").await;
    assert_eq!(late.message().await.1, json!(1));
    assert_eq!(raw.next_text().await, "1");
    assert_eq!(gateway.drain_status().await["noticed"], 0);
    assert_eq!(gateway.drain_status().await["rate"], 0.0);
    assert_eq!(told(&mut late).await, [""; 0]);
    assert_eq!(before.next().await["type"], "drain");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(late.next().await["type"], "drain");
    assert!(raw.next_text().await.contains(r#""type":"drain""#));
    assert_eq!(gateway.drain_status().await["noticed"], 3);
}

#[tokio::test]
async fn who_comes_after_that_is_told_at_once() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let mut before = gateway.client().await;
    drain(&gateway, &json!({})).await;
    assert_eq!(before.next().await["type"], "drain");
    before.leave().await;
    until(async || gateway.drain_status().await["state"] == "drained").await;
    // Drained, and still taken in.
    let (mut late, mut raw) = (gateway.client().await, Client::raw(gateway.public, "room=a").await);
    assert_eq!(late.next().await["type"], "drain");
    assert!(raw.next_text().await.contains(r#""type":"drain""#));
    // With the welcome: before the answer to a subscription that was asked for at once.
    let v1 = [("sec-websocket-protocol", "wscluster.v1.json")];
    let mut hasty = Client::open(gateway.public, "/ws", &v1).await.unwrap();
    hasty.send(json!({"type": "subscribe", "ref": 1, "room": "a"})).await;
    let mut types = Vec::new();
    for _ in 0..3 {
        types.push(hasty.next().await["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["welcome", "drain", "subscribed"]);
    assert_eq!(gateway.drain_status().await["state"], "draining");
    assert_eq!(late.publish("a", json!(1)).await["type"], "ok");
    assert_eq!(raw.next_text().await, "1");
}

#[tokio::test]
async fn those_who_come_late_wait_behind_those_who_were_there() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60, connectionsPerSecond: 4}", None).await;
    let mut there = Vec::new();
    for _ in 0..4 {
        there.push(gateway.client().await);
    }
    drain(&gateway, &json!({})).await;
    let mut late = gateway.client().await;
    assert_eq!(late.next().await["type"], "drain");
    for client in &mut there {
        assert_eq!(told(client).await, ["drain"]);
    }
}

#[tokio::test]
async fn after_the_deadline_nobody_is_taken_in() {
    let gateway = Gateway::start("", None).await;
    drain(&gateway, &json!({"timeoutSeconds": 0})).await;
    let refused = Client::open(gateway.public, "/ws?room=a", &[]).await.err();
    let Some(WsError::Http(response)) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(gateway.metric("ws_handshakes_rejected_total{reason=\"draining\"}").await, 1);
    drain(&gateway, &json!({"timeoutSeconds": 60})).await;
    assert_eq!(gateway.client().await.next().await["type"], "drain", "unless there is more time");
}
