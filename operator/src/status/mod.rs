//! The status of a cluster, from what was observed. Pure: who writes it, and when, is not known here.

pub mod conditions;
pub mod fleet;
pub mod later;
pub mod notices;
pub mod problems;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use wscluster_crds::spec::ServiceType;
use wscluster_crds::status::{RedisStatus, RolloutStatus, WsClusterStatus};
use wscluster_crds::{WsCluster, labels};

use crate::budget::Budget;
use crate::observe::Observed;
use crate::secrets::Address;
use crate::streams::report::Reachability;
use fleet::Fleet;

/// The status that a cluster should show.
pub fn of(
    cluster: &WsCluster,
    observed: &Observed,
    fleet: &Fleet,
    budget: &Budget,
    deleting: Option<&str>,
) -> WsClusterStatus {
    let old = cluster.status.clone().unwrap_or_default();
    let endpoint = endpoint(cluster, observed);
    let problems = problems::of(cluster, observed, fleet);
    let later = later::of(&cluster.spec);
    let facts = conditions::Facts {
        cluster,
        observed,
        fleet,
        problems: &problems,
        later: &later,
        endpoint: endpoint.as_deref(),
        deleting,
    };
    let verdicts = conditions::verdicts(&facts);
    let connections = observed.gateways.connections();
    WsClusterStatus {
        observed_generation: cluster.metadata.generation,
        replicas: i32::try_from(fleet.staying().count()).unwrap_or(i32::MAX),
        ready_replicas: fleet.ready(),
        ready: Some(format!("{}/{}", fleet.ready(), fleet.wanted)),
        selector: Some(selector(cluster, &fleet.revision)),
        connections: connections.values().sum(),
        active_revision: Some(fleet.revision.clone()),
        phase: Some(phase(cluster, fleet, !problems.is_empty(), deleting.is_some()).to_owned()),
        revisions: fleet.revisions(&connections),
        rollout: Some(rollout(&old, observed, fleet, &connections)),
        redis: redis(&old, observed),
        effective: Some(budget.status()),
        conditions: conditions::conditions(verdicts, &old.conditions, cluster.metadata.generation, observed.now),
        endpoint,
    }
}

fn selector(cluster: &WsCluster, revision: &str) -> String {
    let mut pairs = labels::selector(&cluster.name_any());
    pairs.insert(labels::REVISION.to_owned(), revision.to_owned());
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn phase(cluster: &WsCluster, fleet: &Fleet, problems: bool, deleting: bool) -> &'static str {
    match () {
        () if deleting => "Deleting",
        () if cluster.spec.paused => "Paused",
        () if problems => "Degraded",
        () if fleet.rolled_out => "Running",
        () if fleet.ready() == 0 => "Pending",
        () => "RollingOut",
    }
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

/// Follows a rolling update from the outside: when it began, and when all gateways were of the wanted revision.
fn rollout(
    old: &WsClusterStatus,
    observed: &Observed,
    fleet: &Fleet,
    connections: &BTreeMap<String, i64>,
) -> RolloutStatus {
    let now = Time(Timestamp::from_second(observed.now.as_second()).unwrap_or(observed.now));
    let current = old.rollout.clone().filter(|rollout| rollout.to.as_deref() == Some(&fleet.revision));
    let rollout = current.unwrap_or_else(|| RolloutStatus {
        from: old.active_revision.clone().filter(|revision| *revision != fleet.revision),
        to: Some(fleet.revision.clone()),
        started_at: Some(now.clone()),
        sessions_at_start: connections.values().sum(),
        ..RolloutStatus::default()
    });
    let phase = match (fleet.rolled_out, fleet.deadline_exceeded) {
        (true, _) => "Complete",
        (false, true) => "Failed",
        // A pod that is replaced later, or a change of scale, does not open the rollout again.
        (false, false) if rollout.finished_at.is_some() => "Complete",
        (false, false) => "Surging",
    };
    let finished_at = rollout.finished_at.clone().or_else(|| (phase == "Complete").then_some(now));
    RolloutStatus { phase: phase.to_owned(), finished_at, ..rollout }
}

/// Where clients connect: the load balancer's address, or the Service's name within the cluster.
fn endpoint(cluster: &WsCluster, observed: &Observed) -> Option<String> {
    let service: Service = observed.typed(crate::kinds::Kind::Service)?;
    let spec = &cluster.spec.service;
    let host = match spec.type_ {
        ServiceType::LoadBalancer => balanced_address(&service)?,
        ServiceType::NodePort | ServiceType::ClusterIP => {
            format!("{}.{}.svc", cluster.name_any(), cluster.namespace().unwrap_or_default())
        }
    };
    let secure = spec.tls.as_ref().is_some_and(|tls| tls.certificate_arn.is_some());
    let (scheme, usual) = if secure { ("wss", 443) } else { ("ws", 80) };
    let port = spec.effective_port();
    let port = if port == usual { String::new() } else { format!(":{port}") };
    Some(format!("{scheme}://{host}{port}/ws"))
}

fn balanced_address(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.clone();
    let ip = ingress.ip.map(|ip| if ip.contains(':') { format!("[{ip}]") } else { ip });
    ingress.hostname.or(ip)
}
