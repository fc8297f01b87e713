//! Limits on what a client asks for.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, soon, until};

/// A rate that is in nobody's way.
const FAST: &str = "messagesPerSecond: 1000000, burst: 1000000";

/// A `publish` frame of exactly so many bytes.
fn publish_of(bytes: usize) -> String {
    let frame = |filling: usize| format!(r#"{{"type":"publish","room":"a","payload":"{}"}}"#, "x".repeat(filling));
    frame(bytes - frame(0).len())
}

#[tokio::test]
async fn max_message_bytes_is_the_length_of_the_whole_frame() {
    let gateway = Gateway::start("limits: {maxMessageBytes: 1000}", None).await;
    let mut client = gateway.client().await;
    for bytes in [999, 1000] {
        client.send_text(&publish_of(bytes)).await;
        assert_eq!(client.next().await["type"], "ok", "{bytes} bytes");
    }
    client.send_text(&publish_of(1001)).await;
    let answer = client.next().await;
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("too_large")));
    assert_eq!(client.close_code().await, 1009);
    drop(client);
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"too_large\"}").await == 1 }).await;
}

#[tokio::test]
async fn the_welcome_names_the_message_limit_in_force() {
    let gateway = Gateway::start("limits: {maxMessageBytes: 1234}", None).await;
    let offer = [("sec-websocket-protocol", "wscluster.v1.json")];
    let mut client = Client::open(gateway.public, "/ws", &offer).await.unwrap();
    assert_eq!(client.next().await["maxMessageBytes"], 1234);
}

#[tokio::test]
async fn max_rooms_per_connection_counts_the_rooms_that_a_client_is_in() {
    let gateway = Gateway::start(&format!("limits: {{maxRoomsPerConnection: 3, {FAST}}}"), None).await;
    let mut client = gateway.client().await;
    for room in ["1", "2", "3", "3"] {
        client.subscribe(room).await;
    }
    let refused = client.ask(json!({"type": "subscribe", "ref": 9, "room": "4"})).await;
    assert_eq!((&refused["code"], &refused["ref"]), (&json!("too_many_rooms"), &json!(9)));
    assert_eq!(client.ask(json!({"type": "unsubscribe", "ref": 1, "room": "2"})).await["type"], "ok");
    client.subscribe("4").await;
    let refused = client.ask(json!({"type": "subscribe", "ref": 9, "room": "2"})).await;
    assert_eq!(refused["code"], "too_many_rooms");
    let other = gateway.client().await.subscribe("5").await;
    assert_eq!(other["type"], "subscribed", "another connection has rooms of its own");
}

/// Asks until one more passes; returns how many were refused meanwhile.
async fn until_one_passes(client: &mut Client, request: &Value) -> u32 {
    soon(async {
        let mut refused = 0;
        while client.ask(request.clone()).await["code"] == "rate_limited" {
            refused += 1;
        }
        refused
    })
    .await
}

#[tokio::test]
async fn messages_per_second_is_a_burst_and_then_the_rate() {
    const RATE: f64 = 2.0;
    let gateway = Gateway::start("limits: {messagesPerSecond: 2, burst: 5}", None).await;
    let requests = [
        json!({"type": "publish", "ref": 1, "room": "a", "payload": 1}),
        json!({"type": "history", "ref": 1, "room": "a"}),
        json!({"type": "unsubscribe", "ref": 1, "room": "never"}),
        json!({"type": "no such type", "ref": 1}),
    ];
    for request in requests {
        let mut client = gateway.client().await;
        let began = Instant::now();
        for n in 0..5 {
            assert_ne!(client.ask(request.clone()).await["code"], "rate_limited", "request {n}: {request}");
        }
        let refused = until_one_passes(&mut client, &request).await;
        let seconds = began.elapsed().as_secs_f64();
        // The gateway's clock has milliseconds.
        assert!(refused > 0 && (seconds + 0.001) * RATE >= 1.0, "the sixth came after {seconds} s: {request}");
    }
}

#[tokio::test]
async fn a_ping_and_coming_back_to_all_rooms_are_no_flood() {
    let gateway = Gateway::start("limits: {messagesPerSecond: 1, burst: 1, maxRoomsPerConnection: 20}", None).await;
    let mut client = gateway.client().await;
    for n in 0..50 {
        assert_eq!(client.ask(json!({"type": "ping", "ref": n})).await, json!({"type": "pong", "ref": n}));
    }
    for n in 0..20 {
        client.subscribe(&n.to_string()).await;
    }
    let refused = client.ask(json!({"type": "subscribe", "ref": 1, "room": "0"})).await;
    assert_eq!(refused["code"], "rate_limited", "but more than that is one");
}

#[tokio::test]
async fn a_raw_message_over_the_rate_is_dropped_and_counted() {
    let gateway = Gateway::start("limits: {messagesPerSecond: 1, burst: 3}", None).await;
    let (mut raw, began) = (Client::raw(gateway.public, "room=a").await, Instant::now());
    for n in 0..10 {
        raw.send_text(&n.to_string()).await;
    }
    for n in 0..3 {
        assert_eq!(raw.next_text().await, n.to_string());
    }
    let refused = || gateway.metric("ws_requests_refused_total{code=\"rate_limited\"}");
    until(|| async { refused().await + gateway.metric("ws_messages_published_total").await == 10 }).await;
    let (refused, passed) = (refused().await, 1 + began.elapsed().as_secs());
    assert!((7 - passed..=7).contains(&refused), "{refused} were refused");
}

