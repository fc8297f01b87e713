//! Which gateways the others are told of: those that a client may be handed over to. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use wscluster_crds::labels;

use crate::desired::pod::{CONTAINER, PEER};
use crate::observe::Observed;
use crate::rollout;
use crate::status::fleet;

/// The peers, by pod: ready, of the active revision, not leaving, and with a port for it.
pub fn of(observed: &Observed, surge: &rollout::Plan) -> BTreeMap<String, SocketAddr> {
    let stays = |pod: &Pod| {
        let active = pod.labels().get(labels::REVISION).is_some_and(|revision| *revision == surge.active);
        let ready = fleet::gateway(pod).is_some_and(|gateway| gateway.ready && !gateway.terminating);
        active && ready && !surge.drains.contains_key(&pod.name_any())
    };
    observed.pods.iter().filter(|pod| stays(pod)).filter_map(|pod| Some((pod.name_any(), address(pod)?))).collect()
}

/// The pods that are to be told: each that has a port for it, by name, with what tells a new process from the one before.
pub fn listeners(observed: &Observed) -> BTreeMap<String, String> {
    let listens = observed.pods.iter().filter(|pod| port(pod).is_some());
    listens.map(|pod| (pod.name_any(), process(pod))).collect()
}

fn address(pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, port(pod)?))
}

fn port(pod: &Pod) -> Option<u16> {
    let container = pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)?;
    let port = container.ports.as_ref()?.iter().find(|port| port.name.as_deref() == Some(PEER))?;
    u16::try_from(port.container_port).ok()
}

fn process(pod: &Pod) -> String {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let gateway = statuses.and_then(|all| all.iter().find(|status| status.name == CONTAINER));
    format!("{} {}", pod.uid().unwrap_or_default(), gateway.map_or(0, |status| status.restart_count))
}
