//! How far a drain is, and what changes it: the deadline, another pace, a cancel.

use std::time::Duration;

use serde_json::{Value, json};
use wscluster_gateway::server::Shutdown;

use crate::support::{Client, Gateway, soon, until};
use crate::{drain, told};

async fn clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(gateway.client().await);
    }
    clients
}

/// Waits until something of the drain has a value.
async fn reaches(gateway: &Gateway, field: &str, value: Value) {
    until(async || gateway.drain_status().await[field] == value).await;
}

#[tokio::test]
async fn its_progress_is_told_and_at_the_deadline_the_rest_is_closed() {
    let gateway = Gateway::start("", None).await;
    let mut all = clients(&gateway, 3).await;
    let began = drain(&gateway, &json!({"timeoutSeconds": 2})).await;
    let (start, deadline) = (began["startedAt"].as_u64().unwrap(), began["deadlineAt"].as_u64().unwrap());
    assert_eq!(deadline, start + 2000);
    reaches(&gateway, "noticed", json!(3)).await;
    all.remove(0).leave().await;
    reaches(&gateway, "moved", json!(1)).await;
    let under_way = gateway.drain_status().await;
    assert_eq!((&under_way["state"], &under_way["remaining"]), (&json!("draining"), &json!(2)));
    assert!(under_way["rate"].as_f64().unwrap() >= 1.0, "{under_way}");
    for client in &mut all {
        assert_eq!(client.next().await["type"], "drain");
        assert_eq!(client.close_code().await, 1012);
    }
    drop(all);
    reaches(&gateway, "state", json!("drained")).await;
    let over = gateway.drain_status().await;
    assert_eq!((&over["moved"], &over["forced"], &over["remaining"]), (&json!(1), &json!(2), &json!(0)));
    assert_eq!((&over["rate"], &over["deadlineAt"]), (&json!(0.0), &json!(deadline)));
    assert_eq!(gateway.metric("ws_drain_forced_total").await, 2);
    assert_eq!(gateway.metric("ws_drain_moved_total").await, 1);
    assert_eq!(gateway.metric("ws_connections_closed_total{reason=\"drain_forced\"}").await, 2);
}

#[tokio::test]
async fn another_pace_takes_effect_at_once_and_nothing_else_changes() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let all = clients(&gateway, 12).await;
    let began = drain(&gateway, &json!({"connectionsPerSecond": 1})).await;
    reaches(&gateway, "noticed", json!(1)).await;
    assert_eq!(gateway.drain_status().await["rate"], 1.0);
    let faster = drain(&gateway, &json!({"connectionsPerSecond": 20})).await;
    assert!(faster["noticed"].as_u64().unwrap() <= 2, "no burst: {faster}");
    assert_eq!((&faster["startedAt"], &faster["deadlineAt"]), (&began["startedAt"], &began["deadlineAt"]));
    assert_eq!(faster["rate"], 20.0);
    reaches(&gateway, "noticed", json!(12)).await;
    let took = gateway.drain_status().await;
    let least = Duration::from_millis(11 * 1000 / 20);
    let now = Duration::from_millis(wscluster_gateway::clock::now() - took["startedAt"].as_u64().unwrap());
    assert!(now >= least, "{now:?}");
    drop(all);
}

#[tokio::test]
async fn a_cancelled_drain_is_told_and_the_next_one_tells_everybody_once_again() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let mut all = clients(&gateway, 3).await;
    let mut raw = Client::raw(gateway.public, "room=a").await;
    drain(&gateway, &json!({})).await;
    reaches(&gateway, "noticed", json!(4)).await;
    let (status, body) = gateway.admin("DELETE", "/v1/drain").await;
    let running: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &running["state"], &running["noticed"]), (200, &json!("running"), &json!(0)));
    assert_eq!(gateway.admin("GET", "/readyz").await.0, 200);
    for client in &mut all {
        assert_eq!(told(client).await, ["drain", "drainCancelled"]);
    }
    // Who leaves now was not moved; cancelling again tells nobody.
    all.remove(0).leave().await;
    assert_eq!(gateway.admin("DELETE", "/v1/drain").await.0, 200);
    drain(&gateway, &json!({})).await;
    reaches(&gateway, "noticed", json!(3)).await;
    for client in &mut all {
        assert_eq!(told(client).await, ["drain"]);
    }
    assert!(raw.next_text().await.contains("drain"));
    assert!(raw.next_text().await.contains("drain"));
    assert_eq!(raw.close_code().await, 1012);
    reaches(&gateway, "moved", json!(1)).await;
    assert_eq!(gateway.metric("ws_drain_noticed_total").await, 7);
}

#[tokio::test]
async fn a_signal_during_a_drain_keeps_its_progress_and_cannot_be_taken_back() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 60}", None).await;
    let mut all = clients(&gateway, 2).await;
    let began = drain(&gateway, &json!({"connectionsPerSecond": 30})).await;
    reaches(&gateway, "noticed", json!(2)).await;
    all.remove(0).leave().await;
    reaches(&gateway, "moved", json!(1)).await;
    gateway.shutdown.send(Shutdown::Drain).await.unwrap();
    reaches(&gateway, "exiting", json!(true)).await;
    let status = gateway.drain_status().await;
    assert_eq!(status["startedAt"], began["startedAt"]);
    assert_eq!(status["deadlineAt"], began["deadlineAt"], "an end by the signal alone would be later");
    assert_eq!((&status["moved"], &status["noticed"], &status["rate"]), (&json!(1), &json!(2), &json!(30.0)));
    let (refused, why) = gateway.admin("DELETE", "/v1/drain").await;
    assert_eq!((refused, why.contains("told to exit")), (409, true), "{why}");
    assert_eq!(told(&mut all[0]).await, ["drain"], "nobody is told twice");
    all.remove(0).leave().await;
    soon(gateway.run).await.unwrap();
}

#[tokio::test]
async fn whoever_is_about_to_end_the_process_brings_a_late_deadline_forward() {
    let gateway = Gateway::start("drain: {timeoutSeconds: 20}", None).await;
    let client = gateway.client().await;
    let began = drain(&gateway, &json!({"timeoutSeconds": 3600})).await;
    gateway.shutdown.send(Shutdown::Drain).await.unwrap();
    reaches(&gateway, "exiting", json!(true)).await;
    let deadline = |status: &Value| status["deadlineAt"].as_u64().unwrap();
    let sooner = gateway.drain_status().await;
    assert!(deadline(&sooner) < deadline(&began) - 3_500_000, "{sooner}");
    let later = drain(&gateway, &json!({"timeoutSeconds": 3600})).await;
    assert_eq!(deadline(&later), deadline(&sooner), "the pod is ended then, whatever is wished for");
    client.leave().await;
    soon(gateway.run).await.unwrap();
}
