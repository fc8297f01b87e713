//! The kinds of objects that a cluster owns, and one desired object of such a kind. Knows no client.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::Value;
use wscluster_crds::names::ClusterName;

/// Annotation: digest of what the operator applied last.
pub const APPLIED_HASH: &str = "wscluster.dev/applied-hash";

/// A kind of object that a cluster owns, in the order in which they are written: what pods mount comes before the pods, and
/// pods before what sends to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Identity of the gateway pods, without any permission.
    ServiceAccount,
    /// Generated keys.
    Secret,
    /// Settings of the gateways.
    ConfigMap,
    /// Who may reach the gateways.
    NetworkPolicy,
    /// The gateways of a revision. The only kind of which a cluster may own several.
    Deployment,
    /// How many gateways may be evicted at once.
    PodDisruptionBudget,
    /// The way in.
    Service,
    /// An extra way in, by an ingress controller.
    Ingress,
    /// An extra way in, by a Gateway of the Gateway API. Not every cluster has this kind.
    HttpRoute,
    /// What writes the number of gateways.
    HorizontalPodAutoscaler,
    /// The same, by KEDA. Not every cluster has this kind.
    ScaledObject,
    /// How Prometheus finds the gateways. Not every cluster has this kind.
    PodMonitor,
    /// What Prometheus records and warns of. Not every cluster has this kind.
    PrometheusRule,
    /// What Grafana shows: a ConfigMap beside that of the settings.
    Dashboard,
}

/// Field manager of what every cluster owns.
const MANAGER: &str = "wscluster-operator";
/// Field manager of the extra way in.
const ROUTE_MANAGER: &str = "wscluster-operator-route";

impl Kind {
    /// All of which every cluster has one, in writing order.
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::Deployment,
        Self::PodDisruptionBudget,
        Self::Service,
    ];

    /// Those of which a cluster owns one, in writing order.
    pub const SINGLE: [Self; 6] = [
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Service,
    ];

    /// The extra ways in, of which a cluster has no more than one.
    pub const ROUTES: [Self; 2] = [Self::Ingress, Self::HttpRoute];

    /// What writes the number of gateways: no more than one, too.
    pub const AUTOSCALERS: [Self; 2] = [Self::HorizontalPodAutoscaler, Self::ScaledObject];

    /// What monitors a cluster, by kinds of the Prometheus operator's.
    pub const MONITORS: [Self; 2] = [Self::PodMonitor, Self::PrometheusRule];

    /// Those that only some clusters have, as their spec says. Written last: after what they lead to, scale or watch.
    pub const EXTRAS: [Self; 7] = [
        Self::Ingress,
        Self::HttpRoute,
        Self::HorizontalPodAutoscaler,
        Self::ScaledObject,
        Self::PodMonitor,
        Self::PrometheusRule,
        Self::Dashboard,
    ];

    /// Group, version and plural.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::ConfigMap | Self::Dashboard => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            Self::HttpRoute => {
                let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
                ApiResource::from_gvk_with_plural(&kind, "httproutes")
            }
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::ScaledObject => ApiResource {
                group: "keda.sh".to_owned(),
                version: "v1alpha1".to_owned(),
                api_version: "keda.sh/v1alpha1".to_owned(),
                kind: "ScaledObject".to_owned(),
                plural: "scaledobjects".to_owned(),
            },
            Self::PodMonitor => monitoring("PodMonitor", "podmonitors"),
            Self::PrometheusRule => monitoring("PrometheusRule", "prometheusrules"),
        }
    }

    /// Name of the object of this kind that a cluster owns; `revision` matters for Deployments only.
    pub fn object_name(self, cluster: &ClusterName, revision: &str) -> String {
        match self {
            Self::Secret => cluster.keys(),
            Self::ConfigMap => cluster.config(),
            Self::Service => cluster.service(),
            Self::Deployment => cluster.deployment(revision),
            Self::ServiceAccount
            | Self::NetworkPolicy
            | Self::PodDisruptionBudget
            | Self::HorizontalPodAutoscaler
            | Self::ScaledObject
            | Self::PodMonitor
            | Self::PrometheusRule => cluster.gateway(),
            Self::Dashboard => cluster.dashboard(),
            Self::Ingress | Self::HttpRoute => cluster.as_str().to_owned(),
        }
    }

    /// The kind whose watch tells of objects of this kind.
    #[must_use]
    pub fn watched_as(self) -> Self {
        if self == Self::Dashboard { Self::ConfigMap } else { self }
    }

    /// Whether a cluster may lack this kind.
    pub fn may_be_missing(self) -> bool {
        matches!(self, Self::HttpRoute | Self::ScaledObject | Self::PodMonitor | Self::PrometheusRule)
    }

    /// Whether an object of this kind is an extra way in.
    pub fn is_route(self) -> bool {
        Self::ROUTES.contains(&self)
    }

    /// The field manager under which objects of this kind are applied.
    pub fn manager(self) -> &'static str {
        if self.is_route() { ROUTE_MANAGER } else { MANAGER }
    }

    /// The kind's name, as in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::ConfigMap | Self::Dashboard => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::Ingress => "Ingress",
            Self::HttpRoute => "HTTPRoute",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::ScaledObject => "ScaledObject",
            Self::PodMonitor => "PodMonitor",
            Self::PrometheusRule => "PrometheusRule",
        }
    }
}

/// A kind of the Prometheus operator's.
fn monitoring(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind), plural)
}

/// One object as it should be: exactly the fields that are the operator's.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The whole manifest.
    pub body: Value,
}

impl Object {
    /// The digest of what it says, which it carries in an annotation.
    pub fn digest(&self) -> Option<String> {
        self.body["metadata"]["annotations"][APPLIED_HASH].as_str().map(str::to_owned)
    }
}
