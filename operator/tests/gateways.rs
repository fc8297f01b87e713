//! Asking gateways: those that answer, those that don't, and the request to drain. A stand-in speaks the admin port's part.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use wscluster_operator::gateways::{Answer, Carried, Phase, Report, Target, follow};
use wscluster_operator::rebalance::{Terms, WAIT};
use wscluster_operator::workers::Publisher;

/// A gateway that holds seven connections, or as many as it is made to, until it is asked to drain.
#[derive(Clone, Default)]
struct Gateway {
    held: Arc<Mutex<Option<i64>>>,
    drains: Arc<Mutex<u32>>,
    /// What it was told of others.
    peers: Arc<Mutex<Vec<String>>>,
    /// What it was asked to do with its surplus.
    rebalances: Arc<Mutex<Vec<String>>>,
    /// Whether it is of a version that knows of others.
    hands_over: bool,
}

impl Gateway {
    async fn start(ip: Ipv4Addr, port: u16, hands_over: bool) -> (Self, u16) {
        let gateway = Self { hands_over, ..Self::default() };
        let router = Router::new()
            .route("/v1/connections", get(connections))
            .route("/v1/drain", get(drained).post(drain).delete(cancel))
            .route("/v1/peers", put(peers))
            .route("/v1/rebalance", put(rebalance).delete(withdraw))
            .with_state(gateway.clone());
        let listener = TcpListener::bind((ip, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (gateway, port)
    }
}

async fn connections(State(gateway): State<Gateway>) -> String {
    let held = gateway.held.lock().unwrap().unwrap_or(7);
    let held = if *gateway.drains.lock().unwrap() > 0 { 0 } else { held };
    format!(r#"{{"connections": {held}, "rooms": 1, "redis": {{"connected": true}}}}"#)
}

async fn drained(State(gateway): State<Gateway>) -> String {
    let state = if *gateway.drains.lock().unwrap() > 0 { "drained" } else { "running" };
    format!(r#"{{"state": "{state}", "remaining": 0, "moved": 7, "forced": 0, "startedAt": null}}"#)
}

async fn drain(State(gateway): State<Gateway>, headers: HeaderMap, body: String) -> Result<String, StatusCode> {
    if headers.get("authorization").is_none_or(|value| value != "Bearer token") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if body != r#"{"connectionsPerSecond":5}"# {
        return Err(StatusCode::BAD_REQUEST);
    }
    *gateway.drains.lock().unwrap() += 1;
    Ok(drained(State(gateway)).await)
}

async fn cancel(State(gateway): State<Gateway>) -> String {
    *gateway.drains.lock().unwrap() = 0;
    drained(State(gateway)).await
}

async fn peers(State(gateway): State<Gateway>, headers: HeaderMap, body: String) -> Result<String, StatusCode> {
    if !gateway.hands_over {
        return Err(StatusCode::NOT_FOUND);
    }
    if headers.get("authorization").is_none_or(|value| value != "Bearer token") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    gateway.peers.lock().unwrap().push(body.clone());
    Ok(body)
}

async fn rebalance(State(gateway): State<Gateway>, headers: HeaderMap, body: String) -> Result<String, StatusCode> {
    if headers.get("authorization").is_none_or(|value| value != "Bearer token") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    gateway.rebalances.lock().unwrap().push(body);
    Ok("{}".to_owned())
}

async fn withdraw(State(gateway): State<Gateway>) -> String {
    gateway.rebalances.lock().unwrap().push("withdrawn".to_owned());
    "{}".to_owned()
}

fn up(report: &Report) -> Answer {
    report.answers.get("up").copied().unwrap_or_default()
}

fn target(pods: BTreeMap<String, IpAddr>, port: u16) -> Target {
    Target {
        pods,
        port,
        token: Some("token".to_owned()),
        drains: BTreeMap::new(),
        cancels: BTreeSet::new(),
        peers: BTreeMap::new(),
        listeners: BTreeMap::new(),
        rebalance: None,
    }
}

/// Gateways that are being asked.
struct Asking {
    targets: watch::Sender<Target>,
    report: Arc<Mutex<Report>>,
    changed: Arc<Notify>,
}

impl Asking {
    fn of(target: Target) -> Self {
        let changed = Arc::new(Notify::new());
        let poke = changed.clone();
        let (publisher, report) = Publisher::new(Report::default(), Arc::new(move || poke.notify_one()));
        let (targets, receiver) = watch::channel(target);
        tokio::spawn(follow(receiver, publisher, Carried::default()));
        Self { targets, report, changed }
    }

    async fn until(&self, wanted: fn(&Report) -> bool) {
        let waiting = async {
            while !wanted(&self.report.lock().unwrap()) {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time");
    }
}

#[tokio::test]
async fn connections_are_counted_and_a_silent_gateway_holds_up_nobody() {
    let (gateway, port) = Gateway::start(Ipv4Addr::LOCALHOST, 0, true).await;
    let pods = BTreeMap::from([
        ("up".to_owned(), IpAddr::from([127, 0, 0, 1])),
        // Nobody listens there.
        ("down".to_owned(), IpAddr::from([127, 0, 0, 77])),
    ]);
    let target = target(pods, port);
    let asking = Asking::of(target);
    asking.until(|report| report.connections().get("up") == Some(&7) && report.silent == ["down"]).await;
    assert_eq!(*gateway.drains.lock().unwrap(), 0, "nobody is asked to drain without reason");
    asking.targets.send_modify(|target| target.drains = BTreeMap::from([("up".to_owned(), Some(5))]));
    asking.until(|report| up(report).drain.state == Phase::Drained && up(report).connections == 0).await;
    assert_eq!(up(&asking.report.lock().unwrap()).drain.moved, 7);
    asking.targets.send_modify(|target| {
        target.drains.clear();
        target.cancels.insert("up".to_owned());
    });
    asking.until(|report| up(report).drain.state == Phase::Running).await;
}

#[tokio::test]
async fn gateways_are_told_of_the_others_when_that_changes() {
    let (gateway, port) = Gateway::start(Ipv4Addr::LOCALHOST, 0, true).await;
    let (_older, _) = Gateway::start(Ipv4Addr::new(127, 0, 0, 2), port, false).await;
    let pods = BTreeMap::from([("a".to_owned(), [127, 0, 0, 1].into()), ("older".to_owned(), [127, 0, 0, 2].into())]);
    let peer = |name: &str, last: u8| (name.to_owned(), SocketAddr::from(([10, 0, 0, last], 8081)));
    let mut first = target(pods, port);
    first.peers = BTreeMap::from([peer("a", 1), peer("b", 2)]);
    first.listeners = ["a", "older"].map(|pod| (pod.to_owned(), "1".to_owned())).into();
    let changed = Arc::new(Notify::new());
    let (publisher, report) = Publisher::new(
        Report::default(),
        Arc::new({
            let poke = changed.clone();
            move || poke.notify_one()
        }),
    );
    let (targets, receiver) = watch::channel(first);
    tokio::spawn(follow(receiver, publisher, Carried::default()));
    let told = async |number: usize| {
        let waiting = async {
            while gateway.peers.lock().unwrap().len() < number {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time");
        gateway.peers.lock().unwrap().last().cloned().unwrap_or_default()
    };
    assert_eq!(told(1).await, r#"{"peers":{"a":"10.0.0.1:8081","b":"10.0.0.2:8081"}}"#);
    changed.notified().await;
    assert!(report.lock().unwrap().silent.is_empty(), "one that knows nothing of others answers all the same");
    // Another target with the same peers: nobody is told again.
    targets.send_modify(|target| target.cancels = BTreeSet::from(["a".to_owned()]));
    targets.send_modify(|target| target.peers = BTreeMap::from([peer("b", 2)]));
    assert_eq!(told(2).await, r#"{"peers":{"b":"10.0.0.2:8081"}}"#);
    targets.send_modify(|target| target.listeners = BTreeMap::from([("a".to_owned(), "2".to_owned())]));
    assert_eq!(told(3).await, r#"{"peers":{"b":"10.0.0.2:8081"}}"#, "a new process is told");
    assert_eq!(gateway.peers.lock().unwrap().len(), 3);
}

/// What the operator says is understood by a gateway itself, and heard once, however many gateways there are.
#[tokio::test]
async fn a_gateway_understands_the_longest_list_and_is_told_it_once() {
    let (gateway, port) = Gateway::start(Ipv4Addr::LOCALHOST, 0, true).await;
    let mut longest = target(BTreeMap::from([("a".to_owned(), [127, 0, 0, 1].into())]), port);
    // As many as a WsCluster may have, under names as long as its name may make them.
    let peer = |n: u16| (format!("{}-{n:010}-abcde", "p".repeat(47)), SocketAddr::from(([255, 255, 255, 255], 8081)));
    longest.peers = (0..1000).map(peer).collect();
    longest.listeners = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let rounds = Arc::new(Notify::new());
    let (publisher, _report) = Publisher::new(
        Report::default(),
        Arc::new({
            let poke = rounds.clone();
            move || poke.notify_one()
        }),
    );
    let (targets, receiver) = watch::channel(longest);
    tokio::spawn(follow(receiver, publisher, Carried::default()));
    rounds.notified().await;
    // Another round, of which the report says something else.
    targets.send_modify(|target| target.drains = BTreeMap::from([("a".to_owned(), Some(5))]));
    rounds.notified().await;
    let told = gateway.peers.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "it had heard");
    let understood: wscluster_gateway::affinity::peers::Told = serde_json::from_str(&told[0]).unwrap();
    assert_eq!(understood.check().unwrap().len(), 1000);
}

#[tokio::test]
async fn gateways_with_too_many_are_asked_to_move_their_surplus_until_they_have_not() {
    let (full, port) = Gateway::start(Ipv4Addr::LOCALHOST, 0, true).await;
    let (empty, _) = Gateway::start(Ipv4Addr::new(127, 0, 0, 2), port, true).await;
    *full.held.lock().unwrap() = Some(300);
    *empty.held.lock().unwrap() = Some(0);
    let mut two =
        target([("full", 1), ("empty", 2)].map(|(pod, n)| (pod.to_owned(), [127, 0, 0, n].into())).into(), port);
    let pods = two.pods.keys().cloned().collect();
    two.rebalance = Some(Terms { threshold_percent: 25, connections_per_second: 20, pods });
    let asking = Asking::of(two);
    asking.until(|report| report.connections().get("full") == Some(&300)).await;
    assert!(full.rebalances.lock().unwrap().is_empty(), "not at once");
    tokio::time::pause();
    tokio::time::advance(WAIT).await;
    tokio::time::resume();
    asking.until(|report| report.giving == ["full".to_owned()].into()).await;
    *full.held.lock().unwrap() = Some(160);
    *empty.held.lock().unwrap() = Some(140);
    asking.until(|report| report.giving.is_empty()).await;
    let asked = full.rebalances.lock().unwrap().clone();
    assert_eq!(asked[0], r#"{"connectionsPerSecond":20,"keep":150,"settledForSeconds":1}"#);
    assert_eq!(asked.last().unwrap(), "withdrawn");
    assert!(empty.rebalances.lock().unwrap().is_empty());
}
