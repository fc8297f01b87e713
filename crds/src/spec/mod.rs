//! The `spec` of a `WsCluster`: one type per concern, with the default and the rule of every field beside it.
//!
//! Rules that span fields are CEL in the schema, so that the API server refuses a bad manifest itself.

// `KubeSchema` makes a private twin of each type, in which `pub` reaches nobody.
#![allow(unreachable_pub)]

mod auth;
mod autoscaling;
mod gateway;
mod operations;
mod redis;
pub mod rules;
mod service;

pub use auth::{Anonymous, Auth, Jwt, JwtAlgorithm};
pub use autoscaling::{Autoscaling, MetricsSource};
pub use gateway::{Gateway, PodTemplate};
pub use operations::{
    Auto, Backpressure, BackpressurePolicy, Disruption, Drain, Heartbeat, Limits, NetworkPolicySettings, Observability,
    Presence, Rebalance, Rollout, RolloutStrategy,
};
pub use redis::{Redis, RedisTls, StreamOverride, Streams, Trim, TrimPolicy, TrimStrategy};
pub use service::{
    Cookie, GatewayApiRoute, IngressRoute, ParentRef, Route, SameSite, Scheme, Service, ServiceProvider, ServiceTls,
    ServiceType, Stickiness, StickinessMode,
};

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Reference to one key of a Secret in the WsCluster's own namespace.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// Key within the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')").message("must be a key of a Secret: letters, digits, -, _ and . only"))]
    pub key: String,
}

/// Reference to a whole Secret in the WsCluster's own namespace.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
}

/// What is wanted. Only `redis` has no default: `spec: {redis: {url: "redis://redis:6379"}}` is a complete cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "wscluster.dev",
    version = "v1alpha1",
    kind = "WsCluster",
    plural = "wsclusters",
    shortname = "wsc",
    category = "all",
    namespaced,
    status = "crate::WsClusterStatus",
    derive = "PartialEq",
    doc = "A fleet of WebSocket gateways joined by Redis Streams, that scales on connections and changes version without dropping a session.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.activeRevision"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Redis", type_ = "string", json_path = ".status.conditions[?(@.type=='RedisReachable')].reason"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::cluster_name(),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::autoscaling_bounds(),
    validation = rules::autoscaling_target_is_reachable(),
    validation = rules::cpu_target_needs_a_request(),
    validation = rules::retention_covers_a_move(),
    validation = rules::override_retention_covers_a_move(),
    validation = rules::largest_message_fits_the_buffer(),
    validation = rules::no_route_with_proxy_protocol(),
)]
pub struct WsClusterSpec {
    /// Number of gateway pods. Written by the `scale` subresource (`kubectl scale`), and by the autoscaler while `autoscaling`
    /// is set: leave it out of your manifest then. Taken within `minReplicas` and `maxReplicas`.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// While true the operator changes nothing, but goes on reporting status.
    #[serde(default)]
    pub paused: bool,
    /// The gateway pods: image, resources, capacity.
    #[serde(default)]
    pub gateway: Gateway,
    /// The Redis that joins the gateways, and how room streams are kept.
    pub redis: Redis,
    /// The Service in front of the gateways.
    #[serde(default)]
    pub service: Service,
    /// An extra way in, beside the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// Who may connect, subscribe and publish.
    #[serde(default)]
    pub auth: Auth,
    /// Bounds on what one client may do. Hot-reloaded: changing them moves no session.
    #[serde(default)]
    pub limits: Limits,
    /// What happens to a client that reads more slowly than its rooms write. Hot-reloaded.
    #[serde(default)]
    pub backpressure: Backpressure,
    /// WebSocket pings, sent below every load balancer's idle timeout.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// The one drain budget: grace period, deregistration delay, probes and disruption budget are derived from it.
    #[serde(default)]
    pub drain: Drain,
    /// How a fleet changes to a new revision.
    #[serde(default)]
    pub rollout: Rollout,
    /// Scaling on connections. Absent: `replicas` is a fixed number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Moving surplus sessions to new pods after a scale-out.
    #[serde(default)]
    pub rebalance: Rebalance,
    /// The PodDisruptionBudget of the gateways.
    #[serde(default)]
    pub disruption: Disruption,
    /// The NetworkPolicy of the gateways.
    #[serde(default)]
    pub network_policy: NetworkPolicySettings,
    /// Monitors, rules, dashboards and traces.
    #[serde(default)]
    pub observability: Observability,
}

fn default_replicas() -> i32 {
    2
}
