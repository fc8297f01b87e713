//! The gateways' admin ports: how many connections each holds, and the request to drain before a cluster is deleted. One
//! background task per cluster; a gateway that does not answer holds up nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::workers::Publisher;

type Body = Full<Bytes>;

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// The same, while a cluster drains.
const DRAINING_ROUND: Duration = Duration::from_secs(1);
/// Longest wait for one gateway.
const PATIENCE: Duration = Duration::from_secs(2);
/// Gateways asked at once.
const AT_ONCE: usize = 16;
/// Largest answer read.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Which gateways to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Their addresses, by pod.
    pub pods: BTreeMap<String, IpAddr>,
    /// Number of the admin port.
    pub port: u16,
    /// What state-changing calls ask for.
    pub token: Option<String>,
    /// Whether they are to move their sessions away.
    pub drain: bool,
}

/// What the gateways answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Answers, by pod.
    pub answers: BTreeMap<String, Answer>,
    /// Pods that did not answer in the last round.
    pub silent: Vec<String>,
    /// Whether a round has asked all gateways to drain.
    pub asked_to_drain: bool,
}

/// What one gateway answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// Connections that it holds.
    pub connections: i64,
}

impl Report {
    /// Connections by pod.
    pub fn connections(&self) -> BTreeMap<String, i64> {
        self.answers.iter().map(|(pod, answer)| (pod.clone(), answer.connections)).collect()
    }
}

/// Asks the gateways in rounds until the targets end.
pub async fn follow(mut targets: watch::Receiver<Target>, mut reports: Publisher<Report>) {
    let client = client();
    loop {
        let target = targets.borrow_and_update().clone();
        let report = round(&client, &target).await;
        reports.update(|last| *last = report);
        let pause = if target.drain { DRAINING_ROUND } else { ROUND };
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

fn client() -> Client<HttpConnector, Body> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(PATIENCE));
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn round(client: &Client<HttpConnector, Body>, target: &Target) -> Report {
    let pods: Vec<_> = target.pods.iter().map(|(pod, ip)| (pod.clone(), *ip)).collect();
    let asking = pods.into_iter().map(|(pod, ip)| async move { (pod, ask(client, target, ip).await) });
    let answers: Vec<_> = stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    let mut report = Report { asked_to_drain: target.drain, ..Report::default() };
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

/// Why a gateway did not answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
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

async fn ask(client: &Client<HttpConnector, Body>, target: &Target, ip: IpAddr) -> Result<Answer, AskError> {
    if target.drain {
        // Asked for in every round: it is idempotent, and a gateway may have come up meanwhile.
        call(client, target, ip, Method::POST, "/v1/drain").await?;
    }
    Ok(serde_json::from_slice(&call(client, target, ip, Method::GET, "/v1/connections").await?)?)
}

async fn call(
    client: &Client<HttpConnector, Body>,
    target: &Target,
    ip: IpAddr,
    method: Method,
    path: &str,
) -> Result<Vec<u8>, AskError> {
    let address = std::net::SocketAddr::new(ip, target.port);
    let mut request = Request::builder().method(&method).uri(format!("http://{address}{path}"));
    if let Some(token) = target.token.as_ref().filter(|_| method != Method::GET) {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = if method == Method::POST { "{}" } else { "" };
    let request = request.header(http::header::CONTENT_TYPE, "application/json").body(Body::from(body))?;
    let answer = async {
        let response = client.request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(AskError::Body)?;
        if status.is_success() { Ok(body.to_bytes().to_vec()) } else { Err(AskError::Status(status)) }
    };
    timeout(PATIENCE, answer).await.map_err(|_| AskError::Slow)?
}
