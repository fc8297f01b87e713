//! One gateway on its embedded log, on real sockets.

mod support;

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::json;
use support::{Client, Gateway, http, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use wscluster_gateway::server::Shutdown;

#[tokio::test]
async fn a_published_message_reaches_all_members_and_nobody_else() {
    let gateway = Gateway::start("", None).await;
    let (mut one, mut two, mut other) = (gateway.client().await, gateway.client().await, gateway.client().await);
    one.subscribe("lobby").await;
    two.subscribe("lobby").await;
    other.subscribe("elsewhere").await;
    let answer = other.publish("lobby", json!({"x": [1, 2.5]})).await;
    assert_eq!((&answer["type"], &answer["ref"]), (&json!("ok"), &json!(2)));
    for client in [&mut one, &mut two] {
        let (id, payload) = client.message().await;
        assert_eq!((Some(id.as_str()), payload), (answer["id"].as_str(), json!({"x": [1, 2.5]})));
    }
    assert_eq!(other.ask(json!({"type": "ping", "ref": 9})).await, json!({"type": "pong", "ref": 9}));
    until(async || gateway.metric("ws_messages_sent_total").await >= 2).await;
}

#[tokio::test]
async fn raw_clients_and_json_clients_talk_to_each_other() {
    let gateway = Gateway::start("", None).await;
    let mut json_client = gateway.client().await;
    json_client.subscribe("lobby").await;
    let mut raw = Client::raw(gateway.public, "room=lobby").await;
    raw.send_text("no json").await;
    assert_eq!(json_client.message().await.1, json!("no json"));
    assert_eq!(raw.next_text().await, "no json");
    json_client.publish("lobby", json!({"a": 1})).await;
    assert_eq!(raw.next_text().await, r#"{"a":1}"#);
}

#[tokio::test]
async fn a_client_resumes_from_its_cursor_with_proof() {
    let gateway = Gateway::start("streams: {trim: {maxLen: 5, approximate: false}}", None).await;
    let mut writer = gateway.client().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(writer.publish("a", json!(n)).await["id"].as_str().unwrap().to_owned());
    }
    let mut reader = gateway.client().await;
    let answer = reader.resume("a", &ids[1]).await;
    assert_eq!(
        (&answer["recovered"], &answer["replayed"], &answer["position"]),
        (&json!(true), &json!(3), &json!(ids[1]))
    );
    for (n, id) in ids.iter().enumerate().skip(2) {
        assert_eq!(reader.message().await, (id.clone(), json!(n)));
    }
    for n in 5..8 {
        writer.publish("a", json!(n)).await;
    }
    let mut late = gateway.client().await;
    let answer = late.resume("a", &ids[0]).await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(false), &json!(5)));
    assert_eq!(late.message().await.1, json!(3));
    let mut ahead = gateway.client().await;
    let answer = ahead.resume("a", "99999999999999-0").await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(false), &json!(0)));
    writer.publish("a", json!(8)).await;
    assert_eq!(ahead.message().await.1, json!(8), "its impossible cursor does not hide what is new");
}

#[tokio::test]
async fn history_is_paged() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    for n in 0..5 {
        client.publish("a", json!(n)).await;
    }
    let newest = client.ask(json!({"type": "history", "ref": 5, "room": "a", "limit": 2})).await;
    let payloads = |page: &serde_json::Value| {
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["payload"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!((payloads(&newest), &newest["more"]), (vec![3, 4], &json!(true)));
    let before = newest["messages"][0]["id"].clone();
    let older = client.ask(json!({"type": "history", "ref": 6, "room": "a", "before": before, "limit": 3})).await;
    assert_eq!((payloads(&older), &older["more"]), (vec![0, 1, 2], &json!(false)));
}

#[tokio::test]
async fn a_publish_right_after_a_subscribe_is_received() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    client.send(json!({"type": "subscribe", "ref": 1, "room": "a"})).await;
    client.send(json!({"type": "publish", "ref": 2, "room": "a", "payload": 1})).await;
    let mut types = Vec::new();
    for _ in 0..3 {
        types.push(client.next().await["type"].as_str().unwrap().to_owned());
    }
    types.sort();
    assert_eq!(types, ["message", "ok", "subscribed"]);
}

