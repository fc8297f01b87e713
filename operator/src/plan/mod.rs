//! What is to be done for a cluster: a pure function of what the user wants and of what was observed. Nothing here asks
//! or writes anything.

pub mod deletion;
pub mod writes;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use wscluster_crds::names::InvalidName;
use wscluster_crds::{WsCluster, WsClusterStatus};

use crate::config::Defaults;
use crate::desired::{Wanted, gateways};
use crate::kinds::Kind;
use crate::observe::{Observed, Owner};
use crate::status;
use crate::status::fleet::Fleet;
use crate::status::notices::{self, Notice};
use deletion::Drained;
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
        let status = self.status.iter().map(|_| "status".to_owned());
        finalizer.chain(writes).chain(removals).chain(status).collect::<Vec<_>>().join(", ")
    }

    /// Whether anything is to be done.
    pub fn is_empty(&self) -> bool {
        self.finalizer.is_none() && self.writes.is_empty() && self.removals.is_empty() && self.status.is_none()
    }
}

/// Plans one turn.
pub fn plan(cluster: &WsCluster, observed: &Observed, defaults: &Defaults) -> Result<Plan, InvalidName> {
    let wanted = writes::wanted(cluster, observed, defaults)?;
    let held = cluster.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(if held {
            deletion(cluster, observed, &wanted)
        } else {
            Plan { requeue: QUIET, ..Plan::default() }
        });
    }
    let (writes, removals) =
        if cluster.spec.paused { Default::default() } else { writes::of(cluster, observed, &wanted) };
    let finalizer = (!held && !cluster.spec.paused).then_some(Finalizer::Add);
    let pending = writes.iter().any(|write| write.object.kind == Kind::Deployment);
    let fleet = fleet(cluster, observed, &wanted, pending);
    let status = status::of(cluster, observed, &fleet, &wanted.budget, None);
    let mut notices: Vec<_> = writes.iter().filter_map(Write::notice).collect();
    notices.extend(changes(cluster, &status));
    Ok(Plan {
        finalizer,
        writes,
        removals,
        notices,
        status: differs(cluster, status),
        requeue: requeue(cluster, observed),
    })
}

fn deletion(cluster: &WsCluster, observed: &Observed, wanted: &Wanted<'_>) -> Plan {
    let fleet = fleet(cluster, observed, wanted, false);
    match deletion::drained(cluster, observed, &fleet, &wanted.budget) {
        Drained::Yes(why) => Plan {
            finalizer: Some(Finalizer::Remove),
            notices: vec![Notice::normal("Drained", "Delete", why)],
            requeue: QUIET,
            ..Plan::default()
        },
        Drained::NotYet(words) => {
            let status = status::of(cluster, observed, &fleet, &wanted.budget, Some(&words));
            Plan {
                notices: changes(cluster, &status),
                status: differs(cluster, status),
                requeue: WAITING,
                ..Plan::default()
            }
        }
    }
}

fn fleet(cluster: &WsCluster, observed: &Observed, wanted: &Wanted<'_>, pending: bool) -> Fleet {
    let uid = cluster.uid().unwrap_or_default();
    let ours = observed.owner(Kind::Deployment, &uid, &cluster.name_any()) == Some(Owner::Ours);
    let deployment: Option<Deployment> = if ours { observed.typed(Kind::Deployment) } else { None };
    let autoscaled = deployment.as_ref().and_then(|live| live.spec.as_ref()?.replicas);
    let count = wanted.replicas.or(autoscaled).unwrap_or_else(|| gateways(&cluster.spec));
    Fleet::of(count, &wanted.revision, &observed.pods, deployment.as_ref(), pending)
}

fn changes(cluster: &WsCluster, status: &WsClusterStatus) -> Vec<Notice> {
    let old = cluster.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    notices::transitions(&old, &status.conditions)
}

fn differs(cluster: &WsCluster, status: WsClusterStatus) -> Option<WsClusterStatus> {
    (cluster.status.as_ref() != Some(&status)).then_some(status)
}

/// No watch tells when an object that is not ours goes: neither a former cluster's nor somebody else's.
fn requeue(cluster: &WsCluster, observed: &Observed) -> Duration {
    let (uid, name) = (cluster.uid().unwrap_or_default(), cluster.name_any());
    let owners: Vec<_> = Kind::ALL.into_iter().filter_map(|kind| observed.owner(kind, &uid, &name)).collect();
    match () {
        () if owners.contains(&Owner::Former) => WAITING,
        () if owners.contains(&Owner::Foreign) => TAKEN,
        () => QUIET,
    }
}
