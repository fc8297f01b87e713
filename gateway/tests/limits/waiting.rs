//! Limits on what waits: for one client, for all of them, and for a pong.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use wscluster_gateway::entry::frame_cost;

use crate::support::{Client, Gateway, soon, until};

const FAST: &str = "limits: {maxMessageBytes: 1000000, messagesPerSecond: 1000000, burst: 1000000}";

/// One frame that is as large as all that may wait.
#[tokio::test]
async fn max_buffered_bytes_may_wait_for_a_client_and_not_one_more() {
    const LIMIT: usize = 20_000;
    let header = frame_cost(LIMIT) - LIMIT;
    for (what, waits, delivered) in [("below", LIMIT - 1, true), ("at", LIMIT, true), ("above", LIMIT + 1, false)] {
        let yaml = format!("backpressure: {{maxBufferedBytes: {LIMIT}}}\n{FAST}");
        let gateway = Gateway::start(&yaml, None).await;
        let (mut member, mut writer) = (Client::raw(gateway.public, "room=a").await, gateway.client().await);
        // Its own text back says that it is in the room.
        member.send_text("here").await;
        assert_eq!(member.next_text().await, "here");
        let payload = json!("x".repeat(waits - header - 2));
        writer.publish("a", payload.clone()).await;
        if delivered {
            assert_eq!(member.next_text().await, payload.to_string(), "{what}");
        } else {
            assert_eq!(member.close_code().await, 1013, "{what}");
            assert_eq!(gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await, 1);
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_1013_and_may_resume() {
    let gateway = Gateway::start(&format!("backpressure: {{maxBufferedBytes: 200000}}\n{FAST}"), None).await;
    let (mut slow, mut writer) = (gateway.client().await, gateway.client().await);
    slow.subscribe("a").await;
    let (payload, mut sent) = (json!("x".repeat(10_000)), Vec::new());
    while gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await == 0 {
        sent.push(writer.publish("a", payload.clone()).await["id"].as_str().unwrap().to_owned());
        assert!(gateway.metric("ws_send_buffer_bytes").await <= 200_000);
        assert!(sent.len() < 1000, "it is never closed");
    }
    let (got, code) = read_to_the_end(&mut slow).await;
    assert_eq!((got[..] == sent[..got.len()], code), (true, 1013), "what it got is whole and in order");
    drop(slow);
    until(|| async { gateway.metric("ws_send_buffer_bytes").await == 0 }).await;
    let mut again = gateway.client().await;
    let answer = again.resume("a", got.last().map_or("0-0", |id| id)).await;
    assert_eq!(
        (&answer["recovered"], answer["replayed"].as_u64()),
        (&json!(true), Some((sent.len() - got.len()) as u64))
    );
}

/// The ids of what still comes, and the close code.
async fn read_to_the_end(client: &mut Client) -> (Vec<String>, u16) {
    let mut ids = Vec::new();
    soon(async {
        loop {
            match client.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    ids.push(frame["id"].as_str().unwrap().to_owned());
                }
                Some(Ok(Message::Close(Some(frame)))) => return (ids, frame.code.into()),
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn over_the_total_the_fullest_goes_first_and_the_others_get_everything() {
    const TOTAL: u64 = 400_000;
    let yaml = format!("backpressure: {{maxBufferedBytes: 10000000, totalBufferBytes: {TOTAL}}}\n{FAST}");
    let gateway = Gateway::start(&yaml, None).await;
    let (mut full, mut fuller) = (gateway.client().await, gateway.client().await);
    let (mut healthy, mut writer) = (gateway.client().await, gateway.client().await);
    full.subscribe("full").await;
    fuller.subscribe("fuller").await;
    healthy.subscribe("fuller").await;
    let (payload, mut to_full) = (json!("x".repeat(10_000)), Vec::new());
    let waiting = || gateway.metric("ws_send_buffer_bytes");
    // A third of the total waits for the one…
    while waiting().await < TOTAL / 3 {
        to_full.push(writer.publish("full", payload.clone()).await["id"].as_str().unwrap().to_owned());
    }
    // …and more than that for the other, before it is too much.
    let closed = || gateway.metric("ws_slow_closes_total{limit=\"total\"}");
    while closed().await == 0 {
        writer.publish("fuller", payload.clone()).await;
        assert_eq!(healthy.message().await.1, payload);
        // What is delivered in a turn of the shard may be over it until the turn's end.
        until(|| async { waiting().await <= TOTAL }).await;
    }
    assert_eq!(fuller.close_code().await, 1013);
    for id in &to_full {
        assert_eq!(&full.message().await.0, id);
    }
    writer.publish("fuller", json!("goes on")).await;
    assert_eq!(healthy.message().await.1, json!("goes on"));
    assert_eq!(closed().await, 1);
    assert_eq!(gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await, 0);
}

/// Takes pings, which the library answers, until there were so many.
async fn answer_pings(client: &mut Client, count: usize) {
    let mut pings = 0;
    soon(async {
        while pings < count {
            match client.socket.next().await {
                Some(Ok(Message::Ping(_))) => pings += 1,
                other => panic!("no ping but {other:?}"),
            }
        }
        client.socket.flush().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pong_in_time_keeps_the_connection_and_a_missing_one_ends_it_with_4408() {
    let gateway = Gateway::start("heartbeat: {intervalSeconds: 1, timeoutSeconds: 1}", None).await;
    let (mut answering, mut silent) =
        (Client::raw(gateway.public, "room=a").await, Client::raw(gateway.public, "room=a").await);
    let began = Instant::now();
    let missed = || gateway.metric("ws_connections_closed_total{reason=\"heartbeat\"}");
    answer_pings(&mut answering, 3).await;
    until(|| async { missed().await == 1 }).await;
    assert!(began.elapsed() >= Duration::from_millis(1490), "half an interval at least, and the timeout");
    assert_eq!(silent.close_code().await, 4408);
    // The other one has answered three times; from now on it does not.
    assert_eq!(gateway.connections().await["connections"], 1);
    until(|| async { missed().await == 2 }).await;
    assert_eq!(answering.close_code().await, 4408);
}