#[tokio::test]
async fn a_message_that_is_too_long_closes_with_1009() {
    let gateway = Gateway::start("limits: {maxMessageBytes: 1000}", None).await;
    for length in [1001, 10_000, 3_000_000] {
        let mut client = gateway.client().await;
        let _ = client.socket.send(Message::text("x".repeat(length))).await;
        assert_eq!(client.close_code().await, 1009, "{length}");
    }
    let mut client = gateway.client().await;
    client.send_text(&"x".repeat(1000)).await;
    assert_eq!(client.next().await["code"], "bad_request");
}

#[tokio::test]
async fn a_full_gateway_refuses_with_503_and_retry_after() {
    let gateway = Gateway::start("maxConnections: 2", None).await;
    let one = gateway.client().await;
    let _two = gateway.client().await;
    let refused = Client::open(gateway.public, "/ws?room=a", &[]).await.err();
    let Some(WsError::Http(response)) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 503);
    let seconds: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds));
    assert_eq!(gateway.metric("ws_handshakes_rejected_total{reason=\"max_connections\"}").await, 1);
    one.leave().await;
    until(|| async { gateway.connections().await["connections"] == 1 }).await;
    gateway.client().await;
}

#[tokio::test]
async fn handshakes_are_refused_with_a_reason() {
    let yaml = "auth: {allowedOrigins: [\"https://*.example.com\"], anonymous: {subscribe: [\"open\"]}}";
    let gateway = Gateway::start(yaml, None).await;
    let status =
        async |path: &str, headers: &[(&'static str, &str)]| match Client::open(gateway.public, path, headers).await {
            Ok(_) => 101,
            Err(WsError::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        };
    assert_eq!(status("/ws?room=open", &[]).await, 101);
    assert_eq!(status("/ws?room=open", &[("origin", "https://a.example.com")]).await, 101);
    assert_eq!(status("/ws?room=open", &[("origin", "https://evil.com")]).await, 403);
    assert_eq!(status("/ws?room=secret", &[]).await, 403);
    assert_eq!(status("/ws", &[]).await, 400);
    assert_eq!(status("/ws?room=open", &[("sec-websocket-protocol", "soap")]).await, 400);
    assert_eq!(http(gateway.public, "GET", "/ws?room=open", "", "").await.0, 426);
    assert_eq!(http(gateway.public, "GET", "/", "", "").await.0, 404);
}

#[tokio::test]
async fn handshakes_per_second_are_limited() {
    let gateway = Gateway::start("limits: {handshakesPerSecond: 2}", None).await;
    let mut refused = 0;
    let mut clients = Vec::new();
    for _ in 0..6 {
        match Client::open(gateway.public, "/ws?room=a", &[]).await {
            Ok(client) => clients.push(client),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= 3 && clients.len() >= 2, "{refused} refused");
}

#[tokio::test]
async fn slow_subscriber_is_closed_not_buffered_and_others_do_not_notice() {
    let gateway = Gateway::start(
        "backpressure: {maxBufferedBytes: 200000}\nlimits: {messagesPerSecond: 100000, burst: 100000}",
        None,
    )
    .await;
    let (mut slow, mut healthy, mut writer) = (gateway.client().await, gateway.client().await, gateway.client().await);
    slow.subscribe("a").await;
    healthy.subscribe("a").await;
    let payload = "x".repeat(10_000);
    for n in 0..100 {
        assert_eq!(writer.publish("a", json!(payload)).await["type"], "ok");
        assert_eq!(healthy.message().await.1, json!(payload), "message {n}");
    }
    until(|| async { gateway.connections().await["connections"] == 2 }).await;
    assert_eq!(gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await, 1);
    assert_eq!(gateway.metric("ws_connections_closed_total{reason=\"slow\"}").await, 1);
    assert_eq!(gateway.metric("ws_send_buffer_bytes").await, 0);
}

#[tokio::test]
async fn a_slow_subscriber_that_reads_again_finds_1013() {
    let gateway = Gateway::start(
        "backpressure: {maxBufferedBytes: 50000}\nlimits: {messagesPerSecond: 100000, burst: 100000}",
        None,
    )
    .await;
    let (mut slow, mut writer) = (gateway.client().await, gateway.client().await);
    slow.subscribe("a").await;
    let payload = "x".repeat(10_000);
    while gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await < 1 {
        writer.publish("a", json!(payload)).await;
    }
    assert_eq!(slow.close_code().await, 1013);
}

#[tokio::test]
async fn with_the_policy_resync_a_slow_subscriber_stays_and_is_told_of_the_hole() {
    let yaml =
        "backpressure: {maxBufferedBytes: 50000, policy: Resync}\nlimits: {messagesPerSecond: 100000, burst: 100000}";
    let gateway = Gateway::start(yaml, None).await;
    let (mut slow, mut writer) = (gateway.client().await, gateway.client().await);
    slow.subscribe("a").await;
    let filling = "x".repeat(10_000);
    let mut written = 0;
    while gateway.metric("ws_slow_closes_total{limit=\"connection\"}").await < 2 {
        written += 1;
        writer.publish("a", json!({"n": written, "filling": filling})).await;
    }
    // What was dropped made room for this.
    writer.publish("a", json!({"n": written + 1})).await;
    let (mut last, mut resyncs, mut told) = (0, 0, false);
    while last <= written {
        let frame = slow.next().await;
        if frame["type"] == "resync" {
            assert_eq!((&frame["room"], &frame["reason"]), (&json!("a"), &json!("slow")));
            (resyncs, told) = (resyncs + 1, true);
        } else {
            let number = frame["payload"]["n"].as_u64().unwrap();
            assert!(number == last + 1 || (told && number > last), "{number} after {last}: a silent hole");
            (last, told) = (number, false);
        }
    }
    assert!(resyncs >= 1);
    assert_eq!(gateway.connections().await["connections"], 2);
    assert!(gateway.metric("ws_resyncs_total{reason=\"slow\"}").await >= 2);
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_closed() {
    let gateway = Gateway::start("heartbeat: {intervalSeconds: 1, timeoutSeconds: 1}", None).await;
    // Without being polled the client's library answers nothing.
    let mut silent = gateway.client().await;
    let mut alive = gateway.client().await;
    let polled = tokio::spawn(async move { while alive.socket.next().await.is_some_and(|frame| frame.is_ok()) {} });
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"heartbeat\"}").await >= 1 }).await;
    assert_eq!(silent.close_code().await, 4408);
    assert!(!polled.is_finished());
    polled.abort();
}

#[tokio::test]
async fn settings_take_effect_while_running() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    assert_eq!(client.publish("a", json!(1)).await["type"], "ok");
    let closed = wscluster_gateway::config::Config::parse("auth: {anonymous: {publish: []}}").unwrap();
    gateway.settings.store(std::sync::Arc::new(closed.into()));
    assert_eq!(client.publish("a", json!(1)).await["code"], "forbidden");
}

