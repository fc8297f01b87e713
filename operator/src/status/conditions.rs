//! The conditions of a cluster: one verdict each, with a stable reason and a message that says what to do. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use wscluster_crds::WsCluster;
use wscluster_crds::status::{RolloutStatus, condition as types};

use super::fleet::Fleet;
use super::later::Later;
use super::problems::{Problem, missing_secret};
use super::route::Route;
use super::scaling;
use crate::observe::Observed;
use crate::rollout::{Hold, Phase};
use crate::streams::report::{Fault, Reachability};

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Type of the condition.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Stable reason.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

/// What the verdicts are drawn from.
pub struct Facts<'a> {
    /// The WsCluster.
    pub cluster: &'a WsCluster,
    /// What was observed.
    pub observed: &'a Observed,
    /// The fleet.
    pub fleet: &'a Fleet,
    /// The rollout.
    pub rollout: &'a RolloutStatus,
    /// What needs a person.
    pub problems: &'a [Problem],
    /// What is not in force.
    pub later: &'a Later,
    /// What has become of the extra way in, if one is asked for.
    pub route: Option<&'a Route>,
    /// Where clients connect, if the way in has an address.
    pub endpoint: Option<&'a str>,
    /// While deleting: how far it is.
    pub deleting: Option<&'a str>,
}

/// The verdicts of all conditions.
pub fn verdicts(facts: &Facts<'_>) -> Vec<Verdict> {
    let mut all = vec![ready(facts), progressing(facts), degraded(facts), redis(facts), preserved(facts.rollout)];
    if let Some((status, reason, message)) = facts.route.map(Route::verdict) {
        all.push(Verdict { type_: types::ROUTE_ACCEPTED, status, reason, message });
    }
    all.extend(scaling::verdict(facts.cluster, facts.observed));
    all
}

/// Conditions from verdicts; a condition keeps its transition time while its status stays.
pub fn conditions(
    verdicts: Vec<Verdict>,
    old: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let since = |verdict: &Verdict| {
        let same = old.iter().find(|old| old.type_ == verdict.type_ && old.status == verdict.status);
        same.map_or(Time(second), |old| old.last_transition_time.clone())
    };
    verdicts
        .into_iter()
        .map(|verdict| Condition {
            last_transition_time: since(&verdict),
            type_: verdict.type_.to_owned(),
            status: verdict.status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message,
            observed_generation: generation,
        })
        .collect()
}

fn verdict(type_: &'static str, status: &'static str, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { type_, status, reason, message: message.into() }
}

fn ready(facts: &Facts<'_>) -> Verdict {
    let fleet = facts.fleet;
    let (ready, wanted) = (fleet.serving(), fleet.wanted);
    if facts.deleting.is_some() {
        return verdict(types::READY, "False", "Deleting", "The cluster is being deleted");
    }
    if ready >= wanted && facts.observed.has_fleet() {
        return verdict(types::READY, "True", "AllGatewaysReady", format!("{ready} of {wanted} gateways are ready"));
    }
    let missing = facts.problems.iter().any(|problem| problem.reason == "SecretNotFound");
    let reason = if missing { "SecretMissing" } else { "GatewaysNotReady" };
    let cause = facts.problems.first().map(|problem| format!(". {}", problem.message)).unwrap_or_default();
    verdict(types::READY, "False", reason, format!("{ready} of {wanted} gateways are ready{cause}"))
}

fn progressing(facts: &Facts<'_>) -> Verdict {
    let fleet = facts.fleet;
    if let Some(words) = facts.deleting {
        return verdict(types::PROGRESSING, "True", "Draining", words);
    }
    if facts.cluster.spec.paused {
        return verdict(
            types::PROGRESSING,
            "False",
            "Paused",
            "spec.paused is set: nothing is changed until it is not",
        );
    }
    if fleet.hold == Some(Hold::LossBudget) {
        return verdict(types::PROGRESSING, "False", "SessionsLost", fleet.stopped().unwrap_or_default());
    }
    if fleet.deadline_exceeded {
        let message = format!("Revision {} did not come up in time", fleet.revision);
        return verdict(types::PROGRESSING, "False", "ProgressDeadlineExceeded", message);
    }
    if !fleet.rolled_out {
        let reason = if fleet.phase == Phase::ScalingIn { "ScalingIn" } else { "RollingOut" };
        return verdict(types::PROGRESSING, "True", reason, on_its_way(facts));
    }
    if facts.endpoint.is_none() {
        let message = "The Service has no load balancer address yet. Where nothing provides load balancers, set spec.service.type to NodePort or ClusterIP in a new WsCluster";
        return verdict(types::PROGRESSING, "True", "LoadBalancerPending", message);
    }
    verdict(types::PROGRESSING, "False", "Complete", format!("All gateways are of revision {}", fleet.revision))
}

