//! Raw clients: notice, a short grace, 1012. They count like all others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::drain;
use crate::support::{Client, Gateway, until};

#[tokio::test]
async fn raw_clients_are_told_to_the_pace_and_count_as_moved() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let mut raw = Vec::new();
    for _ in 0..3 {
        raw.push(Client::raw(gateway.public, "room=a").await);
    }
    let mut other = gateway.client().await;
    let began = Instant::now();
    drain(&gateway, &json!({"connectionsPerSecond": 2})).await;
    // They came before it, so they are told before it.
    assert_eq!(other.next().await["type"], "drain");
    assert!(began.elapsed() >= Duration::from_millis(1500), "four at two a second");
    for client in &mut raw {
        let notice: Value = serde_json::from_str(&client.next_text().await).unwrap();
        let after = notice["retryAfterMs"].as_u64().unwrap();
        assert_eq!(notice, json!({"type": "drain", "retryAfterMs": after}));
    }
    // It works on until the end of the grace.
    other.publish("a", json!(1)).await;
    assert_eq!(raw[2].next_text().await, "1");
    for client in &mut raw {
        assert_eq!(client.close_code().await, 1012);
    }
    assert!(began.elapsed() >= Duration::from_secs(3));
    drop(raw);
    until(async || gateway.drain_status().await["moved"] == 3).await;
    let status = gateway.drain_status().await;
    assert_eq!((&status["noticed"], &status["forced"], &status["remaining"]), (&json!(4), &json!(0), &json!(1)));
    assert_eq!(gateway.metric("ws_connections_closed_total{reason=\"drained\"}").await, 3);
    assert_eq!(gateway.metric("ws_drain_moved_total").await, 3);
}
