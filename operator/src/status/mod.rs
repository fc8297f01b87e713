//! The status of a cluster, from what was observed. Pure: who writes it, and when, is not known here.

pub mod conditions;
pub mod fleet;
pub mod later;
pub mod monitoring;
pub mod notices;
pub mod problems;
pub mod rollout;
pub mod route;
pub mod scaling;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use wscluster_crds::names::ClusterName;
use wscluster_crds::spec::ServiceType;
use wscluster_crds::status::{RebalanceStatus, RedisStatus, WsClusterStatus};
use wscluster_crds::{WsCluster, labels};

use crate::budget::Budget;
use crate::desired::{pod, workload};
use crate::kinds::Kind;
use crate::observe::Observed;
use crate::rollout::Phase;
use crate::secrets::Address;
use crate::streams::report::Reachability;
use fleet::Fleet;
use rollout::Accounts;

/// The status that a cluster should show.
pub fn of(
    cluster: &WsCluster,
    observed: &Observed,
    fleet: &Fleet,
    accounts: &Accounts,
    budget: &Budget,
    deleting: Option<&str>,
) -> WsClusterStatus {
    let old = cluster.status.clone().unwrap_or_default();
    let endpoint = endpoint(cluster, observed);
    let route = route::of(cluster, observed);
    let mut problems = problems::of(cluster, observed, fleet);
    problems.extend(route.as_ref().and_then(route::Route::problem));
    problems.extend(monitoring::problems(cluster, observed));
    let later = later::of(&cluster.spec, older(cluster, observed, &fleet.active));
    let rollout = accounts.status(&old, fleet, observed.gateways.connections().values().sum(), observed.now);
    let facts = conditions::Facts {
        cluster,
        observed,
        fleet,
        rollout: &rollout,
        problems: &problems,
        later: &later,
        route: route.as_ref(),
        endpoint: endpoint.as_deref(),
        deleting,
    };
    let verdicts = conditions::verdicts(&facts);
    let connections = observed.gateways.connections();
    WsClusterStatus {
        observed_generation: cluster.metadata.generation,
        replicas: i32::try_from(fleet.staying().count()).unwrap_or(i32::MAX),
        ready_replicas: fleet.ready(),
        ready: Some(format!("{}/{}", fleet.serving(), fleet.wanted)),
        selector: Some(selector(cluster, &fleet.active)),
        connections: connections.values().sum(),
        active_revision: Some(fleet.active.clone()),
        phase: Some(phase(cluster, fleet, !problems.is_empty(), deleting.is_some()).to_owned()),
        revisions: fleet.revisions(&connections),
        gateways: accounts.gateways.clone(),
        rollout: Some(rollout),
        rebalance: rebalance(&old, observed),
        redis: redis(&old, observed),
        effective: Some(budget.status()),
        conditions: conditions::conditions(verdicts, &old.conditions, cluster.metadata.generation, observed.now),
        endpoint,
    }
}

fn selector(cluster: &WsCluster, revision: &str) -> String {
    let pairs = labels::serving_selector(&cluster.name_any(), revision);
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Whether the gateways of a revision are of a version that has no peer port.
fn older(cluster: &WsCluster, observed: &Observed, revision: &str) -> bool {
    let Ok(name) = ClusterName::parse(&cluster.name_any()) else { return false };
    let live = observed.children.get(&(Kind::Deployment, name.deployment(revision)));
    live.and_then(workload::kept).is_some_and(|kept| !pod::has_peer_port(&kept.template))
}

fn phase(cluster: &WsCluster, fleet: &Fleet, problems: bool, deleting: bool) -> &'static str {
    match () {
        () if deleting => "Deleting",
        () if cluster.spec.paused => "Paused",
        () if problems => "Degraded",
        () if fleet.rolled_out => "Running",
        () if fleet.serving() == 0 => "Pending",
        () if fleet.phase == Phase::ScalingIn => "ScalingIn",
        () => "RollingOut",
    }
}

fn rebalance(old: &WsClusterStatus, observed: &Observed) -> Option<RebalanceStatus> {
    let from: Vec<_> = observed.gateways.giving.iter().cloned().collect();
    let began = || old.rebalance.as_ref().map_or_else(|| Time(observed.now), |before| before.started_at.clone());
    (!from.is_empty()).then(|| RebalanceStatus { started_at: began(), from })
}

fn redis(old: &WsClusterStatus, observed: &Observed) -> Option<RedisStatus> {
    let report = &observed.redis;
    let before = old.redis.clone().unwrap_or_default();
    match (&observed.address, &report.reachability) {
        (Address::Known(_), Reachability::Unchecked) => old.redis.clone(),
        (Address::Known(_), Reachability::Reachable { mode, version }) => Some(RedisStatus {
            reachable: true,
            mode: Some(mode.clone()),
            version: Some(version.clone()),
            rooms: report.rooms.or(before.rooms),
            trimmed_entries: Some(report.trimmed_entries),
            retention_headroom_seconds: report.headroom_seconds,
        }),
        _ => Some(RedisStatus { reachable: false, ..before }),
    }
}

/// Where clients connect: the load balancer's address, or the Service's name within the cluster.
fn endpoint(cluster: &WsCluster, observed: &Observed) -> Option<String> {
    let service: Service = observed.typed(Kind::Service)?;
    let spec = &cluster.spec.service;
    let host = match spec.type_ {
        ServiceType::LoadBalancer => balanced_address(&service)?,
        ServiceType::NodePort | ServiceType::ClusterIP => {
            format!("{}.{}.svc", cluster.name_any(), cluster.namespace().unwrap_or_default())
        }
    };
    let (scheme, usual) = if spec.tls.is_some() { ("wss", 443) } else { ("ws", 80) };
    let port = spec.effective_port();
    let port = if port == usual { String::new() } else { format!(":{port}") };
    Some(format!("{scheme}://{host}{port}/ws"))
}

fn balanced_address(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.clone();
    let ip = ingress.ip.map(|ip| if ip.contains(':') { format!("[{ip}]") } else { ip });
    ingress.hostname.or(ip)
}
