//! What a cluster's objects should look like: a pure function of the WsCluster and of the few facts in [`Wanted`].
//! Knows no client; what is already there matters only for the pod template and the keys, which are kept.

pub mod autoscaling;
pub mod config;
pub mod dashboard;
pub mod disruption;
pub mod identity;
pub mod keys;
pub mod load_balancer;
pub mod monitors;
pub mod network;
pub mod pod;
pub mod ring;
pub mod route;
pub mod rules;
pub mod secrets;
pub mod service;
pub mod workload;

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};
use wscluster_crds::names::{ClusterName, InvalidName};
use wscluster_crds::spec::{Autoscaling, WsClusterSpec};
use wscluster_crds::{GROUP, VERSION, WsCluster, labels};

use crate::budget::Budget;
use crate::compare;
use crate::config::Defaults;
use crate::kinds::{APPLIED_HASH, Kind, Object};
use crate::revision;
use crate::scalers::Scalers;

/// Annotation of a Deployment: the pod template of its revision, as first computed.
pub const POD_TEMPLATE: &str = "wscluster.dev/pod-template";

/// Number of the gateways' public port.
pub const PUBLIC_PORT: u16 = 8080;
/// Number of the gateways' port for each other.
pub const PEER_PORT: u16 = 8081;
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
    /// Gateways wanted.
    pub replicas: i32,
    /// The drain budget.
    pub budget: Budget,
    /// Hash of the revision that the spec asks for.
    pub revision: String,
    /// The revision that the way in leads to.
    pub active: String,
    /// The revisions that have a Deployment.
    pub fleets: Vec<workload::Revision>,
    /// Contents of the keys Secret.
    pub keys: keys::Keys,
    /// What the cluster's `HTTPRoute` has; `None` where it has no such kind.
    pub http_routes: Option<route::HttpRouteSupport>,
    /// What there is to scale it with.
    pub scalers: Scalers,
    /// What there is of the Prometheus operator's kinds.
    pub monitoring: monitors::Monitoring,
}

impl<'a> Wanted<'a> {
    /// Facts of a WsCluster; revisions and keys as for a new one.
    pub fn new(cluster: &'a WsCluster, defaults: &'a Defaults, keys: keys::Keys) -> Result<Self, InvalidName> {
        let replicas = gateways(&cluster.spec);
        let revision = revision::hash(&cluster.spec);
        Ok(Self {
            spec: &cluster.spec,
            name: ClusterName::parse(&cluster.name_any())?,
            namespace: cluster.namespace().unwrap_or_default(),
            uid: cluster.uid().unwrap_or_default(),
            defaults,
            replicas,
            budget: Budget::of(&cluster.spec, replicas),
            active: revision.clone(),
            fleets: vec![workload::Revision { hash: revision.clone(), replicas, ..workload::Revision::default() }],
            revision,
            keys,
            http_routes: None,
            scalers: Scalers::default(),
            monitoring: monitors::Monitoring::default(),
        })
    }

    /// Pod templates of live Deployments, as they were first computed.
    fn templates(&self) -> impl Iterator<Item = &Value> {
        self.fleets.iter().filter_map(|fleet| Some(&fleet.kept.as_ref()?.template))
    }

    /// Whether the gateways that the way in leads to listen for each other, and tell of their readiness where clients come in.
    fn active_has_peer_port(&self) -> bool {
        let active = self.fleets.iter().find(|fleet| fleet.hash == self.active);
        active.and_then(|fleet| fleet.kept.as_ref()).is_none_or(|kept| pod::has_peer_port(&kept.template))
    }

    /// Kinds of which this cluster has an object.
    pub fn kinds(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().chain(Kind::EXTRAS).filter(|kind| self.wants(*kind)).collect()
    }

    /// Whether this cluster has an object of that kind.
    pub fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::NetworkPolicy => self.spec.network_policy.enabled,
            Kind::ServiceAccount => pod::service_account(self.spec).is_none(),
            Kind::Ingress | Kind::HttpRoute => route::kind(self) == Some(kind),
            Kind::HorizontalPodAutoscaler | Kind::ScaledObject => autoscaling::wants(self, kind),
            Kind::PodMonitor | Kind::PrometheusRule => monitors::wants(self, kind),
            Kind::Dashboard => self.spec.observability.dashboards,
            _ => true,
        }
    }

    /// All objects of the cluster, in writing order, each with the digest of its content.
    pub fn objects(&self) -> Vec<Object> {
        self.kinds().into_iter().flat_map(|kind| self.of_kind(kind)).collect()
    }

    fn of_kind(&self, kind: Kind) -> Vec<Object> {
        let body = match kind {
            Kind::ServiceAccount => identity::service_account(self),
            Kind::Secret => keys::secret(self),
            Kind::ConfigMap => config::config_map(self),
            Kind::NetworkPolicy => network::policy(self),
            Kind::PodDisruptionBudget => disruption::budget(self),
            Kind::Service => service::service(self),
            Kind::Ingress | Kind::HttpRoute => {
                return route::object(self).into_iter().map(|body| self.object(kind, "", body)).collect();
            }
            Kind::Deployment => {
                let body =
                    |fleet: &workload::Revision| self.object(kind, &fleet.hash, workload::deployment(self, fleet));
                return self.fleets.iter().map(body).collect();
            }
            Kind::HorizontalPodAutoscaler => autoscaling::horizontal(self),
            Kind::ScaledObject => autoscaling::scaled_object(self),
            Kind::PodMonitor => monitors::pod_monitor(self),
            Kind::PrometheusRule => rules::prometheus_rule(self),
            Kind::Dashboard => dashboard::config_map(self),
        };
        vec![self.object(kind, "", body)]
    }

    fn object(&self, kind: Kind, revision: &str, body: Value) -> Object {
        Object { kind, name: kind.object_name(&self.name, revision), body: sealed(prune(body)) }
    }

    /// Metadata of an object of the cluster.
    fn metadata(&self, kind: Kind, annotations: &BTreeMap<String, String>) -> Value {
        self.metadata_of(&kind.object_name(&self.name, ""), annotations)
    }

    fn metadata_of(&self, name: &str, annotations: &BTreeMap<String, String>) -> Value {
        json!({
            "name": name,
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

/// Gateways that a spec asks for. An autoscaler writes the same field as everybody, by the `scale` subresource: so their
/// number stays when the autoscaler goes, or is another.
pub fn gateways(spec: &WsClusterSpec) -> i32 {
    let within = |bounds: &Autoscaling| spec.replicas.min(bounds.max_replicas).max(bounds.min_replicas);
    spec.autoscaling.as_ref().map_or(spec.replicas, within)
}

/// Writes the digest of the body into its annotations.
fn sealed(mut body: Value) -> Value {
    let digest = compare::digest(&body);
    body["metadata"]["annotations"][APPLIED_HASH] = Value::String(digest);
    body
}

/// Leaves out fields without a value: in server-side apply a null would be a wish of its own.
pub(crate) fn prune(value: Value) -> Value {
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
