//! Asking gateways: those that answer, those that don't, and the request to drain. A stand-in speaks the admin port's part.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use wscluster_operator::gateways::{Report, Target, follow};
use wscluster_operator::workers::Publisher;

/// A gateway that holds seven connections until it is asked to drain.
#[derive(Clone, Default)]
struct Gateway {
    drains: Arc<Mutex<u32>>,
}

impl Gateway {
    async fn start(ip: Ipv4Addr, port: u16) -> (Self, u16) {
        let gateway = Self::default();
        let router = Router::new()
            .route("/v1/connections", get(connections))
            .route("/v1/drain", post(drain))
            .with_state(gateway.clone());
        let listener = TcpListener::bind((ip, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (gateway, port)
    }
}

async fn connections(State(gateway): State<Gateway>) -> String {
    let held = if *gateway.drains.lock().unwrap() > 0 { 0 } else { 7 };
    format!(r#"{{"connections": {held}, "rooms": 1, "redis": {{"connected": true}}}}"#)
}

async fn drain(State(gateway): State<Gateway>, headers: HeaderMap) -> StatusCode {
    if headers.get("authorization").is_none_or(|value| value != "Bearer token") {
        return StatusCode::UNAUTHORIZED;
    }
    *gateway.drains.lock().unwrap() += 1;
    StatusCode::OK
}

#[tokio::test]
async fn connections_are_counted_and_a_silent_gateway_holds_up_nobody() {
    let (gateway, port) = Gateway::start(Ipv4Addr::LOCALHOST, 0).await;
    let pods = BTreeMap::from([
        ("up".to_owned(), IpAddr::from([127, 0, 0, 1])),
        // Nobody listens there.
        ("down".to_owned(), IpAddr::from([127, 0, 0, 77])),
    ]);
    let target = Target { pods, port, token: Some("token".to_owned()), drain: false };
    let changed = Arc::new(Notify::new());
    let poke = changed.clone();
    let (publisher, report) = Publisher::new(Report::default(), Arc::new(move || poke.notify_one()));
    let (targets, receiver) = watch::channel(target);
    tokio::spawn(follow(receiver, publisher));
    let until = async |wanted: fn(&Report) -> bool| {
        let waiting = async {
            while !wanted(&report.lock().unwrap()) {
                changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time");
    };
    until(|report| report.connections().get("up") == Some(&7) && report.silent == ["down"]).await;
    assert_eq!(*gateway.drains.lock().unwrap(), 0, "nobody is asked to drain without reason");
    targets.send_modify(|target| target.drain = true);
    until(|report| report.asked_to_drain && report.connections().get("up") == Some(&0)).await;
    assert!(*gateway.drains.lock().unwrap() > 0);
}
