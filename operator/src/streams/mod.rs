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
use crate::workers::Publisher;
use connect::{Failure, Place, identify};
use report::Report;
use rules::Rules;
use sweep::{Step, Sweep};

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
    /// Namespace of the WsCluster, in which host names without a dot are meant.
    pub namespace: String,
    /// How streams are kept.
    pub streams: Streams,
    /// Seconds that a session may be away.
    pub resume_window_seconds: i64,
    /// Whether streams are swept, or Redis is only looked at.
    pub sweep: bool,
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

/// From connecting to the first failure.
async fn session(target: &Target, reports: &mut Publisher<Report>, metrics: &Metrics) -> Result<Infallible, Failure> {
    let place = Place::parse(&target.url, &target.namespace)?;
    reports.update(|report| report.host = place.host());
    let mut redis = place.connect().await?;
    let (rules, mut sweep) = (Rules::new(&target.streams), Sweep::default());
    let mut next_sweep = Instant::now();
    loop {
        let identity = identify(&mut redis).await?;
        reports.update(|report| report.reachability = identity);
        if target.sweep && Instant::now() >= next_sweep {
            let step = sweep.step(&mut redis, &rules).await;
            metrics.swept(step.as_ref().ok());
            match step {
                Ok(step) => reports.update(|report| note(report, step, target.resume_window_seconds)),
                Err(error) if error.is_io_error() => return Err(error.into()),
                Err(error) => reports.update(|report| report.sweep_failure = Some(error.to_string())),
            }
            next_sweep = Instant::now() + SWEEP;
        }
        sleep(CHECK).await;
    }
}

fn note(report: &mut Report, step: Step, resume_window_seconds: i64) {
    report.trimmed_entries += step.trimmed;
    report.sweep_failure = None;
    if let Some(pass) = step.finished {
        report.rooms = Some(pass.rooms);
        report.headroom_seconds = pass.shortest_hold.map(|hold| hold / 1000 - resume_window_seconds);
    }
}
