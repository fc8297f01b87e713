//! What the surge is told of a cluster: its spec and the objects and pods that were observed, boiled down to plain facts.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use wscluster_crds::spec::Auto;
use wscluster_crds::{WsCluster, labels};

use crate::desired::Wanted;
use crate::gateways::{self, Phase};
use crate::kinds::Kind;
use crate::observe::{Observed, Owner};
use crate::rollout::{DrainState, Mark, Revision, Seen, Wish, observed as facts};
use crate::status::fleet;

/// Value of the deletion cost of a gateway that is to go first.
pub const CHEAP: &str = "-1000";

/// What the user wants of the fleet.
pub fn wish(cluster: &WsCluster, wanted: &Wanted<'_>) -> Wish {
    let spec = &cluster.spec;
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    Wish {
        revision: wanted.revision.clone(),
        replicas: wanted.replicas,
        max_surge: wanted.budget.max_surge,
        paused: spec.paused,
        loss_budget: spec.rollout.auto_pause.then(|| loss_budget(cluster)),
        min_seconds: wanted.budget.min_seconds,
        timeout_seconds: wanted.budget.timeout_seconds,
        connections_per_second: match Auto::from(&spec.drain.connections_per_second) {
            Auto::Auto => None,
            Auto::Fixed(rate) => Some(count(rate)),
        },
        handshakes_per_second: count(spec.limits.handshakes_per_second),
        max_connections: i64::from(spec.gateway.max_connections),
    }
}

/// What is there.
pub fn seen(cluster: &WsCluster, observed: &Observed, dropped: i64) -> Seen {
    let mut revisions = revisions(cluster, observed);
    for pod in &observed.pods {
        let Some(hash) = pod.labels().get(labels::REVISION) else { continue };
        let Some(gateway) = gateway(pod, observed) else { continue };
        let revision = revisions.entry(hash.clone()).or_insert_with(|| without_deployment(hash, observed.now));
        revision.pods.push(gateway);
    }
    Seen { now: observed.now, active: active(cluster, observed), revisions: revisions.into_values().collect(), dropped }
}

/// The revision that the Service's selector names.
pub fn active(cluster: &WsCluster, observed: &Observed) -> Option<String> {
    let key = (Kind::Service, cluster.name_any());
    let ours = observed.owner(&key, &cluster.uid().unwrap_or_default(), &cluster.name_any());
    if !matches!(ours, Some(Owner::Ours | Owner::Orphaned)) {
        return None;
    }
    observed.typed::<Service>(Kind::Service)?.spec?.selector?.remove(labels::REVISION)
}

/// What a rollout may lose: the budget, or what somebody has accepted meanwhile.
fn loss_budget(cluster: &WsCluster) -> i64 {
    let accepted = cluster.annotations().get(labels::ACCEPTED_LOSSES).and_then(|text| text.parse().ok());
    i64::from(cluster.spec.rollout.session_loss_budget).max(accepted.unwrap_or_default())
}

fn revisions(cluster: &WsCluster, observed: &Observed) -> BTreeMap<String, Revision> {
    let uid = cluster.uid().unwrap_or_default();
    let mut found = BTreeMap::new();
    for (key, live) in observed.children.iter().filter(|((kind, _), _)| *kind == Kind::Deployment) {
        let ours = observed.owner(key, &uid, &cluster.name_any());
        let deployment: Option<Deployment> = serde_json::from_value(live.clone()).ok();
        let Some(deployment) = deployment.filter(|_| matches!(ours, Some(Owner::Ours | Owner::Orphaned))) else {
            continue;
        };
        if let Some(hash) = deployment.labels().get(labels::REVISION) {
            found.insert(hash.clone(), revision(hash, &deployment, observed.now));
        }
    }
    found
}

fn revision(hash: &str, deployment: &Deployment, now: Timestamp) -> Revision {
    let annotation = deployment.annotations().get(labels::ACTIVATED_AT);
    Revision {
        deployed: deployment.metadata.deletion_timestamp.is_none(),
        replicas: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default(),
        available: fleet::available(deployment),
        created_at: deployment.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0),
        activated_at: annotation.and_then(|text| text.parse().ok()),
        deadline_exceeded: fleet::deadline_exceeded(deployment),
        ..without_deployment(hash, now)
    }
}

/// Pods whose Deployment is gone may hold sessions.
fn without_deployment(hash: &str, now: Timestamp) -> Revision {
    Revision {
        hash: hash.to_owned(),
        deployed: false,
        replicas: 0,
        available: 0,
        created_at: now,
        activated_at: Some(now),
        deadline_exceeded: false,
        pods: Vec::new(),
    }
}

fn gateway(pod: &Pod, observed: &Observed) -> Option<facts::Pod> {
    let gateway = fleet::gateway(pod)?;
    let answer = observed.gateways.answers.get(&gateway.name);
    Some(facts::Pod {
        connections: answer.map(|answer| answer.connections),
        drain: answer.map_or(DrainState::Silent, |answer| drain(*answer)),
        mark: mark(pod),
        cheap: pod.annotations().get(labels::DELETION_COST).is_some_and(|cost| cost == CHEAP),
        leaving_node: gateway.node.as_ref().is_some_and(|node| observed.cordoned.contains(node)),
        ready: gateway.ready,
        unready_since: gateway.unready_since,
        running: gateway.running,
        terminating: gateway.terminating,
        name: gateway.name,
    })
}

fn drain(answer: gateways::Answer) -> DrainState {
    match answer.drain.state {
        Phase::Running => DrainState::Serving,
        Phase::Draining => DrainState::Draining,
        Phase::Drained => DrainState::Drained,
    }
}

/// The operator's mark on a pod.
pub fn mark(pod: &Pod) -> Option<Mark> {
    serde_json::from_str(pod.annotations().get(labels::DRAIN)?).ok()
}

/// Nodes on which a gateway is ending: those are asked after.
pub fn ending_nodes(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let ending = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
    ending.filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect()
}