fn on_its_way(facts: &Facts<'_>) -> String {
    let (fleet, rollout) = (facts.fleet, facts.rollout);
    match (fleet.hold, fleet.phase) {
        (Some(_), _) => fleet.stopped().unwrap_or_default(),
        (None, Phase::Draining) => format!(
            "{} connections of earlier revisions are left to move to revision {}",
            rollout.remaining, fleet.revision
        ),
        (None, Phase::ScalingIn) => format!("Sessions leave the gateways beyond {}", fleet.wanted),
        _ => format!("{} of {} gateways of revision {} are ready", fleet.updated(), fleet.wanted, fleet.revision),
    }
}

fn degraded(facts: &Facts<'_>) -> Verdict {
    let later = facts.later;
    if let Some(worst) = facts.problems.first() {
        let messages: Vec<_> = facts.problems.iter().map(|problem| problem.message.as_str()).collect();
        return verdict(types::DEGRADED, "True", worst.reason, messages.join(" | "));
    }
    if !later.set.is_empty() {
        let message = format!("Accepted, but not in force yet: {}", later.set.join(", "));
        return verdict(types::DEGRADED, "True", "NotImplemented", message);
    }
    let message = match later.defaults.as_slice() {
        [] => "Nothing needs attention".to_owned(),
        defaults => format!("Nothing needs attention. Accepted, not yet in force: {}", defaults.join(", ")),
    };
    verdict(types::DEGRADED, "False", "AsExpected", message)
}

fn redis(facts: &Facts<'_>) -> Verdict {
    if let Some(problem) = missing_secret(&facts.observed.address) {
        return verdict(types::REDIS_REACHABLE, "False", "SecretNotFound", problem.message);
    }
    let report = &facts.observed.redis;
    match &report.reachability {
        Reachability::Unchecked => {
            verdict(types::REDIS_REACHABLE, "Unknown", "Checking", "Redis has not been asked yet")
        }
        Reachability::Reachable { .. } => {
            verdict(types::REDIS_REACHABLE, "True", "Connected", report.answer().unwrap_or_default())
        }
        Reachability::Failed { fault, message } => {
            let (status, reason) = match fault {
                Fault::Connection => ("False", "ConnectionFailed"),
                Fault::Authentication => ("False", "AuthFailed"),
                Fault::Address => ("False", "InvalidUrl"),
                Fault::Unsupported => ("Unknown", "NotChecked"),
            };
            let stated = facts.problems.iter().find(|problem| problem.reason.starts_with("Redis"));
            let message = stated.map_or_else(|| message.clone(), |problem| problem.message.clone());
            verdict(types::REDIS_REACHABLE, status, reason, message)
        }
    }
}

fn preserved(rollout: &RolloutStatus) -> Verdict {
    let RolloutStatus { moved, resumed, dropped, forced, .. } = rollout;
    if *dropped > 0 {
        let message = format!(
            "{dropped} sessions were lost in the last rollout: {forced} were cut off at the drain deadline, the others came back to rooms that no longer held what they had missed"
        );
        return verdict(types::SESSIONS_PRESERVED, "False", "SessionsLost", message);
    }
    let message = format!("The last rollout lost no session ({moved} moved, {resumed} resumed)");
    verdict(types::SESSIONS_PRESERVED, "True", "NoneLost", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 500_000_000).unwrap()
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let verdict = |status, reason| vec![verdict("Ready", status, reason, "m")];
        let first = conditions(verdict("False", "A"), &[], Some(1), at(10));
        assert_eq!(first[0].last_transition_time.0.as_second(), 10);
        assert_eq!(first[0].last_transition_time.0.subsec_nanosecond(), 0, "the API server keeps whole seconds");
        let second = conditions(verdict("False", "B"), &first, Some(2), at(20));
        assert_eq!(second[0].last_transition_time.0.as_second(), 10);
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let third = conditions(verdict("True", "B"), &second, Some(2), at(30));
        assert_eq!(third[0].last_transition_time.0.as_second(), 30);
    }
}
