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
    /// One word for a person: `Pending`, `Running`, `RollingOut`, `Degraded`, `Paused`, `Deleting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The revisions that have pods, the active one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["hash"]))]
    pub revisions: Vec<RevisionStatus>,
    /// The rollout in progress, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
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

/// The rollout in progress, or the last one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// `Idle`, `Surging`, `Draining`, `Complete`, `Failed` or `Paused`.
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
    /// Sessions that were asked to move.
    pub moved: i64,
    /// Sessions that resumed on another gateway.
    pub resumed: i64,
    /// Sessions that were lost.
    pub dropped: i64,
    /// Connections closed at the drain deadline.
    pub forced: i64,
    /// Seconds that it will still take, estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
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
    /// Sessions per second that one gateway moves.
    pub drain_connections_per_second: i64,
}
