//! The kinds of objects that a cluster owns, and one desired object of such a kind. Knows no client.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ApiResource;
use serde_json::Value;
use wscluster_crds::names::ClusterName;

/// Annotation: digest of what the operator applied last.
pub const APPLIED_HASH: &str = "wscluster.dev/applied-hash";

/// A kind of object that a cluster owns, in the order in which they are written: what pods mount comes before the pods.
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
    /// How many gateways may be evicted at once.
    PodDisruptionBudget,
    /// The way in.
    Service,
    /// The gateways.
    Deployment,
}

impl Kind {
    /// All of them, in writing order.
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Service,
        Self::Deployment,
    ];

    /// Group, version and plural.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }

    /// Name of the object of this kind that a cluster owns.
    pub fn object_name(self, cluster: &ClusterName) -> String {
        match self {
            Self::Secret => cluster.keys(),
            Self::ConfigMap => cluster.config(),
            Self::Service => cluster.service(),
            Self::ServiceAccount | Self::NetworkPolicy | Self::PodDisruptionBudget | Self::Deployment => {
                cluster.gateway()
            }
        }
    }

    /// The kind's name, as in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
        }
    }
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
