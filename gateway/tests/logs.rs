//! What the program writes to its log, and what it does not.

mod support;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{Client, Process, http, soon, until};
use tokio_tungstenite::tungstenite::Message;

/// The lines of JSON that a gateway wrote.
fn lines(gateway: &Process) -> Vec<Value> {
    let text = std::fs::read_to_string(gateway.folder.path().join("log")).unwrap();
    // The last one may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

fn saying<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

async fn said(gateway: &Process, message: &str) -> Value {
    until(async || !saying(&lines(gateway), message).is_empty()).await;
    saying(&lines(gateway), message)[0].clone()
}

#[tokio::test]
async fn thousands_of_bad_handshakes_and_frames_make_few_lines_and_the_rest_is_counted() {
    const HANDSHAKES: u64 = 3000;
    const FRAMES: u64 = 300;
    let mut gateway = Process::start_logging("limits: {handshakesPerSecond: 0}", None, "info").await;
    let bad = futures::stream::iter(0..HANDSHAKES).map(|_| http(gateway.public, "GET", "/ws", "", ""));
    bad.buffer_unordered(20).for_each(async |answer| assert_eq!(answer.0, 426)).await;
    for _ in 0..FRAMES {
        let mut client = Client::connect(gateway.public).await;
        client.socket.send(Message::binary(vec![1, 2])).await.unwrap();
        assert_eq!(client.close_code().await, 1003);
    }
    gateway.signal("INT").await;
    assert!(soon(gateway.child.wait()).await.unwrap().success());
    let lines = lines(&gateway);
    for (message, events) in [("handshake refused", HANDSHAKES), ("session closed by the gateway", FRAMES)] {
        let written = saying(&lines, message).len() as u64;
        let told = lines.iter().filter(|line| line["kind"] == message);
        let suppressed: u64 = told.map(|line| line["suppressed"].as_u64().unwrap()).sum();
        assert!((20..150).contains(&written), "{written} lines: {message}");
        assert_eq!(written + suppressed, events, "{message}");
    }
    assert!(lines.len() < 300, "{} lines", lines.len());
}

#[tokio::test]
async fn a_session_is_named_on_its_lines_and_the_gateway_on_all() {
    let gateway = Process::start_logging("", None, "info,wscluster_gateway=debug").await;
    let offer = [("sec-websocket-protocol", "wscluster.v1.json")];
    let mut client = Client::open(gateway.public, "/ws", &offer).await.unwrap();
    let session = client.next().await["session"].clone();
    client.socket.send(Message::binary(vec![1, 2])).await.unwrap();
    let end = said(&gateway, "session closed by the gateway").await;
    assert_eq!((&end["session"], &end["reason"], &end["level"]), (&session, &json!("binary"), &json!("INFO")));
    assert_eq!(said(&gateway, "session begins").await["session"], session);
    let start = said(&gateway, "gateway starts").await;
    let hash = start["settings"].as_str().unwrap();
    let info = format!("wscluster_gateway_config_info{{hash=\"{hash}\"}} 1");
    assert!(http(gateway.admin, "GET", "/metrics", "", "").await.1.contains(&info));
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    for line in lines(&gateway) {
        assert_eq!(line["node"], "log-test", "{line}");
    }
}

#[tokio::test]
async fn neither_payloads_nor_tokens_are_logged_at_any_level() {
    const SECRET: &str = "s3cr3tw0rd";
    let redis = RedisServer::start(&[]).await;
    let gateway = Process::start_logging("", Some(&redis.url()), "trace").await;
    until(async || !saying(&lines(&gateway), "connected to Redis").is_empty()).await;
    let mut client = Client::connect(gateway.public).await;
    client.subscribe("a").await;
    client.publish("a", json!(SECRET)).await;
    client.ask(json!({"type": "auth", "ref": 1, "token": SECRET})).await;
    client.send_text(&format!("{{\"type\":\"{SECRET}\"")).await;
    let authorization = format!("authorization: Bearer {SECRET}\r\ncontent-type: application/json\r\n");
    http(gateway.public, "POST", "/api/v1/rooms/a/messages", &authorization, &format!("\"{SECRET}\"")).await;
    http(gateway.public, "GET", &format!("/ws?room=a&token={SECRET}"), "", "").await;
    let offers = format!("wscluster.v1.json, wscluster.bearer.{SECRET}");
    drop(Client::open(gateway.public, "/ws", &[("sec-websocket-protocol", &offers)]).await);
    let bearer = format!("Bearer {SECRET}");
    drop(Client::open(gateway.public, "/ws?room=a", &[("authorization", &bearer)]).await);
    said(&gateway, "handshake refused").await;
    assert!(lines(&gateway).iter().any(|line| line["level"] == "TRACE"));
    let text = std::fs::read_to_string(gateway.folder.path().join("log")).unwrap();
    let leaks: Vec<_> = text.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test]
async fn losing_redis_and_having_it_back_are_told_with_how_long_it_was_away() {
    let mut redis = RedisServer::start(&[]).await;
    let gateway = Process::start_logging("", Some(&redis.url()), "info").await;
    said(&gateway, "connected to Redis").await;
    redis.stop().await;
    said(&gateway, "the connection to Redis is lost").await;
    redis.launch().await;
    let back = said(&gateway, "Redis is back").await;
    assert!(back["away_seconds"].as_f64().unwrap() > 0.0, "{back}");
}

#[tokio::test]
async fn a_drain_is_told_from_its_beginning_to_its_end() {
    let mut gateway = Process::start_logging("drain: {timeoutSeconds: 60}", None, "info").await;
    let mut client = Client::connect(gateway.public).await;
    gateway.signal("TERM").await;
    assert_eq!(client.next().await["type"], "drain");
    client.leave().await;
    assert!(soon(gateway.child.wait()).await.unwrap().success());
    let lines = lines(&gateway);
    let begin = saying(&lines, "drain begins");
    assert_eq!((begin.len(), &begin[0]["connections"], &begin[0]["timeout_seconds"]), (1, &json!(1), &json!(60)));
    let end = saying(&lines, "drain ends");
    assert_eq!((end.len(), &end[0]["moved"], &end[0]["remaining"]), (1, &json!(1), &json!(0)));
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}

#[tokio::test]
async fn changed_settings_are_told_by_key_and_refused_ones_with_the_remedy_through_a_config_maps_links() {
    let gateway = Process::start_logging("", None, "info").await;
    let folder = gateway.folder.path().join("mounted");
    let swap = |version: &str, yaml: &str| {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("gateway.yaml"), yaml).unwrap();
        std::os::unix::fs::symlink(version, folder.join("..new")).unwrap();
        std::fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    };
    let metric = async |name: &str| {
        let text = http(gateway.admin, "GET", "/metrics", "", "").await.1;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    let refused = "wscluster_gateway_config_refused";
    swap("..2", "limits: {burst: 7}\nmaxConnections: 8\nstreams: {keyPrefix: \"other:\"}");
    let told = said(&gateway, "settings reloaded").await;
    assert_eq!(told["keys"], "limits.burst, maxConnections");
    let info = format!("wscluster_gateway_config_info{{hash={}}}", told["hash"]);
    until(async || metric(&info).await == Some(1.0)).await;
    let later = said(&gateway, "these changed settings take a restart; the old ones stay in force").await;
    assert_eq!(later["keys"], "streams.keyPrefix");
    swap("..3", "limits: {burst: 0}");
    let told = said(&gateway, "the changed settings were refused; the old ones stay in force").await;
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("limits.burst: 0 is out of range: use 1 to 1000000"), "{error}");
    assert_eq!((metric(refused).await, metric(&info).await), (Some(1.0), Some(1.0)));
    swap("..4", "limits: {burst: 9}");
    until(async || metric(refused).await == Some(0.0)).await;
}
