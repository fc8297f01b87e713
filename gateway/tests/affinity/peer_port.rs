//! The peer port, as whoever is in the pods' network sees it.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wscluster_gateway::affinity::ask::{Question, ask};
use wscluster_gateway::affinity::choice::Missed;
use wscluster_gateway::affinity::peers::Peer;
use wscluster_gateway::affinity::proof::{ClusterKey, PROOF, Request};
use wscluster_gateway::affinity::wire::{self, Envelope};
use wscluster_gateway::clock;

use crate::support::{Client, soon};
use crate::{DAY, Fleet, TOKEN, Visitor, cookie};

/// A handshake as `g0` passes one on.
fn handshake(origin: &str) -> HeaderMap {
    let from_client = [
        ("host", "chat.example"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", origin),
    ];
    let from_client: HeaderMap =
        from_client.into_iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
    let mut headers = wire::handshake(&from_client, "203.0.113.7:40000".parse().unwrap(), 42);
    Envelope { from: "g0".into(), to: "g1".into(), revision: "r1".into() }.write(&mut headers);
    headers
}

/// Its text, with a proof by `key`.
fn text(key: &ClusterKey, sent_at: u64) -> String {
    let mut headers = handshake("http://chat.example");
    let request = Request { method: "GET", target: "/ws?room=a", headers: &headers, body: b"" };
    let (proof, _) = key.prove(&request, sent_at);
    headers.insert(PROOF, proof);
    let lines = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
    format!("GET /ws?room=a HTTP/1.1\r\n{}\r\n", lines.collect::<String>())
}

/// The status of the answer, on a connection that stays open.
async fn send(address: SocketAddr, text: &str) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), stream)
}

#[tokio::test]
async fn only_who_has_the_clusters_key_is_believed_and_only_once() {
    let fleet = Fleet::start(2, "").await;
    let peer = fleet.gateways[1].peer.unwrap();
    let (key, other) = (ClusterKey::from_token(TOKEN), ClusterKey::from_token("another"));
    let now = clock::now();
    let good = text(&key, now);
    let (status, _open) = send(peer, &good).await;
    assert_eq!(status, 101);
    let tampered = text(&key, now).replace("203.0.113.7", "203.0.113.8");
    let late = text(&key, now - 31_000);
    let without = good.lines().filter(|line| !line.starts_with("wscluster-proof")).collect::<Vec<_>>().join("\r\n");
    for (what, bad) in [
        ("repeated", good.clone()),
        ("of another cluster", text(&other, now)),
        ("tampered with", tampered),
        ("late", late),
        ("without a proof", without + "\r\n\r\n"),
    ] {
        assert_eq!(send(peer, &bad).await.0, 403, "{what}");
    }
    assert_eq!(fleet.gateways[1].metric("ws_handshakes_rejected_total{reason=\"peer_proof\"}").await, 5);
    assert_eq!(fleet.gateways[1].connections().await["connections"], 1);
    let order = "POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(send(peer, order).await.0, 403);
    for path in ["/", "/api/v1/rooms", "/metrics", "/v1/drain"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(send(peer, &request).await.0, 404, "{path} is not served there");
    }
}

#[tokio::test]
async fn the_public_port_takes_no_word_of_whom_one_comes_for() {
    let fleet = Fleet::start(2, "limits: {connectionsPerIp: 1}").await;
    let good = text(&ClusterKey::from_token(TOKEN), clock::now());
    let good = good.replace("origin: http://chat.example\r\n", "");
    let (status, _open) = send(fleet.public(1), &good).await;
    assert_eq!(status, 101);
    assert_eq!(send(fleet.public(1), &good).await.0, 503, "it counts as 127.0.0.1, not as 203.0.113.7");
}

#[tokio::test]
async fn a_client_cannot_speak_in_a_gateways_name() {
    let fleet = Fleet::start(2, "").await;
    let lies = [("wscluster-from", "g9"), ("wscluster-client", "1.2.3.4:5"), ("wscluster-proof", "v1.1.2.YQ")];
    let mut there = Client::raw(fleet.public(1), "room=a").await;
    there.send_text("0").await;
    assert_eq!(there.next_text().await, "0", "it is in the room");
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    let (mut client, _) = visitor.open("127.0.0.1", fleet.public(0), "/ws?room=a", &lies).await.unwrap();
    client.send_text("1").await;
    assert_eq!(there.next_text().await, "1");
}

/// Asks `g1` as `g0` does.
async fn asked(fleet: &Fleet, method: Method, target: &str, headers: HeaderMap, body: &str) -> (StatusCode, String) {
    let peer = Peer { name: "g1".into(), address: fleet.gateways[1].peer.unwrap() };
    let question = Question { method, target: target.into(), headers, body: body.into() };
    let answer = ask(&ClusterKey::from_token(TOKEN), &peer, question).await.map_err(Missed::label).unwrap();
    (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_gateway_of_the_cluster_is_judged_by_the_same_rules() {
    let fleet = Fleet::start(2, "").await;
    let get = async |target: &str, headers| asked(&fleet, Method::GET, target, headers, "").await;
    assert_eq!(get("/ws?room=a", handshake("https://evil.example")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(get("/ws", handshake("http://chat.example")).await.0, StatusCode::BAD_REQUEST);
    let mut foreign = handshake("http://chat.example");
    Envelope { from: "g0".into(), to: "g1".into(), revision: "r0".into() }.write(&mut foreign);
    assert_eq!(get("/ws?room=a", foreign).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let post = async |body: &str| {
        let mut headers = HeaderMap::new();
        Envelope { from: "g0".into(), to: "g1".into(), revision: "r1".into() }.write(&mut headers);
        asked(&fleet, Method::POST, "/v1/orders", headers, body).await
    };
    let order = json!({"say": "goingAway", "to": [{"forward": 42}]}).to_string();
    assert_eq!(post(&order).await, (StatusCode::OK, r#"{"told":[]}"#.into()), "nobody is here who came through it");
    assert_eq!(post("{}").await.0, StatusCode::BAD_REQUEST);
}
