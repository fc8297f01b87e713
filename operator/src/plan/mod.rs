//! What is to be done for a cluster: a pure function of what the user wants and of what was observed. Nothing here asks
//! or writes anything.

pub mod deletion;
pub mod marks;
pub mod peers;
pub mod rebalance;
pub mod surge;
pub mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use wscluster_crds::names::InvalidName;
use wscluster_crds::{WsCluster, WsClusterStatus};

use crate::config::Defaults;
use crate::desired::Wanted;
use crate::kinds::Kind;
use crate::observe::{Observed, Owner};
use crate::rollout::{self, Phase};
use crate::status;
use crate::status::fleet::{Fleet, Gateway};
use crate::status::notices::{self, Notice};
use crate::status::rollout::Accounts;
use deletion::Drained;
use marks::PodChange;
use writes::{Removal, Write};

/// The finalizer that lets a fleet drain before it goes.
pub const FINALIZER: &str = "wscluster.dev/drain";

/// Time after which a cluster is looked at although nothing was heard of it.
const QUIET: Duration = Duration::from_mins(1);
/// The same, while waiting for something that no watch tells of.
const WAITING: Duration = Duration::from_secs(2);

/// The same, while an object of somebody else's bears one of the cluster's names.
const TAKEN: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What becomes of the finalizer.
    pub finalizer: Option<Finalizer>,
    /// Pods whose labels and annotations are to change, before anything else.
    pub pods: Vec<PodChange>,
    /// Pods that are told to drain, and how many sessions they tell to move per second (`None`: at their own pace).
    pub drains: BTreeMap<String, Option<u32>>,
    /// Pods that are told to serve again.
    pub cancels: BTreeSet<String>,
    /// Gateways that the others may hand a client over to, by pod.
    pub peers: BTreeMap<String, SocketAddr>,
    /// On what terms surplus sessions are moved; `None`: not now.
    pub rebalance: Option<rebalance::Terms>,
    /// Objects to write.
    pub writes: Vec<Write>,
    /// Objects to delete.
    pub removals: Vec<Removal>,
    /// The status, where it differs.
    pub status: Option<WsClusterStatus>,
    /// Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again, if nothing happens before.
    pub requeue: Duration,
}

/// What becomes of the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalizer {
    /// It is put on.
    Add,
    /// It is taken off: the cluster goes.
    Remove,
}

impl Plan {
    /// One line for the log; no contents, which may be secret.
    pub fn summary(&self) -> String {
        let writes = self
            .writes
            .iter()
            .map(|write| format!("{} {} ({})", write.object.kind.as_str(), write.object.name, write.why));
        let removals = self.removals.iter().map(|removal| format!("delete {} {}", removal.kind.as_str(), removal.name));
        let finalizer = self.finalizer.iter().map(|finalizer| format!("{finalizer:?} finalizer"));
        let pods = self.pods.iter().map(|pod| format!("Pod {} ({})", pod.name, keys(pod)));
        let status = self.status.iter().map(|_| "status".to_owned());
        finalizer.chain(pods).chain(writes).chain(removals).chain(status).collect::<Vec<_>>().join(", ")
    }

    /// Whether anything is to be done.
    pub fn is_empty(&self) -> bool {
        self.finalizer.is_none()
            && self.pods.is_empty()
            && self.writes.is_empty()
            && self.removals.is_empty()
            && self.status.is_none()
    }
}

fn keys(pod: &PodChange) -> String {
    let sign = |(key, value): (&String, &serde_json::Value)| {
        if value.is_null() { format!("-{key}") } else { format!("+{key}") }
    };
    pod.labels.iter().chain(&pod.annotations).map(sign).collect::<Vec<_>>().join(" ")
}

/// Plans one turn.
pub fn plan(cluster: &WsCluster, observed: &Observed, defaults: &Defaults) -> Result<Plan, InvalidName> {
    let wanted = writes::wanted(cluster, observed, defaults)?;
    if cluster.metadata.deletion_timestamp.is_none() {
        return Ok(turn(cluster, observed, wanted));
    }
    let held = cluster.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    Ok(if held { deletion(cluster, observed, wanted) } else { Plan { requeue: QUIET, ..Plan::default() } })
}

