//! What a running gateway measures.

mod support;

use serde_json::json;
use support::{Gateway, until};

#[tokio::test]
async fn replays_are_counted_with_their_messages() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    let first = client.publish("a", json!(1)).await["id"].clone();
    client.publish("a", json!(2)).await;
    client.publish("a", json!(3)).await;
    client.subscribe("b").await;
    assert_eq!(gateway.metric("ws_replays_total").await, 0, "without a cursor nothing is read back");
    assert_eq!(client.resume("a", first.as_str().unwrap()).await["replayed"], 2);
    assert_eq!(gateway.metric("ws_replays_total").await, 1);
    assert_eq!(gateway.metric("ws_replayed_messages_total").await, 2);
}

#[tokio::test]
async fn a_session_that_came_back_is_counted_once_as_recovered_or_not() {
    let gateway = Gateway::start("streams: {trim: {maxLen: 2, approximate: false}}", None).await;
    let mut writer = gateway.client().await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(writer.publish("short", json!(n)).await["id"].as_str().unwrap().to_owned());
    }
    let kept = writer.publish("long", json!(0)).await["id"].as_str().unwrap().to_owned();
    writer.publish("long", json!(1)).await;
    let counted = async || {
        let now = gateway.connections().await;
        (now["resumed"].as_u64().unwrap(), now["unrecovered"].as_u64().unwrap())
    };
    // Unrecovered by its second room.
    let mut holed = gateway.client().await;
    assert_eq!(holed.resume("long", &kept).await["recovered"], true);
    holed.message().await;
    assert_eq!(holed.resume("short", &ids[0]).await["recovered"], false);
    until(async || counted().await == (0, 1)).await;
    // Recovered, judged when it leaves early; and one without a cursor, which is none that came back.
    let mut whole = gateway.client().await;
    assert_eq!(whole.resume("long", &kept).await["recovered"], true);
    whole.message().await;
    assert_eq!(whole.resume("short", &ids[3]).await["recovered"], true);
    whole.leave().await;
    gateway.client().await.subscribe("long").await;
    until(async || counted().await == (1, 1)).await;
    // Recovered, judged while it stays.
    let mut stays = gateway.client().await;
    stays.resume("long", &kept).await;
    until(async || counted().await == (2, 1)).await;
    assert_eq!(gateway.metric("ws_sessions_resumed_total{outcome=\"recovered\"}").await, 2);
    assert_eq!(gateway.metric("ws_sessions_resumed_total{outcome=\"unrecovered\"}").await, 1);
}

#[tokio::test]
async fn each_shard_shows_its_connections() {
    let gateway = Gateway::start("", None).await;
    let shards = async || {
        (
            gateway.metric("ws_shard_connections{shard=\"0\"}").await,
            gateway.metric("ws_shard_connections{shard=\"1\"}").await,
        )
    };
    assert_eq!(shards().await, (0, 0));
    let (one, two) = (gateway.client().await, gateway.client().await);
    assert_eq!(shards().await, (1, 1));
    one.leave().await;
    two.leave().await;
    until(async || shards().await == (0, 0)).await;
}

#[tokio::test]
async fn the_pace_of_a_drain_is_shown_while_somebody_is_left() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60, connectionsPerSecond: 7}", None).await;
    let client = gateway.client().await;
    assert_eq!(gateway.metric("ws_drain_rate").await, 0);
    gateway.admin("POST", "/v1/drain").await;
    assert_eq!(gateway.metric("ws_drain_rate").await, 7);
    until(async || gateway.drain_status().await["noticed"] == 1).await;
    assert_eq!(gateway.drain_status().await["rate"], 7.0);
    client.leave().await;
    until(async || gateway.metric("ws_drain_rate").await == 0).await;
    assert_eq!(gateway.metric("ws_drain_moved_total").await, 1);
    let status = gateway.drain_status().await;
    assert_eq!((&status["moved"], &status["rate"], &status["exiting"]), (&json!(1), &json!(0.0), &json!(false)));
}

#[tokio::test]
async fn the_process_and_its_runtime_are_measured() {
    let gateway = Gateway::start("", None).await;
    // Both ends of a connection are of this process. The other tests' files come and go: no difference is looked at.
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(gateway.client().await);
    }
    let open = gateway.metric("process_open_fds").await;
    assert!(open >= 80, "{open}");
    assert!(gateway.metric("process_max_fds").await >= open);
    assert!(gateway.metric("process_resident_memory_bytes").await > 1 << 20);
    assert!(gateway.metric("process_start_time_seconds").await > 1_600_000_000);
    assert!(gateway.metric("tokio_workers").await >= 1);
    assert!(gateway.metric("tokio_alive_tasks").await >= 1);
}
