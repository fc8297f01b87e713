//! Events: what is worth telling when the conditions changed from what the status said before. Pure, so a restarted
//! operator, which finds its old status, says nothing twice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use wscluster_crds::status::{RebalanceStatus, condition as types};

/// One Event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is a warning.
    pub warning: bool,
    /// Stable reason.
    pub reason: String,
    /// What the operator was doing.
    pub action: &'static str,
    /// For a person.
    pub note: String,
}

impl Notice {
    /// A notice of something as it should be.
    pub fn normal(reason: &str, action: &'static str, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.to_owned(), action, note: note.into() }
    }

    /// A notice of something that needs attention.
    pub fn warning(reason: &str, action: &'static str, note: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, action, note) }
    }
}

/// What changed between two sets of conditions and is worth an Event.
pub fn transitions(old: &[Condition], new: &[Condition]) -> Vec<Notice> {
    let degraded = find(new, types::DEGRADED).map(|condition| condition.reason.as_str());
    new.iter()
        .filter_map(|condition| {
            let before = find(old, &condition.type_);
            let changed =
                before.is_none_or(|before| before.status != condition.status || before.reason != condition.reason);
            changed.then(|| notice(before, condition, degraded))?
        })
        .collect()
}

/// What there is to tell of a rebalance that began or ended.
pub fn rebalance(old: Option<&RebalanceStatus>, new: Option<&RebalanceStatus>) -> Option<Notice> {
    match (old, new) {
        (None, Some(new)) => {
            let note = format!("Surplus sessions move to gateways that have fewer, from {}", new.from.join(", "));
            Some(Notice::normal("Rebalancing", "Rebalance", note))
        }
        (Some(_), None) => Some(Notice::normal("Rebalanced", "Rebalance", "No surplus sessions are moved any more")),
        _ => None,
    }
}

fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn notice(before: Option<&Condition>, now: &Condition, degraded: Option<&str>) -> Option<Notice> {
    let was = |status: &str| before.is_some_and(|before| before.status == status);
    let message = now.message.clone();
    match (now.type_.as_str(), now.status.as_str(), now.reason.as_str()) {
        (types::DEGRADED, "True", reason) => Some(Notice::warning(reason, "Observe", message)),
        (types::DEGRADED, "False", _) if was("True") => {
            Some(Notice::normal("Recovered", "Observe", "What needed attention is mended"))
        }
        (types::READY, "True", _) if !was("True") => Some(Notice::normal("Ready", "Observe", message)),
        (types::READY, "False", "GatewaysNotReady") if was("True") => {
            Some(Notice::warning("GatewaysNotReady", "Observe", message))
        }
        (types::PROGRESSING, "True", "RollingOut") => Some(Notice::normal("RollingOut", "Roll", message)),
        (types::PROGRESSING, "True", "Draining") => Some(Notice::normal("Draining", "Delete", message)),
        (types::PROGRESSING, "False", "Complete") => Some(Notice::normal("RolloutComplete", "Roll", message)),
        (types::PROGRESSING, "False", "Paused") => Some(Notice::normal("Paused", "Observe", message)),
        (types::SCALING_ACTIVE, "True", _) if !was("True") => Some(Notice::normal("ScalingActive", "Scale", message)),
        (types::SCALING_ACTIVE, "False", reason) => Some(Notice::warning(reason, "Scale", message)),
        (types::REDIS_REACHABLE, "True", _) => Some(Notice::normal("RedisConnected", "Check", message)),
        // A missing Secret or the worst problem is told by Degraded already.
        (types::REDIS_REACHABLE, "False", reason)
            if reason != "SecretNotFound" && !degraded.is_some_and(|reason| reason.starts_with("Redis")) =>
        {
            Some(Notice::warning(&format!("Redis{reason}"), "Check", message))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "m".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    fn reasons(old: &[Condition], new: &[Condition]) -> Vec<(bool, String)> {
        transitions(old, new).into_iter().map(|notice| (notice.warning, notice.reason)).collect()
    }

    #[test]
    fn unchanged_conditions_are_told_once() {
        let bad =
            [condition("Degraded", "True", "SecretNotFound"), condition("RedisReachable", "False", "SecretNotFound")];
        assert_eq!(reasons(&[], &bad), [(true, "SecretNotFound".to_owned())]);
        assert!(reasons(&bad, &bad).is_empty());
    }

    #[test]
    fn mending_is_told() {
        let bad = [condition("Degraded", "True", "SecretNotFound")];
        assert_eq!(reasons(&bad, &[condition("Degraded", "False", "AsExpected")]), [(false, "Recovered".to_owned())]);
    }

    #[test]
    fn a_fleet_that_was_never_ready_is_no_warning() {
        let not_ready = [condition("Ready", "False", "GatewaysNotReady")];
        assert!(reasons(&[], &not_ready).is_empty());
        assert_eq!(
            reasons(&[condition("Ready", "True", "AllGatewaysReady")], &not_ready),
            [(true, "GatewaysNotReady".to_owned())]
        );
    }

    #[test]
    fn redis_trouble_is_told_even_behind_a_worse_problem() {
        let new =
            [condition("Degraded", "True", "NameTaken"), condition("RedisReachable", "False", "ConnectionFailed")];
        let told = reasons(&[], &new);
        assert_eq!(told, [(true, "NameTaken".to_owned()), (true, "RedisConnectionFailed".to_owned())]);
    }

    #[test]
    fn a_rebalance_is_told_of_when_it_begins_and_when_it_ends() {
        let giving = |from: &[&str]| RebalanceStatus {
            started_at: Time(Timestamp::UNIX_EPOCH),
            from: from.iter().map(|pod| (*pod).to_owned()).collect(),
        };
        let (two, one) = (giving(&["a", "b"]), giving(&["a"]));
        let began = rebalance(None, Some(&two)).unwrap();
        assert_eq!(began.note, "Surplus sessions move to gateways that have fewer, from a, b");
        assert_eq!((rebalance(Some(&two), Some(&one)), rebalance(None, None)), (None, None));
        assert_eq!(rebalance(Some(&one), None).unwrap().reason, "Rebalanced");
    }
}
