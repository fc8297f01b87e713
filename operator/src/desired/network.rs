//! The gateways' NetworkPolicy: everybody may reach the public port (a load balancer's health checks do, too), gateways of the
//! same cluster the peer port, the operator and whom the user names the admin port. Kubelet probes come from the node and
//! are let through by every network plugin.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;

use super::Wanted;
use super::pod::PEER;
use crate::kinds::Kind;

/// The NetworkPolicy.
pub fn policy(wanted: &Wanted<'_>) -> Value {
    let gateways = labels::selector(wanted.name.as_str());
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": wanted.metadata(Kind::NetworkPolicy, &BTreeMap::new()),
        "spec": {
            "podSelector": {"matchLabels": gateways},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"port": "public", "protocol": "TCP"}]},
                {"ports": [{"port": PEER, "protocol": "TCP"}], "from": [{"podSelector": {"matchLabels": gateways}}]},
                {"ports": [{"port": "admin", "protocol": "TCP"}], "from": admin_from(wanted)},
            ],
        },
    })
}

fn admin_from(wanted: &Wanted<'_>) -> Vec<Value> {
    let namespace = &wanted.defaults.operator_namespace;
    let operator = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
    std::iter::once(operator).chain(wanted.spec.network_policy.admin_from.iter().map(|peer| json!(peer))).collect()
}
