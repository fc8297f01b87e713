//! The Service in front of the gateways of the active revision. What a load balancer in front of it is told is
//! `load_balancer`'s, and what a route's proxies look for on it is `route`'s.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;
use wscluster_crds::spec::{ServiceType, StickinessMode};

use super::{Wanted, load_balancer, route, some};
use crate::budget::behind_aws;
use crate::kinds::Kind;

/// Seconds that a client keeps its gateway with source address stickiness: the API server's own default.
const AFFINITY_SECONDS: i32 = 10_800;

/// The Service.
pub fn service(wanted: &Wanted<'_>) -> Value {
    let service = &wanted.spec.service;
    let sticky = service.stickiness.mode == StickinessMode::SourceIP;
    let balanced = service.type_ == ServiceType::LoadBalancer;
    let port = json!({
        "name": "ws",
        "port": service.effective_port(),
        "targetPort": "public",
        "protocol": "TCP",
        "appProtocol": route::app_protocol(wanted.spec),
    });
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": wanted.metadata(Kind::Service, &annotations(wanted)),
        "spec": {
            "type": service.type_,
            "selector": labels::serving_selector(wanted.name.as_str(), &wanted.active),
            "ports": [port],
            "sessionAffinity": if sticky { "ClientIP" } else { "None" },
            "sessionAffinityConfig": sticky.then(|| json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}})),
            "loadBalancerClass": service.load_balancer_class.as_ref().filter(|_| balanced),
            "loadBalancerSourceRanges": if balanced { some(&service.load_balancer_source_ranges) } else { Value::Null },
        },
    })
}

/// Annotations: ours for the load balancer and for a route, and the user's over them.
fn annotations(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let mut ours = if behind_aws(wanted.spec) { load_balancer::annotations(wanted) } else { BTreeMap::new() };
    ours.extend(route::service_annotations(wanted.spec));
    load_balancer::merged(ours, &wanted.spec.service.annotations)
}
