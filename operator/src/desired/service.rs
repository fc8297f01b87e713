//! The Service in front of the gateways, and what a load balancer in front of it is told.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;
use wscluster_crds::spec::{Scheme, ServiceType, StickinessMode};

use super::{ADMIN_PORT, Wanted, some};
use crate::budget::behind_aws;
use crate::kinds::Kind;

/// Prefix of the AWS Load Balancer Controller's annotations.
/// Source: <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/>.
const AWS: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// Seconds that a client keeps its gateway with source address stickiness: the API server's own default.
const AFFINITY_SECONDS: i32 = 10_800;

/// The Service.
pub fn service(wanted: &Wanted<'_>) -> Value {
    let service = &wanted.spec.service;
    let sticky = service.stickiness.mode == StickinessMode::SourceIP;
    let balanced = service.type_ == ServiceType::LoadBalancer;
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": wanted.metadata(Kind::Service, &annotations(wanted)),
        "spec": {
            "type": service.type_,
            "selector": labels::selector(wanted.name.as_str()),
            "ports": [{"name": "ws", "port": service.effective_port(), "targetPort": "public", "protocol": "TCP"}],
            "sessionAffinity": if sticky { "ClientIP" } else { "None" },
            "sessionAffinityConfig": sticky.then(|| json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}})),
            "loadBalancerClass": service.load_balancer_class.as_ref().filter(|_| balanced),
            "loadBalancerSourceRanges": if balanced { some(&service.load_balancer_source_ranges) } else { Value::Null },
        },
    })
}

/// Annotations: ours for the load balancer, and the user's over them.
fn annotations(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let mut annotations = if behind_aws(wanted.spec) { network_load_balancer(wanted) } else { BTreeMap::new() };
    annotations.extend(wanted.spec.service.annotations.clone());
    annotations
}

fn network_load_balancer(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let service = &wanted.spec.service;
    let scheme = match service.scheme {
        Scheme::InternetFacing => "internet-facing",
        Scheme::Internal => "internal",
    };
    let mut pairs = vec![
        ("type", "external".to_owned()),
        ("nlb-target-type", "ip".to_owned()),
        ("scheme", scheme.to_owned()),
        ("target-group-attributes", target_group(wanted)),
    ];
    pairs.extend(health_check(wanted));
    if let Some(arn) = service.tls.as_ref().and_then(|tls| tls.certificate_arn.clone()) {
        pairs.push(("ssl-cert", arn));
        pairs.push(("ssl-ports", service.effective_port().to_string()));
    }
    pairs.into_iter().map(|(name, value)| (format!("{AWS}{name}"), value)).collect()
}

fn target_group(wanted: &Wanted<'_>) -> String {
    let mut attributes = vec![
        format!("deregistration_delay.timeout_seconds={}", wanted.budget.deregistration_seconds),
        // Sessions that the gateway is still moving are not cut when the delay ends before they have moved.
        "deregistration_delay.connection_termination.enabled=false".to_owned(),
        "preserve_client_ip.enabled=true".to_owned(),
    ];
    if wanted.spec.service.proxy_protocol {
        attributes.push("proxy_protocol_v2.enabled=true".to_owned());
    }
    if wanted.spec.service.stickiness.mode == StickinessMode::SourceIP {
        attributes.push("stickiness.enabled=true".to_owned());
        attributes.push("stickiness.type=source_ip".to_owned());
    }
    attributes.join(",")
}

/// Health checks go to the admin port where they can reach it. Behind a NetworkPolicy they cannot (the load balancer's
/// addresses are nobody's pods), and a TCP check of the public port must do; a draining gateway leaves by its readiness anyway.
fn health_check(wanted: &Wanted<'_>) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("healthcheck-interval", "10".to_owned()),
        ("healthcheck-healthy-threshold", "2".to_owned()),
        ("healthcheck-unhealthy-threshold", "2".to_owned()),
    ];
    if wanted.spec.network_policy.enabled {
        pairs.push(("healthcheck-protocol", "tcp".to_owned()));
        pairs.push(("healthcheck-port", "traffic-port".to_owned()));
    } else {
        pairs.push(("healthcheck-protocol", "http".to_owned()));
        pairs.push(("healthcheck-port", ADMIN_PORT.to_string()));
        pairs.push(("healthcheck-path", "/readyz".to_owned()));
    }
    pairs
}
