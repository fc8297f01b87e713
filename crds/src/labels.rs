//! Labels and annotations of everything that a cluster owns.

use std::collections::BTreeMap;

/// `app.kubernetes.io/name` of every object.
pub const APP_NAME: &str = "wscluster";
/// `app.kubernetes.io/managed-by` of every object.
pub const MANAGED_BY: &str = "wscluster-operator";
/// `app.kubernetes.io/component` of the gateways and what belongs to them.
pub const COMPONENT_GATEWAY: &str = "gateway";

/// Label key: name of the application.
pub const NAME: &str = "app.kubernetes.io/name";
/// Label key: name of the WsCluster.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label key: part of the application.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label key: who manages the object.
pub const MANAGED_BY_KEY: &str = "app.kubernetes.io/managed-by";
/// Label key: name of the WsCluster.
pub const CLUSTER: &str = "wscluster.dev/cluster";
/// Label key: revision of the pod template.
pub const REVISION: &str = "wscluster.dev/revision";

/// Label key: whether new connections are sent to a gateway pod. `false` takes a pod that is to drain out of the Service at
/// once; its readiness probe would take seconds.
pub const SERVING: &str = "wscluster.dev/serving";
/// Annotation of a gateway pod: the operator has it drain; why and since when, as JSON.
pub const DRAIN: &str = "wscluster.dev/drain";
/// Annotation of a revision's Deployment: when new connections were first sent to it, as RFC 3339.
pub const ACTIVATED_AT: &str = "wscluster.dev/activated-at";
/// Annotation of a revision's Deployment: the fields of the WsCluster's spec that made it, as JSON, for undo. A field that
/// was not set is null.
pub const REVISION_SPEC: &str = "wscluster.dev/revision-spec";
/// Annotation of a WsCluster: sessions that its rollout may have lost without being paused, as a number. Written by
/// `kubectl wscluster resume`.
pub const ACCEPTED_LOSSES: &str = "wscluster.dev/accepted-losses";
/// Annotation of a pod: those with a lower value go first when a ReplicaSet shrinks.
/// Source: <https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost>.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Labels that select every gateway pod of a cluster, whatever its revision. Never changes: a Deployment's selector is immutable.
pub fn selector(cluster: &str) -> BTreeMap<String, String> {
    pairs([(COMPONENT, COMPONENT_GATEWAY), (CLUSTER, cluster)])
}

/// Labels that select the gateway pods of one revision.
pub fn revision_selector(cluster: &str, revision: &str) -> BTreeMap<String, String> {
    let mut selector = selector(cluster);
    selector.insert(REVISION.to_owned(), revision.to_owned());
    selector
}

/// Labels that select the gateway pods that new connections are sent to.
pub fn serving_selector(cluster: &str, revision: &str) -> BTreeMap<String, String> {
    let mut selector = revision_selector(cluster, revision);
    selector.insert(SERVING.to_owned(), "true".to_owned());
    selector
}

/// Labels of every object that a cluster owns.
pub fn common(cluster: &str) -> BTreeMap<String, String> {
    pairs([
        (NAME, APP_NAME),
        (INSTANCE, cluster),
        (COMPONENT, COMPONENT_GATEWAY),
        (MANAGED_BY_KEY, MANAGED_BY),
        (CLUSTER, cluster),
    ])
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_selects_what_carries_the_common_labels() {
        let (selector, common) = (selector("chat"), common("chat"));
        assert!(selector.iter().all(|(key, value)| common.get(key) == Some(value)), "{selector:?} {common:?}");
    }

    #[test]
    fn the_selector_tells_clusters_apart_and_names_no_revision() {
        assert_ne!(selector("chat"), selector("feed"));
        assert!(!selector("chat").contains_key(REVISION));
    }
}
