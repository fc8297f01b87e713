//! The gateways' admin ports: what each holds and has counted, the calls to drain, to serve again or to move surplus
//! sessions, and word of the other gateways. One background task per cluster; a gateway that does not answer holds up nobody.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use wscluster_crds::status::WsClusterStatus;

use crate::rebalance::{Balance, Order, Terms};
use crate::workers::Publisher;
use told::Told;

type Body = Full<Bytes>;
/// The client that gateways are asked with.
pub(crate) type Http = Client<HttpConnector, Body>;

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// The same, while sessions move.
const SHORT_ROUND: Duration = Duration::from_secs(1);
/// Longest wait for one gateway.
const PATIENCE: Duration = Duration::from_secs(2);
/// Gateways asked at once.
const AT_ONCE: usize = 16;
/// Largest answer read.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Which gateways to ask.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Their addresses, by pod.
    pub pods: BTreeMap<String, IpAddr>,
    /// Number of the admin port.
    pub port: u16,
    /// What state-changing calls ask for.
    pub token: Option<String>,
    /// Pods that are to move their sessions away, and how many they tell per second (`None`: at their own pace).
    pub drains: BTreeMap<String, Option<u32>>,
    /// Pods that are to stop doing so.
    pub cancels: BTreeSet<String>,
    /// Gateways that clients may be handed over to, by pod: where each listens for the others.
    pub peers: BTreeMap<String, SocketAddr>,
    /// Pods that are told of those, and what tells a pod's process from the one before.
    pub listeners: BTreeMap<String, String>,
    /// On what terms surplus sessions are moved; `None`: not now.
    pub rebalance: Option<Terms>,
}

/// What the gateways answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Answers, by pod.
    pub answers: BTreeMap<String, Answer>,
    /// Pods that did not answer in the last round.
    pub silent: Vec<String>,
    /// Pods that were asked to move surplus sessions.
    pub giving: BTreeSet<String>,
}

/// What one gateway answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Connections that it holds.
    pub connections: i64,
    /// Sessions that resumed here and miss nothing, since the process began.
    pub resumed: i64,
    /// Sessions that came back here to a hole, since the process began.
    pub unrecovered: i64,
    /// Its drain.
    #[serde(skip)]
    pub drain: Drain,
}

/// A gateway's drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// How far it is.
    pub state: Phase,
    /// Sessions that left after they were told to.
    pub moved: i64,
    /// Connections closed at the deadline.
    pub forced: i64,
}

/// How far a gateway's drain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No drain.
    #[default]
    Running,
    /// Sessions are still to be moved, or the least time is not over.
    Draining,
    /// No session is left.
    Drained,
}

impl Target {
    /// Whether gateways are to do something other than serve.
    fn changes(&self) -> bool {
        !self.drains.is_empty() || !self.cancels.is_empty()
    }
}

impl Report {
    /// Connections by pod.
    pub fn connections(&self) -> BTreeMap<String, i64> {
        self.answers.iter().map(|(pod, answer)| (pod.clone(), answer.connections)).collect()
    }
}

/// A rebalance that an operator before this one had under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The pods that it had asked.
    pub giving: BTreeSet<String>,
    /// For how long; `None`: there is none.
    pub age: Option<Duration>,
}

impl Carried {
    /// What a cluster's status says of it.
    pub fn of(status: Option<&WsClusterStatus>, now: Timestamp) -> Self {
        let Some(rebalance) = status.and_then(|status| status.rebalance.as_ref()) else { return Self::default() };
        let age = now.duration_since(rebalance.started_at.0);
        Self { giving: rebalance.from.iter().cloned().collect(), age: Some(age.try_into().unwrap_or_default()) }
    }

    /// What is reported until the first look.
    pub fn report(&self) -> Report {
        Report { giving: self.giving.clone(), ..Report::default() }
    }
}

