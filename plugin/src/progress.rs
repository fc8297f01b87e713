//! How far a rollout is, in one line, and whether waiting helps. Pure.

use kube::ResourceExt;
use wscluster_crds::WsCluster;
use wscluster_crds::status::{RolloutStatus, WsClusterStatus, condition};

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Waiting(String),
    /// Everything is as the newest spec wants it.
    Complete(String),
    /// It will not go on by itself.
    Stopped(String),
}

/// How far the rollout of the newest spec is.
pub fn of(cluster: &WsCluster) -> Progress {
    let name = cluster.name_any();
    let Some(status) = &cluster.status else {
        return Progress::Waiting(format!("{name}: the operator has not reported yet; is it running?"));
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Progress::Stopped(format!("{name} is being deleted"));
    }
    if status.observed_generation < cluster.metadata.generation {
        return Progress::Waiting(format!("{name}: waiting for the operator to see the newest spec"));
    }
    stopped(cluster, status).map_or_else(|| going(&name, status), Progress::Stopped)
}

/// Counts of a rollout that moves sessions: what is done, what is left, how fast.
pub fn counts(rollout: &RolloutStatus) -> String {
    let mut parts = vec![format!("{} of {} sessions moved", rollout.moved, rollout.moved + rollout.remaining)];
    if rollout.remaining > 0 {
        parts.push(format!("{} remain", rollout.remaining));
    }
    if rollout.connections_per_second > 0 {
        parts.push(format!("{}/s", rollout.connections_per_second));
    }
    if let Some(seconds) = rollout.eta_seconds.filter(|_| rollout.remaining > 0) {
        parts.push(format!("about {} left", span(seconds)));
    }
    parts.join(", ")
}

/// Sessions lost, with how many of them were cut off.
pub fn losses(rollout: &RolloutStatus) -> String {
    match (rollout.dropped, rollout.forced) {
        (0, _) => "no session lost".to_owned(),
        (lost, 0) => format!("{lost} lost"),
        (lost, forced) => format!("{lost} lost, {forced} of them cut off at the drain deadline"),
    }
}

/// Seconds for a person.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

/// Why it goes no further, and what helps.
fn stopped(cluster: &WsCluster, status: &WsClusterStatus) -> Option<String> {
    let name = cluster.name_any();
    if cluster.spec.paused {
        return Some(format!("{name} is paused (spec.paused); go on with: kubectl wscluster resume {name}"));
    }
    let rollout = status.rollout.as_ref()?;
    let (steps, back) = (route(rollout), format!("go back with: kubectl wscluster undo {name}"));
    match rollout.phase.as_str() {
        "Failed" => Some(format!("{name}: rollout {steps} failed{}; {back}", why(status, rollout))),
        "Paused" => Some(format!(
            "{name}: rollout {steps} has paused itself, {}{}; go on with: kubectl wscluster resume {name}, or {back}",
            losses(rollout),
            why(status, rollout)
        )),
        _ => None,
    }
}

fn why(status: &WsClusterStatus, rollout: &RolloutStatus) -> String {
    let words = rollout.message.as_deref().or_else(|| message(status, condition::DEGRADED, "True"));
    words.map_or_else(String::new, |words| format!(": {}", words.trim_end_matches('.')))
}

fn going(name: &str, status: &WsClusterStatus) -> Progress {
    let rollout = status.rollout.clone().unwrap_or_default();
    let steps = route(&rollout);
    match rollout.phase.as_str() {
        "Surging" => Progress::Waiting(format!("{name}: rollout {steps}, {}", surging(status, &rollout))),
        "Draining" => Progress::Waiting(format!("{name}: rollout {steps}, {}{}", counts(&rollout), held(&rollout))),
        _ => settled(name, status, &rollout),
    }
}

/// Why nothing moves for now, if that is so.
fn held(rollout: &RolloutStatus) -> String {
    rollout.message.as_ref().map_or_else(String::new, |message| format!(". {message}"))
}

fn surging(status: &WsClusterStatus, rollout: &RolloutStatus) -> String {
    let new = status.revisions.iter().find(|revision| Some(&revision.hash) == rollout.to.as_ref());
    new.map_or_else(
        || "its gateways are being made".to_owned(),
        |new| format!("{} of {} new gateways are ready", new.ready, new.replicas),
    )
}

/// No rollout is under way; what else changes is waited for. An address for the Service may never come, and is not.
fn settled(name: &str, status: &WsClusterStatus, rollout: &RolloutStatus) -> Progress {
    let find = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    let busy =
        find(condition::PROGRESSING).filter(|found| found.status == "True" && found.reason != "LoadBalancerPending");
    let ready = find(condition::READY);
    if let Some(busy) = busy {
        return Progress::Waiting(format!("{name}: {}", busy.message));
    }
    match ready {
        Some(ready) if ready.status == "True" => {
            let revision = status.active_revision.as_deref().unwrap_or("?");
            let moved = if rollout.moved > 0 { format!(", {} sessions moved", rollout.moved) } else { String::new() };
            let ready = status.ready.as_deref().unwrap_or("?");
            Progress::Complete(format!("{name}: revision {revision} is out{moved}, {}, {ready} ready", losses(rollout)))
        }
        Some(ready) => Progress::Waiting(format!("{name}: {}", ready.message)),
        None => Progress::Waiting(format!("{name}: the operator has not reported yet; is it running?")),
    }
}

/// From which revision to which.
pub fn route(rollout: &RolloutStatus) -> String {
    match (&rollout.from, &rollout.to) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (None, Some(to)) => to.clone(),
        _ => "?".to_owned(),
    }
}

fn message<'a>(status: &'a WsClusterStatus, type_: &str, value: &str) -> Option<&'a str> {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == value);
    found.map(|condition| condition.message.as_str())
}
