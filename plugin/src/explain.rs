//! Where each number in force comes from: the fields, the arithmetic, and what to change. Pure.

use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use wscluster_crds::spec::rules::EXIT_SECONDS;
use wscluster_crds::spec::{Auto, ServiceProvider, ServiceType, TrimPolicy};
use wscluster_crds::{WsCluster, WsClusterSpec, WsClusterStatus, labels};

use crate::progress::span;

/// One number in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What it is.
    pub name: &'static str,
    /// What it came out as.
    pub value: String,
    /// How.
    pub because: String,
    /// The fields to change it by.
    pub fields: Vec<Field>,
}

/// A field that a number comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// `spec.drain.timeoutSeconds`.
    pub path: &'static str,
    /// Its value; null where it is not set.
    pub value: Value,
    /// Whether it has the value that it has where nobody sets it.
    pub default: bool,
}

/// All numbers in force of a cluster that the operator has reported on.
pub fn items(cluster: &WsCluster) -> Vec<Item> {
    let of = Of { cluster, spec: &cluster.spec, status: cluster.status.clone().unwrap_or_default() };
    vec![
        of.gateways(),
        of.capacity(),
        of.surge(),
        of.acceptance(),
        of.deadline(),
        of.grace(),
        of.deregistration(),
        of.pace(),
        of.readiness(),
        of.retention(),
        of.losses(),
        of.disruption(),
    ]
}

struct Of<'a> {
    cluster: &'a WsCluster,
    spec: &'a WsClusterSpec,
    status: WsClusterStatus,
}

