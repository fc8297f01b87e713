//! The `status` of a `WsCluster`: what the operator reports. Written by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of the conditions under `status.conditions`. Stable: scripts wait on them.
pub mod condition {
    /// All gateways that were asked for are up and take connections.
    pub const READY: &str = "Ready";
    /// A change is on its way.
    pub const PROGRESSING: &str = "Progressing";
    /// Something needs a person; the message says what to do.
    pub const DEGRADED: &str = "Degraded";
    /// The operator reached Redis.
    pub const REDIS_REACHABLE: &str = "RedisReachable";
    /// The last rollout lost no session.
    pub const SESSIONS_PRESERVED: &str = "SessionsPreserved";
    /// A controller serves the extra way in of `spec.route`. Only there with it.
    pub const ROUTE_ACCEPTED: &str = "RouteAccepted";
    /// The autoscaler gets its metric.
    pub const SCALING_ACTIVE: &str = "ScalingActive";
}

/// What the operator reports.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct WsClusterStatus {
    /// `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Gateways that exist, of all revisions.
    pub replicas: i32,
    /// Gateways that are ready, of all revisions.
    pub ready_replicas: i32,
    /// Ready and wanted gateways, as in `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Label selector of the active revision's pods, for the `scale` subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Connections that all gateways hold.
    pub connections: i64,
    /// Where clients connect, as `ws://host:port/ws` or `wss://…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The revision that new connections go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_revision: Option<String>,
    /// One word for a person: `Pending`, `Running`, `RollingOut`, `ScalingIn`, `Degraded`, `Paused`, `Deleting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The revisions that have pods, the active one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["hash"]))]
    pub revisions: Vec<RevisionStatus>,
    /// The gateways, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gateways: Vec<GatewayStatus>,
    /// The rollout in progress, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Surplus sessions that are being moved to gateways that have fewer. Only there while that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<RebalanceStatus>,
    /// What the operator sees of Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// What the drain budget came out as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveStatus>,
    /// Conditions, by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A rebalance under way.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceStatus {
    /// When it began.
    pub started_at: Time,
    /// The gateways that move sessions away, by name.
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub from: Vec<String>,
}

/// One revision of the pod template.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Hash of what a user can see of the pod template.
    pub hash: String,
    /// The gateway's image.
    #[serde(default)]
    pub image: String,
    /// Gateways that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Gateways that are ready.
    #[serde(default)]
    pub ready: i32,
    /// Connections that they hold.
    #[serde(default)]
    pub connections: i64,
    /// What the revision is doing.
    #[serde(default)]
    pub state: RevisionState,
}

/// What a revision is doing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevisionState {
    /// New connections go to it.
    #[default]
    Active,
    /// Its sessions are moving away.
    Draining,
    /// It is coming up.
    Surging,
    /// It did not come up.
    Failed,
}

/// One gateway.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Name of its pod.
    pub name: String,
    /// Hash of its revision.
    #[serde(default)]
    pub revision: String,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it is doing.
    #[serde(default)]
    pub state: GatewayState,
    /// Connections that it holds; of a gateway that does not answer, those that it held when it last did.
    #[serde(default)]
    pub connections: i64,
    /// What it has counted.
    #[serde(default)]
    pub counts: SessionCounts,
}

/// What a gateway is doing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayState {
    /// It is coming up, or not well.
    #[default]
    NotReady,
    /// It takes connections.
    Serving,
    /// Its sessions are moving away.
    Draining,
    /// It holds no session any more, and is about to go.
    Drained,
    /// It was told to end.
    Terminating,
}

/// Sessions as gateways count them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionCounts {
    /// Sessions that left after they were asked to move.
    pub moved: i64,
    /// Sessions that came from another connection with a cursor, and miss nothing.
    pub resumed: i64,
    /// Sessions that came back to a room that no longer held all they had missed.
    pub unrecovered: i64,
    /// Connections closed at the drain deadline.
    pub forced: i64,
}

/// The rollout in progress, or the last one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// `Surging`, `Draining`, `Complete`, `Failed` or `Paused`.
    pub phase: String,
    /// Revision before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Revision after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Sessions that were connected when it began.
    pub sessions_at_start: i64,
    /// Sessions that left their gateway after they were asked to.
    pub moved: i64,
    /// Sessions that resumed on a gateway of the new revision, and miss nothing.
    pub resumed: i64,
    /// Sessions that were lost: cut off at the drain deadline, or back in a room that no longer held all they had missed.
    /// More than `spec.rollout.sessionLossBudget` pause the rollout.
    pub dropped: i64,
    /// Connections closed at the drain deadline.
    pub forced: i64,
    /// Connections that gateways of other revisions still hold.
    pub remaining: i64,
    /// Sessions per second that the fleet moves now.
    pub connections_per_second: i64,
    /// Seconds that it will still take, estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Why it goes no further, while it is paused or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What gateways that are gone had counted, less what those that are there had counted before it began.
    pub carried: SessionCounts,
}

/// What the operator sees of Redis.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisStatus {
    /// Whether the last attempt reached it.
    pub reachable: bool,
    /// `standalone`, `sentinel` or `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Version that the server reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Streams under the key prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<i64>,
    /// Entries that the operator's sweep has trimmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trimmed_entries: Option<i64>,
    /// Shortest time that any swept room still holds, less what resuming needs, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_headroom_seconds: Option<i64>,
}

/// What the drain budget came out as.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct EffectiveStatus {
    /// The pods' `terminationGracePeriodSeconds`.
    pub termination_grace_period_seconds: i64,
    /// The load balancer's deregistration delay, in seconds.
    pub deregistration_delay_seconds: i64,
    /// Seconds that a draining gateway goes on accepting.
    pub drain_min_seconds: i64,
    /// Sessions per second that the whole fleet moves at most; 0: as its headroom allows.
    pub drain_connections_per_second: i64,
    /// Seconds from the start of a drain to its deadline.
    pub drain_deadline_seconds: i64,
    /// Seconds between two readiness probes.
    pub readiness_period_seconds: i64,
    /// Gateways that may exist beyond `spec.replicas` while a revision comes up.
    pub max_surge: i64,
}
