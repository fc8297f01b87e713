//! How Prometheus finds the gateways: a PodMonitor, where the cluster has the Prometheus operator's kinds. What is recorded
//! and warned of is `rules`', what Grafana shows is `dashboard`'s.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;
use wscluster_crds::spec::{Observability, Presence};

use super::Wanted;
use crate::kinds::Kind;

/// Label of every series of a gateway: the name of its WsCluster.
pub const CLUSTER: &str = "wscluster";
/// Label of every series of a gateway: its revision.
pub const REVISION: &str = "revision";

/// What there is of a kind that a cluster may lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// The cluster does not know it.
    #[default]
    Missing,
    /// The operator may not list its objects.
    Forbidden,
    /// It can be made use of.
    Usable,
}

/// What a cluster has of the Prometheus operator's kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Monitoring {
    /// `PodMonitor`.
    pub pod_monitors: Found,
    /// `PrometheusRule`.
    pub prometheus_rules: Found,
}

impl Monitoring {
    /// What there is of one of the two kinds; there is nothing of any other.
    pub fn of(&self, kind: Kind) -> Found {
        match kind {
            Kind::PodMonitor => self.pod_monitors,
            Kind::PrometheusRule => self.prometheus_rules,
            _ => Found::Missing,
        }
    }
}

/// What a spec says of one of the two kinds, and by which field.
pub fn asked(observability: &Observability, kind: Kind) -> (Presence, &'static str) {
    match kind {
        Kind::PodMonitor => (observability.pod_monitor, "spec.observability.podMonitor"),
        _ => (observability.prometheus_rule, "spec.observability.prometheusRule"),
    }
}

/// Whether a cluster has an object of one of the two kinds.
pub fn wants(wanted: &Wanted<'_>, kind: Kind) -> bool {
    let (presence, _) = asked(&wanted.spec.observability, kind);
    presence != Presence::Disabled && wanted.monitoring.of(kind) == Found::Usable
}

/// The PodMonitor: every gateway of the cluster, whatever its revision. Namespace, pod and container are told by the
/// Prometheus operator's own rules; the names that our rules and dashboards go by are added, and nothing is dropped.
pub fn pod_monitor(wanted: &Wanted<'_>) -> Value {
    let endpoint = json!({
        "port": super::pod::ADMIN,
        "path": "/metrics",
        "relabelings": [told(labels::CLUSTER, CLUSTER), told(labels::REVISION, REVISION)],
    });
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(wanted, Kind::PodMonitor),
        "spec": {
            "selector": {"matchLabels": labels::selector(wanted.name.as_str())},
            "podMetricsEndpoints": [endpoint],
        },
    })
}

/// Metadata with the labels by which a Prometheus is told to look.
pub(super) fn metadata(wanted: &Wanted<'_>, kind: Kind) -> Value {
    let mut metadata = wanted.metadata(kind, &BTreeMap::new());
    for (key, value) in &wanted.defaults.monitor_labels {
        // Ours are what the operator finds its own objects by.
        if metadata["labels"].get(key).is_none() {
            metadata["labels"][key] = json!(value);
        }
    }
    metadata
}

/// Has the label of a pod be a label of its series.
fn told(pod_label: &str, label: &str) -> Value {
    let source = pod_label.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    json!({
        "action": "replace",
        "sourceLabels": [format!("__meta_kubernetes_pod_label_{source}")],
        "targetLabel": label,
    })
}