impl Of<'_> {
    fn item(
        &self,
        name: &'static str,
        value: impl Into<String>,
        because: impl Into<String>,
        paths: &[&'static str],
    ) -> Item {
        Item { name, value: value.into(), because: because.into(), fields: self.fields(paths) }
    }

    fn fields(&self, paths: &[&'static str]) -> Vec<Field> {
        let here = serde_json::to_value(self.spec).expect("plain data serialises");
        let plain: WsClusterSpec = serde_json::from_value(serde_json::json!({"redis": {}})).expect("a plain spec");
        let plain = serde_json::to_value(plain).expect("plain data serialises");
        let find = |spec: &Value, path: &str| {
            path.split('.').skip(1).try_fold(spec, |value, key| value.get(key)).cloned().unwrap_or_default()
        };
        let field = |&path: &&'static str| {
            let value = find(&here, path);
            Field { path, default: value == find(&plain, path), value }
        };
        paths.iter().map(field).collect()
    }

    /// The operator's number, with a word if it is not what this program computes.
    fn said(&self, said: i64, computed: i64) -> String {
        match () {
            () if self.status.effective.is_none() => format!("{computed} s (the operator has not reported yet)"),
            () if said != computed => {
                format!("{said} s (this program computes {computed} s: is the operator of another version?)")
            }
            () => format!("{said} s"),
        }
    }

    fn min_seconds(&self) -> i64 {
        match Auto::from(&self.spec.drain.min_seconds) {
            Auto::Fixed(seconds) => i64::from(seconds),
            Auto::Auto if self.behind_aws() => 180,
            Auto::Auto => 5,
        }
    }

    fn behind_aws(&self) -> bool {
        self.spec.service.type_ == ServiceType::LoadBalancer && self.spec.service.provider == ServiceProvider::Aws
    }

    fn gateways(&self) -> Item {
        let ready = self.status.ready.as_deref().unwrap_or("none");
        match &self.spec.autoscaling {
            Some(scaling) => self.item(
                "gateways",
                ready,
                format!("spec.autoscaling is set: from {} to {}", scaling.min_replicas, scaling.max_replicas),
                &["spec.autoscaling.minReplicas", "spec.autoscaling.maxReplicas"],
            ),
            None => self.item(
                "gateways",
                ready,
                "ready of wanted; kubectl scale wscluster writes the same field",
                &["spec.replicas"],
            ),
        }
    }

    fn capacity(&self) -> Item {
        let limit = i64::from(self.spec.gateway.max_connections);
        let gateways = i64::from(self.status.ready_replicas);
        let all = limit * gateways;
        let used = self.status.connections;
        let percent = used * 100 / all.max(1);
        let because = format!(
            "{gateways} ready gateways × {limit} connections; {used} are held ({percent} %). Past its limit a gateway answers 503"
        );
        self.item("capacity", format!("{all} connections"), because, &["spec.gateway.maxConnections", "spec.replicas"])
    }

    fn surge(&self) -> Item {
        let surge = self.status.effective.as_ref().map_or(0, |effective| effective.max_surge);
        let setting = text(&serde_json::to_value(&self.spec.rollout.max_surge).unwrap_or_default());
        let because = format!(
            "maxSurge {setting} of {} gateways, at least 1: so many of a new revision come up beside the old at a time",
            self.spec.replicas
        );
        self.item("surge", format!("{surge} gateways"), because, &["spec.rollout.maxSurge", "spec.replicas"])
    }

    fn acceptance(&self) -> Item {
        let said = self.status.effective.as_ref().map_or(0, |effective| effective.drain_min_seconds);
        let because = match Auto::from(&self.spec.drain.min_seconds) {
            Auto::Fixed(_) => {
                "as set: so long a draining gateway goes on accepting, because load balancers still send to it"
            }
            Auto::Auto if self.behind_aws() => {
                "auto: an AWS network load balancer goes on sending to a target for about 180 s after it was told to forget it"
            }
            Auto::Auto => {
                "auto: no AWS load balancer is in front; within 5 s every node knows that an endpoint is gone"
            }
        };
        let paths = ["spec.drain.minSeconds", "spec.service.type", "spec.service.provider"];
        self.item("still accepting", self.said(said, self.min_seconds()), because, &paths)
    }

    fn deadline(&self) -> Item {
        let said = self.status.effective.as_ref().map_or(0, |effective| effective.drain_deadline_seconds);
        let (min, timeout) = (self.min_seconds(), self.spec.drain.timeout_seconds);
        let because = format!(
            "{min} (still accepting) + {timeout} (spec.drain.timeoutSeconds); what is connected then is closed with 1012"
        );
        self.item("drain deadline", self.said(said, min + timeout), because, &BUDGET)
    }

    fn grace(&self) -> Item {
        let said = self.status.effective.as_ref().map_or(0, |effective| effective.termination_grace_period_seconds);
        let (min, timeout) = (self.min_seconds(), self.spec.drain.timeout_seconds);
        let because = format!(
            "{min} (still accepting) + {timeout} (spec.drain.timeoutSeconds) + {EXIT_SECONDS} (closing what is left, and exit); the pods' terminationGracePeriodSeconds, so changing it is a rollout"
        );
        self.item("grace period", self.said(said, min + timeout + EXIT_SECONDS), because, &BUDGET)
    }

    fn deregistration(&self) -> Item {
        let said = self.status.effective.as_ref().map_or(0, |effective| effective.deregistration_delay_seconds);
        let (min, timeout) = (self.min_seconds(), self.spec.drain.timeout_seconds);
        let used =
            if self.behind_aws() { "written on the Service" } else { "not used: no AWS load balancer is in front" };
        let because = format!("{min} + {timeout}, at most 3600 (AWS allows no more); {used}");
        self.item("deregistration delay", self.said(said, (min + timeout).min(3600)), because, &BUDGET)
    }

    fn pace(&self) -> Item {
        let now = self.status.rollout.as_ref().map_or(0, |rollout| rollout.connections_per_second);
        let now = if now > 0 { format!(", {now} now") } else { String::new() };
        let paths = ["spec.drain.connectionsPerSecond", "spec.limits.handshakesPerSecond", "spec.drain.timeoutSeconds"];
        match Auto::from(&self.spec.drain.connections_per_second) {
            Auto::Fixed(rate) => self.item(
                "pace of moves",
                format!("{rate} sessions/s{now}"),
                "as set, for the whole fleet; draining gateways share it by the sessions that they hold",
                &paths[..1],
            ),
            Auto::Auto => self.item(
                "pace of moves",
                format!("auto{now}"),
                format!(
                    "auto: all sessions within half of spec.drain.timeoutSeconds ({}), at least 50/s; no faster than half of the {} handshakes/s that each gateway accepts, unless the deadline would cut sessions off",
                    span(self.spec.drain.timeout_seconds / 2),
                    self.spec.limits.handshakes_per_second,
                ),
                &paths,
            ),
        }
    }

    fn readiness(&self) -> Item {
        let period = self.status.effective.as_ref().map_or(0, |effective| effective.readiness_period_seconds);
        let because = "fixed by the operator: two failures take a gateway out of the Service";
        self.item("readiness period", format!("{period} s"), because, &[])
    }

    fn retention(&self) -> Item {
        let drain = &self.spec.drain;
        let value = match self.spec.redis.streams.trim.policy() {
            TrimPolicy::MaxLen { entries } => format!("{entries} messages a room"),
            TrimPolicy::MaxAge { seconds } => format!("{} of messages", span(seconds)),
        };
        let headroom = self.status.redis.as_ref().and_then(|redis| redis.retention_headroom_seconds);
        let headroom = match headroom {
            Some(seconds) if seconds < 0 => {
                format!("; the fullest room holds {} too little: raise it", span(-seconds))
            }
            Some(seconds) => format!("; the shortest room holds {} more than that", span(seconds)),
            None => String::new(),
        };
        let because = format!(
            "a session must find what it missed for {} (timeoutSeconds) + {} (resumeWindowSeconds){headroom}",
            drain.timeout_seconds, drain.resume_window_seconds
        );
        let paths = ["spec.redis.streams.trim", "spec.drain.resumeWindowSeconds", "spec.drain.timeoutSeconds"];
        self.item("kept for resuming", value, because, &paths)
    }

    fn losses(&self) -> Item {
        let accepted = self.cluster.annotations().get(labels::ACCEPTED_LOSSES);
        let accepted = accepted.map_or_else(String::new, |count| format!("; {count} were accepted by `resume`"));
        let because = if self.spec.rollout.auto_pause {
            format!("a rollout that loses more pauses itself{accepted}")
        } else {
            "autoPause is off: a rollout goes on whatever it loses".to_owned()
        };
        let value = format!("{} sessions", self.spec.rollout.session_loss_budget);
        self.item("loss budget", value, because, &["spec.rollout.sessionLossBudget", "spec.rollout.autoPause"])
    }

    fn disruption(&self) -> Item {
        let most = text(&serde_json::to_value(&self.spec.disruption.max_unavailable).unwrap_or_default());
        let because = "the PodDisruptionBudget: evictions and node drains beyond it wait";
        self.item("away at once", format!("at most {most}"), because, &["spec.disruption.maxUnavailable"])
    }
}

const BUDGET: [&str; 2] = ["spec.drain.timeoutSeconds", "spec.drain.minSeconds"];

/// A value as a manifest has it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
