//! What the status of each WsCluster says, as gauges: for alerts and dashboards of what gateways cannot know. Only the operator
//! that leads has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use wscluster_crds::{WsCluster, WsClusterStatus};

use crate::desired;

/// The gauges. A clone sets the same.
#[derive(Clone, Default)]
pub(super) struct Clusters {
    gateways: Family<StateLabels, Gauge>,
    conditions: Family<ConditionLabels, Gauge>,
    sessions: Family<OutcomeLabels, Gauge>,
    /// What was set, by the cluster's uid: to be taken back when the cluster goes, or a condition does.
    set: Arc<Mutex<BTreeMap<String, Series>>>,
}

/// Whose series it is. The names are those that the gateways' series have by their PodMonitor.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    namespace: String,
    wscluster: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    wscluster: String,
    r#type: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    namespace: String,
    wscluster: String,
    outcome: &'static str,
}

/// The values of one cluster.
#[derive(Default)]
struct Series {
    gateways: Vec<(StateLabels, i64)>,
    conditions: Vec<(ConditionLabels, i64)>,
    sessions: Vec<(OutcomeLabels, i64)>,
}

impl Clusters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("gateways", "Gateways of a WsCluster, by state", self.gateways.clone());
        let help = "Conditions of a WsCluster: 1 True, 0 False, -1 Unknown";
        registry.register("condition", help, self.conditions.clone());
        let help = "Sessions in the last rollout of a WsCluster, by what became of them";
        registry.register("rollout_sessions", help, self.sessions.clone());
    }

    /// Shows the status of a cluster.
    pub(super) fn show(&self, cluster: &WsCluster, status: &WsClusterStatus) {
        let series = Series::of(cluster, status);
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let before = set.remove(&cluster.uid().unwrap_or_default()).unwrap_or_default();
        for (labels, _) in before.conditions {
            if series.conditions.iter().all(|(stays, _)| *stays != labels) {
                self.conditions.remove(&labels);
            }
        }
        put(&self.gateways, &series.gateways);
        put(&self.conditions, &series.conditions);
        put(&self.sessions, &series.sessions);
        set.insert(cluster.uid().unwrap_or_default(), series);
    }

    /// Takes back what is shown of clusters that are gone.
    pub(super) fn retain(&self, exists: impl Fn(&str) -> bool) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = set.keys().filter(|uid| !exists(uid)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|uid| set.remove(uid)).collect();
        for series in gone {
            // A successor of the same name shows itself anew in its next turn, at most a minute from now.
            series.gateways.iter().for_each(|(labels, _)| _ = self.gateways.remove(labels));
            series.conditions.iter().for_each(|(labels, _)| _ = self.conditions.remove(labels));
            series.sessions.iter().for_each(|(labels, _)| _ = self.sessions.remove(labels));
        }
    }
}

fn put<L>(family: &Family<L, Gauge>, values: &[(L, i64)])
where
    L: Clone + std::hash::Hash + Eq,
{
    for (labels, value) in values {
        family.get_or_create(labels).set(*value);
    }
}

impl Series {
    fn of(cluster: &WsCluster, status: &WsClusterStatus) -> Self {
        let (namespace, wscluster) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let gateways = [("wanted", desired::gateways(&cluster.spec)), ("ready", status.ready_replicas)];
        let rollout = status.rollout.clone().unwrap_or_default();
        let sessions = [
            ("moved", rollout.moved),
            ("resumed", rollout.resumed),
            ("dropped", rollout.dropped),
            ("remaining", rollout.remaining),
        ];
        Self {
            gateways: gateways
                .map(|(state, number)| {
                    let (namespace, wscluster) = (namespace.clone(), wscluster.clone());
                    (StateLabels { namespace, wscluster, state }, i64::from(number))
                })
                .into(),
            conditions: status
                .conditions
                .iter()
                .map(|condition| {
                    let (namespace, wscluster) = (namespace.clone(), wscluster.clone());
                    let r#type = condition.type_.clone();
                    (ConditionLabels { namespace, wscluster, r#type }, truth(condition))
                })
                .collect(),
            sessions: sessions
                .map(|(outcome, number)| {
                    let (namespace, wscluster) = (namespace.clone(), wscluster.clone());
                    (OutcomeLabels { namespace, wscluster, outcome }, number)
                })
                .into(),
        }
    }
}

fn truth(condition: &Condition) -> i64 {
    match condition.status.as_str() {
        "True" => 1,
        "False" => 0,
        _ => -1,
    }
}
