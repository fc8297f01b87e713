//! What a cluster's objects should look like: a pure function of the WsCluster and of the few facts in [`Wanted`].
//! Knows no client; what is already there matters only for the pod template and the keys, which are kept.

pub mod config;
pub mod disruption;
pub mod identity;
pub mod keys;
pub mod network;
pub mod pod;
pub mod secrets;
pub mod service;
pub mod workload;

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};
use wscluster_crds::names::{ClusterName, InvalidName};
use wscluster_crds::spec::WsClusterSpec;
use wscluster_crds::{GROUP, VERSION, WsCluster, labels};

use crate::budget::Budget;
use crate::compare;
use crate::config::Defaults;
use crate::kinds::{APPLIED_HASH, Kind, Object};
use crate::revision;

/// Annotation of the Deployment: the pod template of its revision, as first computed.
pub const POD_TEMPLATE: &str = "wscluster.dev/pod-template";

/// Number of the gateways' public port.
pub const PUBLIC_PORT: u16 = 8080;
/// Number of the gateways' admin port.
pub const ADMIN_PORT: u16 = 9090;

/// Everything that the builders look at.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What the user wants.
    pub spec: &'a WsClusterSpec,
    /// The WsCluster's name.
    pub name: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, for owner references.
    pub uid: String,
    /// What comes from the operator.
    pub defaults: &'a Defaults,
    /// Gateways wanted; `None` where an autoscaler owns the number.
    pub replicas: Option<i32>,
    /// The drain budget.
    pub budget: Budget,
    /// Hash of the revision.
    pub revision: String,
    /// The pod template of this revision, where it was already computed once.
    pub template: Option<Value>,
    /// Contents of the keys Secret.
    pub keys: keys::Keys,
}

impl<'a> Wanted<'a> {
    /// Facts of a WsCluster; template, replicas and keys as for a new one.
    pub fn new(cluster: &'a WsCluster, defaults: &'a Defaults, keys: keys::Keys) -> Result<Self, InvalidName> {
        let replicas = gateways(&cluster.spec);
        Ok(Self {
            spec: &cluster.spec,
            name: ClusterName::parse(&cluster.name_any())?,
            namespace: cluster.namespace().unwrap_or_default(),
            uid: cluster.uid().unwrap_or_default(),
            defaults,
            replicas: Some(replicas),
            budget: Budget::of(&cluster.spec, replicas),
            revision: revision::hash(&cluster.spec),
            template: None,
            keys,
        })
    }

    /// Kinds of which this cluster has an object.
    pub fn kinds(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| self.wants(*kind)).collect()
    }

    /// Whether this cluster has an object of that kind.
    pub fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::NetworkPolicy => self.spec.network_policy.enabled,
            Kind::ServiceAccount => pod::service_account(self.spec).is_none(),
            _ => true,
        }
    }

    /// All objects of the cluster, in writing order, each with the digest of its content.
    pub fn objects(&self) -> Vec<Object> {
        self.kinds().into_iter().map(|kind| self.object(kind)).collect()
    }

    fn object(&self, kind: Kind) -> Object {
        let body = match kind {
            Kind::ServiceAccount => identity::service_account(self),
            Kind::Secret => keys::secret(self),
            Kind::ConfigMap => config::config_map(self),
            Kind::NetworkPolicy => network::policy(self),
            Kind::PodDisruptionBudget => disruption::budget(self),
            Kind::Service => service::service(self),
            Kind::Deployment => workload::deployment(self),
        };
        Object { kind, name: kind.object_name(&self.name), body: sealed(prune(body)) }
    }

    /// Metadata of an object of the cluster.
    fn metadata(&self, kind: Kind, annotations: &BTreeMap<String, String>) -> Value {
        json!({
            "name": kind.object_name(&self.name),
            "namespace": self.namespace,
            "labels": labels::common(self.name.as_str()),
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/{VERSION}"),
                "kind": "WsCluster",
                "name": self.name.as_str(),
                "uid": self.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        })
    }
}

/// Gateways that a spec asks for. While the autoscaler is not there, the least that it would run.
pub fn gateways(spec: &WsClusterSpec) -> i32 {
    spec.autoscaling.as_ref().map_or(spec.replicas, |autoscaling| autoscaling.min_replicas)
}

/// Writes the digest of the body into its annotations.
fn sealed(mut body: Value) -> Value {
    let digest = compare::digest(&body);
    body["metadata"]["annotations"][APPLIED_HASH] = Value::String(digest);
    body
}

/// Leaves out fields without a value: in server-side apply a null would be a wish of its own.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, prune(value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(prune).collect()),
        other => other,
    }
}

/// A list, or null where it is empty.
fn some<T: serde::Serialize>(items: &[T]) -> Value {
    if items.is_empty() { Value::Null } else { json!(items) }
}
