//! Who does not read, over TLS: bounded, told, and counted as over a plain connection.

use serde_json::json;

use crate::gateway;
use crate::mounted::Mounted;
use crate::support::until;

/// What is encrypted and not sent is at most one record.
const RECORD: u64 = 17 * 1024;

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_1013_and_what_waits_is_bounded() {
    const MOST: u64 = 200_000;
    let mounted = Mounted::new();
    let yaml =
        format!("backpressure: {{maxBufferedBytes: {MOST}}}\nlimits: {{messagesPerSecond: 1000000, burst: 1000000}}");
    let gateway = gateway(&mounted, &yaml).await;
    let (mut slow, mut writer) = (mounted.client(gateway.public).await, mounted.client(gateway.public).await);
    slow.subscribe("a").await;
    let (payload, mut sent, mut most) = (json!("x".repeat(10_000)), 0, 0);
    while gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await == 0 {
        assert_eq!(writer.publish("a", payload.clone()).await["type"], "ok");
        sent += 1;
        let waiting = gateway.metric("ws_send_buffer_bytes").await;
        assert!(waiting <= MOST, "{waiting}");
        most = most.max(waiting);
        assert!(sent < 1000, "it is never closed");
    }
    assert!(most > MOST - 3 * RECORD, "what waits was told: {most}");
    assert_eq!(slow.close_code().await, 1013);
    drop(slow);
    until(|| async { gateway.metric("ws_send_buffer_bytes").await == 0 }).await;
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"slow\"}").await == 1 }).await;
}

#[tokio::test]
async fn a_client_that_pauses_gets_everything_in_order() {
    const MESSAGES: u64 = 300;
    let mounted = Mounted::new();
    let yaml = "backpressure: {maxBufferedBytes: 5000000}\nlimits: {messagesPerSecond: 1000000, burst: 1000000}";
    let gateway = gateway(&mounted, yaml).await;
    let (mut slow, mut writer) = (mounted.client(gateway.public).await, mounted.client(gateway.public).await);
    slow.subscribe("a").await;
    let filling = "x".repeat(5_000);
    for n in 0..MESSAGES {
        writer.publish("a", json!({"n": n, "filling": filling})).await;
    }
    assert!(gateway.metric("ws_send_buffer_bytes").await > 500_000);
    for n in 0..MESSAGES {
        assert_eq!(slow.message().await.1["n"], n);
    }
    until(|| async { gateway.metric("ws_send_buffer_bytes").await == 0 }).await;
}