fn turn(cluster: &WsCluster, observed: &Observed, mut wanted: Wanted<'_>) -> Plan {
    let State { pods, accounts, surge } = state(cluster, observed, &wanted);
    writes::apply(&surge, observed, &mut wanted);
    let paused = cluster.spec.paused;
    let (writes, removals) = if paused { Default::default() } else { writes::of(cluster, observed, &wanted) };
    let held = cluster.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let pending = writes.iter().any(|write| write.object.kind == Kind::Deployment);
    let fleet = fleet(observed, &wanted, pods, &surge, pending);
    let status = status::of(cluster, observed, &fleet, &accounts, &wanted.budget, None);
    let mut notices: Vec<_> = writes.iter().filter_map(Write::notice).collect();
    notices.extend(changes(cluster, &status));
    Plan {
        finalizer: (!held && !paused).then_some(Finalizer::Add),
        pods: marks::of(observed, &surge),
        drains: surge.drains.iter().map(|(pod, order)| (pod.clone(), Some(order.connections_per_second))).collect(),
        cancels: surge.cancels.clone(),
        peers: peers::of(observed, &surge),
        rebalance: rebalance::terms(cluster, &fleet),
        writes,
        removals,
        notices,
        status: differs(cluster, status),
        requeue: requeue(cluster, observed, &fleet),
    }
}

fn deletion(cluster: &WsCluster, observed: &Observed, mut wanted: Wanted<'_>) -> Plan {
    let State { pods, accounts, surge } = state(cluster, observed, &wanted);
    writes::apply(&surge, observed, &mut wanted);
    let fleet = fleet(observed, &wanted, pods, &surge, false);
    match deletion::drained(cluster, observed, &fleet, &wanted.budget) {
        Drained::Yes(why) => Plan {
            finalizer: Some(Finalizer::Remove),
            notices: vec![Notice::normal("Drained", "Delete", why)],
            requeue: QUIET,
            ..Plan::default()
        },
        Drained::NotYet(words) => {
            let status = status::of(cluster, observed, &fleet, &accounts, &wanted.budget, Some(&words));
            let pace = u32::try_from(wanted.budget.connections_per_second).ok().filter(|pace| *pace > 0);
            Plan {
                drains: fleet.staying().map(|pod| (pod.name.clone(), pace)).collect(),
                notices: changes(cluster, &status),
                status: differs(cluster, status),
                requeue: WAITING,
                ..Plan::default()
            }
        }
    }
}

/// What is made of the observation before anything is decided about objects.
struct State {
    pods: Vec<Gateway>,
    accounts: Accounts,
    surge: rollout::Plan,
}

fn state(cluster: &WsCluster, observed: &Observed, wanted: &Wanted<'_>) -> State {
    let pods = status::fleet::gateways(&observed.pods);
    let none = WsClusterStatus::default();
    let old = cluster.status.as_ref().unwrap_or(&none);
    let accounts = Accounts::of(old, &pods, &observed.gateways, &wanted.revision);
    let seen = surge::seen(cluster, observed, accounts.dropped());
    let surge = rollout::step(&surge::wish(cluster, wanted), &seen);
    State { pods, accounts, surge }
}

fn fleet(observed: &Observed, wanted: &Wanted<'_>, pods: Vec<Gateway>, surge: &rollout::Plan, pending: bool) -> Fleet {
    let key = (Kind::Deployment, wanted.name.deployment(&wanted.revision));
    let ours = observed.owner(&key, &wanted.uid, wanted.name.as_str()) == Some(Owner::Ours);
    let live = observed.children.get(&key).filter(|_| ours);
    let deployment: Option<Deployment> = live.and_then(|live| serde_json::from_value(live.clone()).ok());
    Fleet::of(wanted.replicas, &wanted.revision, pods, surge, deployment.as_ref(), pending)
}

fn changes(cluster: &WsCluster, status: &WsClusterStatus) -> Vec<Notice> {
    let none = WsClusterStatus::default();
    let old = cluster.status.as_ref().unwrap_or(&none);
    let mut changes = notices::transitions(&old.conditions, &status.conditions);
    changes.extend(notices::rebalance(old.rebalance.as_ref(), status.rebalance.as_ref()));
    changes
}

fn differs(cluster: &WsCluster, status: WsClusterStatus) -> Option<WsClusterStatus> {
    (cluster.status.as_ref() != Some(&status)).then_some(status)
}

/// No watch tells when an object that is not ours goes, neither a former cluster's nor somebody else's; nor when the time
/// that a gateway has for its drain is over.
fn requeue(cluster: &WsCluster, observed: &Observed, fleet: &Fleet) -> Duration {
    let owners = observed.owners(&cluster.uid().unwrap_or_default(), &cluster.name_any());
    match () {
        () if owners.contains(&Owner::Former) || fleet.phase != Phase::Idle => WAITING,
        () if owners.contains(&Owner::Foreign) => TAKEN,
        () => QUIET,
    }
}