/// Asks the gateways in rounds until the targets end.
pub async fn follow(mut targets: watch::Receiver<Target>, mut reports: Publisher<Report>, carried: Carried) {
    let (client, mut told) = (client(), Told::default());
    let mut balance = carried.age.map_or_else(Balance::default, |age| Balance::carried_on(age, Instant::now()));
    let mut giving = carried.giving;
    loop {
        let target = targets.borrow_and_update().clone();
        let (report, ()) = tokio::join!(round(&client, &target), tell(&client, &target, &mut told));
        let orders = balance.look(target.rebalance.as_ref(), &report.connections(), Instant::now());
        giving = order(&client, &target, &orders, &giving).await;
        reports.update(|last| *last = Report { giving: giving.clone(), ..report });
        let pause = if target.changes() || !giving.is_empty() { SHORT_ROUND } else { ROUND };
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

pub(crate) fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(PATIENCE));
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn round(client: &Client<HttpConnector, Body>, target: &Target) -> Report {
    let pods: Vec<_> = target.pods.iter().map(|(pod, ip)| (pod.clone(), *ip)).collect();
    let asking = pods.into_iter().map(|(pod, ip)| async move {
        // Both questions together: a late gateway must not hold up the round for longer.
        let answer = timeout(PATIENCE, ask(client, target, &pod, ip)).await;
        (pod, answer.unwrap_or(Err(AskError::Slow)))
    });
    let answers: Vec<_> = stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    let mut report = Report::default();
    for (pod, answer) in answers {
        match answer {
            Ok(answer) => {
                report.answers.insert(pod, answer);
            }
            Err(error) => {
                tracing::debug!(pod, %error, "gateway does not answer");
                report.silent.push(pod);
            }
        }
    }
    report.silent.sort();
    report
}

/// Tells each gateway of the others, where it has not heard of them yet.
async fn tell(client: &Client<HttpConnector, Body>, target: &Target, told: &mut Told) {
    let body = peers(target);
    let due = told.due(target, &body, Instant::now());
    let telling = due.into_iter().map(|(pod, ip)| {
        let body = body.clone();
        async move {
            match send(client, target, ip, Method::PUT, "/v1/peers", body).await {
                // One of a version that hands over nobody. What it answers is the list once more: of a large fleet more
                // than is worth reading.
                Ok(_) | Err(AskError::Status(StatusCode::NOT_FOUND)) => Some(pod),
                Err(error) => {
                    tracing::debug!(pod, %error, "gateway was not told of the others");
                    None
                }
            }
        }
    });
    let heard: Vec<_> = stream::iter(telling).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    told.heard(target, &body, heard, Instant::now());
}

/// Has gateways move surplus sessions, and those no more that were asked before and have none. An order ends by itself when
/// it is not repeated, so nothing is tried twice. Returns who was asked.
async fn order(
    client: &Client<HttpConnector, Body>,
    target: &Target,
    orders: &BTreeMap<String, Order>,
    before: &BTreeSet<String>,
) -> BTreeSet<String> {
    let over = before.iter().filter(|pod| !orders.contains_key(*pod)).map(|pod| (pod, Method::DELETE, String::new()));
    let asked = orders.iter().map(|(pod, order)| (pod, Method::PUT, wanted(*order)));
    let calls: Vec<_> = over
        .chain(asked)
        .filter_map(|(pod, method, body)| Some((pod.clone(), *target.pods.get(pod)?, method, body)))
        .collect();
    let sending = calls.into_iter().map(|(pod, ip, method, body)| async move {
        // One of a version that does not know of it moves nobody.
        if let Err(error) = request(client, target, ip, method, "/v1/rebalance", body).await {
            tracing::debug!(pod, %error, "gateway was not asked to move its surplus");
        }
    });
    stream::iter(sending).buffer_unordered(AT_ONCE).collect::<()>().await;
    orders.keys().cloned().collect()
}

fn wanted(order: Order) -> String {
    let Order { keep, connections_per_second, settled_for_seconds } = order;
    let wish = serde_json::json!({
        "keep": keep,
        "connectionsPerSecond": connections_per_second,
        "settledForSeconds": settled_for_seconds,
    });
    wish.to_string()
}

fn peers(target: &Target) -> String {
    serde_json::json!({"peers": target.peers}).to_string()
}

/// Why a gateway did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no answer within {} seconds", PATIENCE.as_secs())]
    Slow,
    #[error("{0}")]
    Connection(#[from] hyper_util::client::legacy::Error),
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

async fn ask(client: &Client<HttpConnector, Body>, target: &Target, pod: &str, ip: IpAddr) -> Result<Answer, AskError> {
    // Asked for in every round: it is idempotent, the pace may have changed, and a gateway may have come up meanwhile.
    let drain = match target.drains.get(pod) {
        Some(pace) => call(client, target, ip, Method::POST, &wish(*pace)).await?,
        None if target.cancels.contains(pod) => match call(client, target, ip, Method::DELETE, "").await {
            // It was told to exit: no longer ours to say.
            Err(AskError::Status(StatusCode::CONFLICT)) => call(client, target, ip, Method::GET, "").await?,
            answer => answer?,
        },
        None => call(client, target, ip, Method::GET, "").await?,
    };
    let counts = get(client, target, ip, "/v1/connections").await?;
    Ok(Answer { drain: serde_json::from_slice(&drain)?, ..serde_json::from_slice(&counts)? })
}

/// Connections that one gateway holds.
pub(crate) async fn connections(client: &Http, ip: IpAddr, port: u16) -> Result<i64, AskError> {
    let target = Target { port, ..Target::default() };
    let answer: Answer = serde_json::from_slice(&get(client, &target, ip, "/v1/connections").await?)?;
    Ok(answer.connections)
}

fn wish(pace: Option<u32>) -> String {
    pace.map_or_else(|| "{}".to_owned(), |pace| format!(r#"{{"connectionsPerSecond":{pace}}}"#))
}

async fn call(
    client: &Client<HttpConnector, Body>,
    target: &Target,
    ip: IpAddr,
    method: Method,
    body: &str,
) -> Result<Vec<u8>, AskError> {
    request(client, target, ip, method, "/v1/drain", body.to_owned()).await
}

async fn get(
    client: &Client<HttpConnector, Body>,
    target: &Target,
    ip: IpAddr,
    path: &str,
) -> Result<Vec<u8>, AskError> {
    request(client, target, ip, Method::GET, path, String::new()).await
}

async fn request(
    client: &Client<HttpConnector, Body>,
    target: &Target,
    ip: IpAddr,
    method: Method,
    path: &str,
    body: String,
) -> Result<Vec<u8>, AskError> {
    let answer = async {
        let response = send(client, target, ip, method, path, body).await?;
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(AskError::Body)?;
        Ok(body.to_bytes().to_vec())
    };
    timeout(PATIENCE, answer).await.map_err(|_| AskError::Slow)?
}

/// Sends a request, and gives what says that it succeeded, its body not read yet.
async fn send(
    client: &Client<HttpConnector, Body>,
    target: &Target,
    ip: IpAddr,
    method: Method,
    path: &str,
    body: String,
) -> Result<Response<Incoming>, AskError> {
    let address = std::net::SocketAddr::new(ip, target.port);
    let mut request = Request::builder().method(&method).uri(format!("http://{address}{path}"));
    if let Some(token) = target.token.as_ref().filter(|_| method != Method::GET) {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.header(http::header::CONTENT_TYPE, "application/json").body(Body::from(body))?;
    let response = timeout(PATIENCE, client.request(request)).await.map_err(|_| AskError::Slow)??;
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(AskError::Status(status)) }
}