#[tokio::test]
async fn a_drain_moves_clients_and_can_be_cancelled() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    assert_eq!(gateway.admin("GET", "/readyz").await, (200, "ok".into()));
    let (mut polite, mut raw) = (gateway.client().await, Client::raw(gateway.public, "room=a").await);
    polite.subscribe("a").await;
    assert_eq!(gateway.admin("POST", "/v1/drain").await.0, 200);
    assert_eq!(gateway.admin("GET", "/readyz").await, (503, "draining".into()));
    assert_eq!(gateway.admin("GET", "/livez").await.0, 200);
    let notice = polite.next().await;
    assert_eq!(notice["type"], "drain");
    assert!(
        notice["retryAfterMs"].as_u64().unwrap() <= 500 && notice["deadlineMs"].as_u64().unwrap() > 50_000,
        "{notice}"
    );
    let raw_notice: serde_json::Value = serde_json::from_str(&raw.next_text().await).unwrap();
    assert_eq!(raw_notice.as_object().unwrap().keys().collect::<Vec<_>>(), ["retryAfterMs", "type"]);
    // It works on for those who have not left, and serves who comes meanwhile.
    let mut late = gateway.client().await;
    let mut frames = [late.publish("a", json!(1)).await, late.next().await].map(|frame| frame["type"].clone());
    frames.sort_by_key(ToString::to_string);
    assert_eq!(frames, ["drain", "ok"]);
    assert_eq!(polite.message().await.1, json!(1));
    assert_eq!(raw.next_text().await, "1");
    assert_eq!(raw.close_code().await, 1012);
    polite.leave().await;
    let status: serde_json::Value = serde_json::from_str(&gateway.admin("DELETE", "/v1/drain").await.1).unwrap();
    assert_eq!(status["state"], "running");
    assert_eq!(gateway.admin("GET", "/readyz").await.0, 200);
    assert_eq!(late.next().await, json!({"type": "drainCancelled"}));
    assert_eq!(late.publish("a", json!(2)).await["type"], "ok");
}