#[tokio::test]
async fn room_ids_have_up_to_200_bytes_in_every_request() {
    let gateway = Gateway::start(&format!("limits: {{{FAST}}}"), None).await;
    let mut client = gateway.client().await;
    let rooms = [
        (String::new(), false),
        ("a".into(), true),
        ("a".repeat(199), true),
        ("a".repeat(200), true),
        ("a".repeat(201), false),
        ("é".repeat(100), true),
        ("é".repeat(101), false),
        ("tab\t".into(), false),
    ];
    for (room, good) in rooms {
        let requests = [
            json!({"type": "subscribe", "ref": 1, "room": room}),
            json!({"type": "history", "ref": 1, "room": room}),
            json!({"type": "unsubscribe", "ref": 1, "room": room}),
            json!({"type": "publish", "ref": 1, "room": room, "payload": 1}),
        ];
        for request in requests {
            let answer = client.ask(request.clone()).await;
            let expect = if good { &Value::Null } else { &json!("bad_request") };
            assert_eq!(&answer["code"], expect, "{request}");
        }
    }
}

#[tokio::test]
async fn references_are_numbers_up_to_two_to_the_64() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    for number in ["0", "18446744073709551614", "18446744073709551615"] {
        client.send_text(&format!(r#"{{"type":"ping","ref":{number}}}"#)).await;
        assert_eq!(client.next_text().await, format!(r#"{{"type":"pong","ref":{number}}}"#));
    }
    for number in ["18446744073709551616", "-1", "1.5", "\"1\""] {
        client.send_text(&format!(r#"{{"type":"ping","ref":{number}}}"#)).await;
        assert_eq!(client.next().await["code"], "bad_request", "{number}");
    }
}

#[tokio::test]
async fn a_page_of_history_has_up_to_200_messages() {
    let gateway = Gateway::start(&format!("limits: {{{FAST}}}"), None).await;
    let mut client = gateway.client().await;
    for n in 0..201 {
        client.publish("a", json!(n)).await;
    }
    for limit in [1, 199, 200] {
        let page = client.ask(json!({"type": "history", "ref": 1, "room": "a", "limit": limit})).await;
        assert_eq!((page["messages"].as_array().unwrap().len(), &page["more"]), (limit, &json!(true)));
        assert_eq!(page["messages"][limit - 1]["payload"], 200, "the newest come, oldest first");
    }
    for limit in [0, 201] {
        let refused = client.ask(json!({"type": "history", "ref": 1, "room": "a", "limit": limit})).await;
        assert_eq!(refused["code"], "bad_request", "{limit}");
    }
    let page = client.ask(json!({"type": "history", "ref": 1, "room": "a"})).await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 50, "where nothing is said");
}

#[tokio::test]
async fn a_page_of_history_has_up_to_256_kib_of_payloads() {
    let gateway = Gateway::start(&format!("limits: {{maxMessageBytes: 1000000, {FAST}}}"), None).await;
    let mut client = gateway.client().await;
    // Two payloads, quotes included: together below, at and above the bound. And one that is alone above it.
    let halves = 128 * 1024;
    for (room, first, expect) in [("below", halves - 1, 2), ("at", halves, 2), ("above", halves + 1, 1)] {
        client.publish(room, json!("x".repeat(first - 2))).await;
        client.publish(room, json!("x".repeat(halves - 2))).await;
        let page = client.ask(json!({"type": "history", "ref": 1, "room": room})).await;
        let messages = page["messages"].as_array().unwrap().len();
        assert_eq!((messages, &page["more"]), (expect, &json!(expect == 1)), "{room}");
    }
    client.publish("alone", json!("x".repeat(3 * halves))).await;
    let page = client.ask(json!({"type": "history", "ref": 1, "room": "alone"})).await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 1, "or nobody could ever get past it");
}

#[tokio::test]
async fn a_replay_has_up_to_10000_messages() {
    let yaml = format!("streams: {{trim: {{maxLen: 20000}}}}\nlimits: {{{FAST}}}");
    let gateway = Gateway::start(&yaml, None).await;
    let (mut writer, mut first) = (gateway.client().await, String::new());
    for sent in [9_999, 10_000, 10_001] {
        let before = if first.is_empty() { 0 } else { sent - 1 };
        for n in before..sent {
            let id = writer.publish("a", json!(n)).await["id"].as_str().unwrap().to_owned();
            if n == 0 {
                first = id;
            }
        }
        let mut reader = gateway.client().await;
        let answer = reader.resume("a", "0-0").await;
        let replayed = answer["replayed"].as_u64().unwrap();
        assert_eq!(answer["recovered"], sent <= 10_000, "{sent} messages, {replayed} replayed");
        assert!(if sent <= 10_000 { replayed == sent } else { (1..=10_000).contains(&replayed) });
        for n in sent - replayed..sent {
            assert_eq!(reader.message().await.1, json!(n));
        }
    }
    let mut behind = gateway.client().await;
    assert_eq!(behind.resume("a", &first).await["recovered"], true, "10,000 come after the first");
}
