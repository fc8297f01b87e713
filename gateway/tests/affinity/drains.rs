//! A gateway drains through which connections run to others: those who have them tell their clients to move.

use std::time::Duration;

use serde_json::{Value, json};
use wscluster_gateway::server::Shutdown;

use crate::support::{http, soon, until};
use crate::{DAY, Fleet, TOKEN, Visit, Visitor, cookie, tell};

async fn drain(fleet: &Fleet, number: usize, method: &str, wish: &Value) -> Value {
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let (status, body) = http(fleet.gateways[number].admin, method, "/v1/drain", &token, &wish.to_string()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn reaches(fleet: &Fleet, field: &str, value: Value) {
    until(async || fleet.gateways[0].drain_status().await[field] == value).await;
}

/// Clients that came to `g0` and are served by `owner`.
async fn through(fleet: &Fleet, owner: &str, count: usize) -> Vec<Visit> {
    let mut visits = Vec::new();
    for _ in 0..count {
        let visit = Visitor::with(cookie(owner, "r1", DAY)).visit(fleet.public(0)).await;
        assert_eq!(visit.node, format!("{owner} via g0"));
        visits.push(visit);
    }
    visits
}

/// What it is told until the answer to a ping. Two of them: a shard looks at its sockets before it looks at what the
/// gateway says.
async fn told(visit: &mut Visit) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..2 {
        visit.client.send(json!({"type": "ping"})).await;
        loop {
            match visit.client.next().await["type"].as_str().unwrap() {
                "pong" => break,
                kind => told.push(kind.to_owned()),
            }
        }
    }
    told
}

#[tokio::test]
async fn those_who_run_through_it_are_told_once_each_in_their_turn_and_it_ends_when_they_are_gone() {
    let fleet = Fleet::start(3, "drain: {timeoutSeconds: 60}").await;
    let mut visits = through(&fleet, "g1", 3).await;
    visits.extend(through(&fleet, "g2", 2).await);
    let mut own = fleet.gateways[0].client().await;
    let mut stranger = fleet.gateways[1].client().await;
    let began = drain(&fleet, 0, "POST", &json!({"connectionsPerSecond": 20})).await;
    assert_eq!(began["remaining"], 6);
    reaches(&fleet, "noticed", json!(6)).await;
    assert_eq!(own.next().await["type"], "drain");
    for visit in &mut visits {
        let notice = visit.client.next().await;
        assert_eq!(notice["type"], "drain", "{notice}");
        assert!(notice["retryAfterMs"].as_u64().unwrap() <= 500 && notice["deadlineMs"].as_u64().unwrap() <= 60_000);
        assert_eq!(told(visit).await, [""; 0], "once");
    }
    stranger.send(json!({"type": "ping"})).await;
    assert_eq!(stranger.next().await["type"], "pong", "who is there on another way stays");
    assert_eq!(fleet.gateways[1].drain_status().await["state"], "running");
    drop((own, visits));
    reaches(&fleet, "state", json!("drained")).await;
    let over = fleet.gateways[0].drain_status().await;
    assert_eq!((&over["moved"], &over["forced"], &over["remaining"]), (&json!(6), &json!(0), &json!(0)));
    assert_eq!(fleet.gateways[0].metric("ws_drain_noticed_total").await, 6);
}

#[tokio::test]
async fn who_moves_comes_back_to_its_owner_on_another_way() {
    let fleet = Fleet::start(3, "drain: {timeoutSeconds: 60}").await;
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    let mut old = visitor.visit(fleet.public(0)).await;
    drain(&fleet, 0, "POST", &json!({})).await;
    assert_eq!(old.client.next().await["type"], "drain");
    let new = visitor.visit(fleet.public(2)).await;
    assert_eq!((&*old.node, &*new.node), ("g1 via g0", "g1 via g2"), "another welcome: there is something to gain");
    // Where it comes back to the one that drains: it is served there, is told, and gets no cookie to come back.
    let mut back = visitor.visit(fleet.public(0)).await;
    assert_eq!((&*back.node, back.cookie_set), ("g0", false));
    assert_eq!(back.client.next().await["type"], "drain");
}

#[tokio::test]
async fn a_cancelled_drain_is_told_and_the_next_one_tells_them_again() {
    let fleet = Fleet::start(2, "drain: {timeoutSeconds: 60}").await;
    let mut visits = through(&fleet, "g1", 3).await;
    drain(&fleet, 0, "POST", &json!({})).await;
    reaches(&fleet, "noticed", json!(3)).await;
    until(async || fleet.gateways[0].metric("ws_drain_noticed_total").await == 3).await;
    drain(&fleet, 0, "DELETE", &json!({})).await;
    for visit in &mut visits {
        assert_eq!(visit.client.next().await["type"], "drain");
        assert_eq!(visit.client.next().await["type"], "drainCancelled");
    }
    drain(&fleet, 0, "POST", &json!({})).await;
    for visit in &mut visits {
        assert_eq!(visit.client.next().await["type"], "drain");
    }
}

#[tokio::test]
async fn at_the_deadline_owners_close_the_rest() {
    let fleet = Fleet::start(2, "").await;
    let mut visits = through(&fleet, "g1", 2).await;
    drain(&fleet, 0, "POST", &json!({"timeoutSeconds": 1})).await;
    for visit in &mut visits {
        assert_eq!(visit.client.close_code().await, 1012);
    }
    drop(visits);
    reaches(&fleet, "state", json!("drained")).await;
    assert_eq!(fleet.gateways[0].drain_status().await["forced"], 2);
}

#[tokio::test]
async fn when_the_owner_drains_its_sessions_are_told_as_ever_and_nobody_is_forwarded_there() {
    let fleet = Fleet::start(2, "drain: {timeoutSeconds: 60}").await;
    let mut visits = through(&fleet, "g1", 2).await;
    drain(&fleet, 1, "POST", &json!({})).await;
    for visit in &mut visits {
        assert_eq!(visit.client.next().await["type"], "drain");
    }
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    let moved = visitor.visit(fleet.public(0)).await;
    assert_eq!((&*moved.node, moved.cookie_set), ("g0", true));
    // Both drain: who was told is not told again.
    drain(&fleet, 0, "POST", &json!({})).await;
    reaches(&fleet, "noticed", json!(3)).await;
    for visit in &mut visits {
        assert_eq!(told(visit).await, [""; 0]);
    }
    drop(visits);
    until(async || fleet.gateways[1].drain_status().await["state"] == "drained").await;
}

#[tokio::test]
async fn a_gateway_that_is_told_to_exit_waits_for_those_who_run_through_it() {
    let fleet = Fleet::start(3, "drain: {timeoutSeconds: 60}").await;
    let mut visits = through(&fleet, "g1", 1).await;
    fleet.gateways[0].shutdown.send(Shutdown::Drain).await.unwrap();
    assert_eq!(visits[0].client.next().await["type"], "drain");
    assert_eq!(told(&mut visits[0]).await, [""; 0], "and serves them meanwhile");
    drop(visits);
    let mut fleet = fleet;
    soon(fleet.gateways.remove(0).run).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_stops_at_once_has_owners_say_so() {
    let fleet = Fleet::start(2, "").await;
    let mut visits = through(&fleet, "g1", 2).await;
    let began = std::time::Instant::now();
    fleet.gateways[0].shutdown.send(Shutdown::Now).await.unwrap();
    for visit in &mut visits {
        assert_eq!(visit.client.close_code().await, 1001);
    }
    drop(visits);
    let mut fleet = fleet;
    soon(fleet.gateways.remove(0).run).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    tell(&fleet.gateways[0], &[]).await;
}

#[tokio::test]
async fn an_owner_that_has_too_many_takes_nobody_over_from_another() {
    let fleet = Fleet::start(2, "").await;
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let wish = json!({"keep": 0, "connectionsPerSecond": 1}).to_string();
    let order = |method, wish| http(fleet.gateways[1].admin, method, "/v1/rebalance", &token, wish);
    assert_eq!(http(fleet.gateways[1].admin, "PUT", "/v1/rebalance", "", &wish).await.0, 401);
    assert_eq!(order("PUT", &wish).await.0, 200);
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    assert_eq!(visitor.visit(fleet.public(0)).await.node, "g0");
    assert_eq!(visitor.visit(fleet.public(1)).await.node, "g0 via g1", "it belongs there now");
    assert_eq!(order("DELETE", "").await.0, 200);
    assert_eq!(Visitor::with(cookie("g1", "r1", DAY)).visit(fleet.public(0)).await.node, "g1 via g0");
}