#[tokio::test]
async fn what_changes_state_needs_the_admin_token() {
    let gateway = Gateway::start_with("", None, Some("s3cret")).await;
    let drain = |headers: &'static str| http(gateway.admin, "POST", "/v1/drain", headers, "");
    assert_eq!(drain("").await.0, 401);
    assert_eq!(drain("authorization: Bearer s3cre\r\n").await.0, 401);
    assert_eq!(gateway.admin("GET", "/readyz").await.0, 200);
    assert_eq!(gateway.admin("DELETE", "/v1/drain").await.0, 401);
    assert_eq!(drain("authorization: Bearer s3cret\r\n").await.0, 200);
    assert_eq!(gateway.admin("GET", "/v1/drain").await.0, 200);
    assert_eq!(
        http(gateway.admin, "POST", "/v1/drain", "authorization: Bearer s3cret\r\n", "{\"rate\":1}").await.0,
        400
    );
}

#[tokio::test]
async fn a_shutdown_says_1001_and_ends() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    gateway.shutdown.send(Shutdown::Now).await.unwrap();
    assert_eq!(client.close_code().await, 1001);
    drop(client);
    soon(gateway.run).await.unwrap();
}

#[tokio::test]
async fn an_abrupt_disconnect_leaves_nothing_behind() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    client.subscribe("a").await;
    assert_eq!(gateway.connections().await["subscriptions"], 1);
    drop(client);
    until(|| async {
        let now = gateway.connections().await;
        now["connections"] == 0 && now["subscriptions"] == 0 && now["rooms"] == 0
    })
    .await;
    assert!(gateway.metric("ws_connection_duration_seconds_count{reason=\"lost\"}").await >= 1);
}

#[tokio::test]
async fn many_members_get_many_messages_in_order() {
    let gateway = Gateway::start("limits: {messagesPerSecond: 100000, burst: 100000}", None).await;
    let mut members = Vec::new();
    for _ in 0..50 {
        let mut member = gateway.client().await;
        member.subscribe("hot").await;
        members.push(tokio::spawn(async move {
            for n in 0..200 {
                assert_eq!(member.message().await.1, json!(n));
            }
        }));
    }
    let mut writer = gateway.client().await;
    for n in 0..200 {
        writer.publish("hot", json!(n)).await;
    }
    for member in members {
        tokio::time::timeout(Duration::from_secs(20), member).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_long_replay_does_not_close_the_client_that_asked_for_it() {
    let yaml = "backpressure: {maxBufferedBytes: 50000}\nlimits: {messagesPerSecond: 100000, burst: 100000}";
    let gateway = Gateway::start(yaml, None).await;
    let (mut writer, mut reader) = (gateway.client().await, gateway.client().await);
    let payload = "x".repeat(10_000);
    for _ in 0..100 {
        writer.publish("a", json!(payload)).await;
    }
    let answer = reader.resume("a", "0-0").await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(100)));
    writer.publish("a", json!("live")).await;
    for _ in 0..100 {
        assert_eq!(reader.message().await.1, json!(payload));
    }
    assert_eq!(reader.message().await.1, json!("live"));
    until(|| async { gateway.metric("ws_send_buffer_bytes").await == 0 }).await;
}

#[tokio::test]
async fn over_the_total_the_fullest_is_closed_and_the_rest_stays() {
    let yaml = "backpressure: {maxBufferedBytes: 1000000, totalBufferBytes: 300000}\nlimits: {messagesPerSecond: 100000, burst: 100000}";
    let gateway = Gateway::start(yaml, None).await;
    let (mut slow, mut healthy, mut writer) = (gateway.client().await, gateway.client().await, gateway.client().await);
    slow.subscribe("a").await;
    healthy.subscribe("a").await;
    let payload = "x".repeat(10_000);
    while gateway.metric("ws_slow_closes_total{limit=\"total\"}").await < 1 {
        writer.publish("a", json!(payload)).await;
        assert_eq!(healthy.message().await.1, json!(payload));
    }
    until(|| async { gateway.connections().await["connections"] == 2 }).await;
    writer.publish("a", json!(1)).await;
    assert_eq!(healthy.message().await.1, json!(1));
}

#[tokio::test]
async fn the_answer_to_a_handshake_comes_with_the_welcome() {
    let gateway = Gateway::start("", None).await;
    let mut socket = TcpStream::connect(gateway.public).await.unwrap();
    let handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wscluster.v1.json\r\n\r\n";
    socket.write_all(handshake.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 4096];
    // Written at once and less than a segment: it is read at once.
    let read = soon(socket.read(&mut bytes)).await.unwrap();
    let text = String::from_utf8_lossy(&bytes[..read]);
    assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("\"type\":\"welcome\""), "{text}");
}
