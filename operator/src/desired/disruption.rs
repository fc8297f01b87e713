//! The PodDisruptionBudget of the active revision. Gateways of other revisions are on their way out already.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;

use super::Wanted;
use crate::kinds::Kind;

/// The PodDisruptionBudget. Pods that are not ready hold no session and may always be evicted.
pub fn budget(wanted: &Wanted<'_>) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": wanted.metadata(Kind::PodDisruptionBudget, &BTreeMap::new()),
        "spec": {
            "maxUnavailable": wanted.spec.disruption.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels::revision_selector(wanted.name.as_str(), &wanted.active)},
        },
    })
}
