//! Who comes back finds the gateway that it was on, and who does not say where it was is spread.

use std::collections::HashMap;

use futures::StreamExt;
use serde_json::json;

use crate::support::{Client, soon, until};
use crate::{DAY, Fleet, Visitor, cookie};

const CLIENTS: usize = 200;
const RETURNS: usize = 20;

/// Visits of one client at gateways that its load balancer chooses: the owner of each.
async fn visits(fleet: &Fleet, keeps_cookies: bool) -> Vec<String> {
    let mut visitor = Visitor::default();
    let mut owners = Vec::new();
    for _ in 0..=RETURNS {
        if !keeps_cookies {
            visitor.cookie = None;
        }
        let chosen = rand::random_range(0..fleet.gateways.len());
        let visit = visitor.visit(fleet.public(chosen)).await;
        let through = if visit.owner == format!("g{chosen}") { String::new() } else { format!(" via g{chosen}") };
        assert_eq!(visit.node, format!("{}{through}", visit.owner));
        owners.push(visit.owner);
    }
    owners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_back_reach_their_gateway_every_time() {
    let fleet = Fleet::start(4, "limits: {handshakesPerSecond: 0}").await;
    let all = futures::stream::iter(0..CLIENTS).map(|_| visits(&fleet, true)).buffer_unordered(16);
    let all: Vec<Vec<String>> = all.collect().await;
    let mut first: HashMap<&str, usize> = HashMap::new();
    for owners in &all {
        assert!(owners.iter().all(|owner| *owner == owners[0]), "{owners:?}");
        *first.entry(&owners[0]).or_default() += 1;
    }
    assert!((0..4).all(|n| first[&*format!("g{n}")] > CLIENTS / 10), "spread by the load balancer: {first:?}");
    let outcome = async |outcome| fleet.sum(&format!("ws_affinity_handshakes_total{{outcome=\"{outcome}\"}}")).await;
    assert_eq!(outcome("new").await, CLIENTS as u64);
    assert_eq!(outcome("missed").await, 0);
    assert_eq!(outcome("local").await + outcome("forwarded").await, (CLIENTS * RETURNS) as u64);
    assert!(outcome("forwarded").await > (CLIENTS * RETURNS / 2) as u64);
    until(async || fleet.sum("ws_forwarded_connections").await + fleet.sum("ws_active_connections").await == 0).await;
    assert!(fleet.sum("ws_forwarded_bytes_total{direction=\"to_client\"}").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_cookies_are_spread() {
    let fleet = Fleet::start(4, "limits: {handshakesPerSecond: 0}").await;
    let all = futures::stream::iter(0..20).map(|_| visits(&fleet, false)).buffer_unordered(16);
    let all: Vec<Vec<String>> = all.collect().await;
    assert!(all.iter().all(|owners| owners.iter().any(|owner| *owner != owners[0])), "{all:?}");
    assert_eq!(fleet.sum("ws_affinity_handshakes_total{outcome=\"new\"}").await, 20 * (RETURNS as u64 + 1));
}

#[tokio::test]
async fn a_forwarded_client_is_served_as_one_who_came_there() {
    let fleet = Fleet::start(2, "").await;
    let mut there = fleet.gateways[1].client().await;
    there.subscribe("a").await;
    let mut visit = Visitor::with(cookie("g1", "r1", DAY)).visit(fleet.public(0)).await;
    assert_eq!((&*visit.node, visit.cookie_set), ("g1 via g0", false));
    visit.client.subscribe("a").await;
    let long = "x".repeat(60_000);
    for n in 0..50 {
        visit.client.send(json!({"type": "publish", "room": "a", "payload": [n, long]})).await;
        assert_eq!(there.message().await.1, json!([n, long]), "up");
        loop {
            let frame = visit.client.next().await;
            if frame["type"] == "message" {
                assert_eq!(frame["payload"], json!([n, long]), "and down");
                break;
            }
        }
    }
    let here = fleet.gateways[0].connections().await;
    assert_eq!((&here["connections"], &here["forwarded"]), (&json!(0), &json!(1)));
    assert_eq!(fleet.gateways[1].connections().await["connections"], 2);
    visit.client.send_text("no JSON at all").await;
    loop {
        let frame = visit.client.next().await;
        if frame["type"] == "error" {
            assert_eq!(frame["code"], "bad_request");
            break;
        }
    }
    // A message that is too long closes the connection there: the code comes through.
    visit.client.send_text(&"x".repeat(70_000)).await;
    assert_eq!(visit.client.close_code().await, 1009);
    drop(visit);
    until(async || fleet.gateways[0].connections().await["forwarded"] == 0).await;
}

#[tokio::test]
async fn raw_clients_and_frames_right_behind_the_handshake_are_forwarded_too() {
    let fleet = Fleet::start(2, "").await;
    let mut there = Client::raw(fleet.public(1), "room=a").await;
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    let (mut raw, _) = visitor.open("127.0.0.1", fleet.public(0), "/ws?room=a", &[]).await.unwrap();
    raw.send_text("1").await;
    assert_eq!(there.next_text().await, "1");
    assert_eq!(raw.next_text().await, "1");
    let hasty = hasty(fleet.public(0), visitor.cookie.as_deref().unwrap()).await;
    assert_eq!(there.next_text().await, "hello");
    drop(hasty);
}

/// Sends a frame together with its handshake.
async fn hasty(address: std::net::SocketAddr, cookie: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /ws?room=a HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncookie: wscluster={cookie}\r\n\r\n"
    );
    let frame = b"\x81\x85\0\0\0\0hello";
    stream.write_all(&[head.as_bytes(), frame].concat()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_does_not_read_is_felt_by_its_owner() {
    let fleet = Fleet::start(2, "backpressure: {maxBufferedBytes: 100000}").await;
    let mut visit = Visitor::with(cookie("g1", "r1", DAY)).visit(fleet.public(0)).await;
    visit.client.subscribe("flood").await;
    let mut writer = fleet.gateways[1].client().await;
    let slow = async || fleet.gateways[1].metric("ws_slow_closes_total{limit=\"connection\"}").await;
    soon(async {
        while slow().await == 0 {
            writer.publish("flood", json!("x".repeat(60_000))).await;
        }
    })
    .await;
    // Its own end of it: whatever was under way, and then the close or a reset.
    visit.client.close_code().await;
    drop(visit);
    until(async || fleet.gateways[0].connections().await["forwarded"] == 0).await;
}

#[tokio::test]
async fn a_cookie_is_renewed_when_half_of_it_is_over() {
    let fleet = Fleet::start(2, "").await;
    for (gateway, owner) in [(0, "g0"), (0, "g1")] {
        for (left, renewed) in [(DAY, false), (DAY / 2 + 60_000, false), (DAY / 2 - 1, true), (1000, true)] {
            let mut visitor = Visitor::with(cookie(owner, "r1", left));
            let visit = visitor.visit(fleet.public(gateway)).await;
            assert_eq!((&*visit.owner, visit.cookie_set), (owner, renewed), "{left}");
            let again = visitor.visit(fleet.public(1 - gateway)).await;
            assert_eq!((&*again.owner, again.cookie_set), (owner, false), "the fresh one says the same");
        }
    }
}

#[tokio::test]
async fn without_affinity_nobody_gets_a_cookie_or_is_forwarded() {
    let fleet = Fleet::start(2, "").await;
    let plain = crate::Gateway::start("", None).await;
    let visit = Visitor::with(cookie("g1", "r1", DAY)).visit(plain.public).await;
    assert_eq!((&*visit.owner, visit.cookie_set), ("test", false));
    drop(fleet);
}
