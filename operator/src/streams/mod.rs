//! Redis as the operator sees it: one background task per cluster checks that it answers and sweeps its streams. It
//! never holds up a reconcile: it leaves a [`Report`] behind and pokes.

pub mod connect;
pub mod report;
pub mod rules;
pub mod sweep;

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use wscluster_crds::spec::Streams;

use crate::metrics::Metrics;
use crate::secrets::Certificates;
use crate::workers::Publisher;
use connect::{Failure, Place, identify};
use redis::aio::MultiplexedConnection;
use report::Report;
use rules::Rules;
use sweep::{Pass, Sweep};

/// Time between two checks that Redis answers.
const CHECK: Duration = Duration::from_secs(10);
/// Time between two steps of the sweep.
const SWEEP: Duration = Duration::from_secs(30);
/// Longest wait before Redis is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Which Redis, and how its streams are kept.
#[derive(Clone, PartialEq)]
pub struct Target {
    /// The URL, with credentials.
    pub url: String,
    /// Certificates for TLS.
    pub certificates: Certificates,
    /// Namespace of the WsCluster, in which host names without a dot are meant.
    pub namespace: String,
    /// How streams are kept.
    pub streams: Streams,
    /// Seconds that a session may be away.
    pub resume_window_seconds: i64,
    /// Whether streams are swept, or Redis is only looked at.
    pub sweep: bool,
}

/// Where a target is, without credentials; nothing where its URL makes no sense.
pub fn host(target: &Target) -> String {
    Place::parse(&target.url, &target.namespace).map(|place| place.host()).unwrap_or_default()
}

/// Watches one Redis until the targets end. A new target is taken at once.
pub async fn follow(mut targets: watch::Receiver<Target>, mut reports: Publisher<Report>, metrics: Metrics) {
    loop {
        let target = targets.borrow_and_update().clone();
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            never = attempts(&target, &mut reports, &metrics) => match never {},
        }
    }
}

async fn attempts(target: &Target, reports: &mut Publisher<Report>, metrics: &Metrics) -> Infallible {
    let mut backoff = Duration::from_secs(1);
    loop {
        let started = Instant::now();
        let Err(failure) = session(target, reports, metrics).await;
        tracing::warn!(namespace = target.namespace, fault = ?failure.fault, "Redis: {}", failure.message);
        reports.update(|report| report.reachability = failure.into());
        if started.elapsed() > CHECK {
            backoff = Duration::from_secs(1);
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// From connecting to the first failure, or until other servers are the masters.
async fn session(target: &Target, reports: &mut Publisher<Report>, metrics: &Metrics) -> Result<Infallible, Failure> {
    let place = Place::parse(&target.url, &target.namespace)?.with_certificates(target.certificates.clone());
    reports.update(|report| report.host = place.host());
    let rules = Rules::new(&target.streams);
    loop {
        let masters = place.masters().await?;
        let mut sweeps = Vec::new();
        for master in &masters {
            sweeps.push(Server { redis: place.connect_to(master).await?, sweep: Sweep::default(), pass: None });
        }
        let mut next_sweep = Instant::now();
        while place.masters().await? == masters {
            let identity = identify(&mut sweeps[0].redis).await?;
            reports.update(|report| report.reachability = place.named(identity));
            if target.sweep && Instant::now() >= next_sweep {
                sweep_all(&mut sweeps, &rules, target, reports, metrics).await?;
                next_sweep = Instant::now() + SWEEP;
            }
            sleep(CHECK).await;
        }
    }
}

/// One master.
struct Server {
    redis: MultiplexedConnection,
    sweep: Sweep,
    /// What its last whole pass found.
    pass: Option<Pass>,
}

async fn sweep_all(
    servers: &mut [Server],
    rules: &Rules,
    target: &Target,
    reports: &mut Publisher<Report>,
    metrics: &Metrics,
) -> Result<(), Failure> {
    for server in servers.iter_mut() {
        let step = server.sweep.step(&mut server.redis, rules).await;
        metrics.swept(step.as_ref().ok());
        match step {
            Ok(step) => {
                server.pass = step.finished.or(server.pass);
                reports.update(|report| report.trimmed_entries += step.trimmed);
            }
            // Also a master that is none any more: whoever is, is looked for.
            Err(error) if error.is_io_error() || error.code() == Some("READONLY") => return Err(error.into()),
            Err(error) => {
                reports.update(|report| report.sweep_failure = Some(error.to_string()));
                return Ok(());
            }
        }
    }
    let passes: Option<Vec<Pass>> = servers.iter().map(|server| server.pass).collect();
    reports.update(|report| note(report, passes.as_deref(), target.resume_window_seconds));
    Ok(())
}

/// What is known once every master was swept.
fn note(report: &mut Report, passes: Option<&[Pass]>, resume_window_seconds: i64) {
    report.sweep_failure = None;
    if let Some(passes) = passes {
        report.rooms = Some(passes.iter().map(|pass| pass.rooms).sum());
        let shortest = passes.iter().filter_map(|pass| pass.shortest_hold).min();
        report.headroom_seconds = shortest.map(|hold| hold / 1000 - resume_window_seconds);
    }
}
