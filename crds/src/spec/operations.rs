//! How the fleet behaves while it runs and changes: limits, backpressure, heartbeat, drain, rollout, rebalance, disruption,
//! network policy, observability.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Bounds on what one client may do.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Largest message in bytes that a client may send. A larger one closes the connection with 1009.
    #[schemars(range(min = 128, max = 16_777_216))]
    pub max_message_bytes: i64,
    /// Rooms that one connection may be subscribed to.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_rooms_per_connection: i32,
    /// Messages per second that one connection may send, sustained.
    #[schemars(range(min = 1, max = 100_000))]
    pub messages_per_second: i32,
    /// Messages that one connection may send at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub burst: i32,
    /// Connections from one address; 0 is off.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub connections_per_ip: i32,
    /// Handshakes per second that one gateway accepts.
    #[schemars(range(min = 1, max = 100_000))]
    pub handshakes_per_second: i32,
    /// Seconds within which a client must authenticate.
    #[schemars(range(min = 1, max = 300))]
    pub auth_timeout_seconds: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 65_536,
            max_rooms_per_connection: 100,
            messages_per_second: 50,
            burst: 100,
            connections_per_ip: 0,
            handshakes_per_second: 2000,
            auth_timeout_seconds: 10,
        }
    }
}

/// What happens to a client that reads more slowly than its rooms write.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::connection_buffer_fits_the_pods()))]
pub struct Backpressure {
    /// Bytes that may wait for one connection.
    #[schemars(range(min = 4096, max = 1_073_741_824))]
    pub max_buffered_bytes: i64,
    /// Bytes that may wait in one pod altogether: a number, or a percentage of the container's memory limit.
    #[schemars(extend("maxLength" = 16, "x-kubernetes-validations" = [{"rule": "type(self) == int ? self > 0 : self.matches('^([1-9]|[1-8][0-9]|90)%$')", "message": "spec.backpressure.totalBufferBytes must be a positive number of bytes or a percentage from 1% to 90%"}]))]
    pub total_buffer_bytes: IntOrString,
    /// What is done past the bound.
    pub policy: BackpressurePolicy,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self {
            max_buffered_bytes: 1_000_000,
            total_buffer_bytes: IntOrString::String("25%".to_owned()),
            policy: BackpressurePolicy::Disconnect,
        }
    }
}

/// What is done to a client past its buffer bound.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackpressurePolicy {
    /// Close with 1013: come back later, and resume.
    #[default]
    Disconnect,
    /// Drop the queue and tell the client to fetch a snapshot.
    Resync,
}

/// WebSocket pings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::heartbeat_is_answered_in_time()))]
pub struct Heartbeat {
    /// Seconds between pings on an idle connection.
    #[schemars(range(min = 5, max = 300))]
    pub interval_seconds: i32,
    /// Seconds to wait for the answer before the connection counts as dead.
    #[schemars(range(min = 1, max = 120))]
    pub timeout_seconds: i32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_seconds: 25, timeout_seconds: 10 }
    }
}

/// The one drain budget.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::drain_fits_the_grace_period()))]
pub struct Drain {
    /// Seconds within which a gateway moves all its sessions. What is left then is closed with 1012.
    #[schemars(range(min = 5, max = 7200))]
    pub timeout_seconds: i64,
    /// Sessions per second that the whole fleet moves: a number, or `auto` (what the remaining gateways can take).
    #[schemars(extend("maxLength" = 16, "x-kubernetes-validations" = [{"rule": "type(self) == int ? (self > 0 && self <= 100000) : self == 'auto'", "message": "spec.drain.connectionsPerSecond must be auto or a number from 1 to 100000"}]))]
    pub connections_per_second: IntOrString,
    /// Seconds that a draining gateway goes on accepting, because load balancers still send to it: a number, or `auto`
    /// (180 behind an AWS network load balancer, else 5).
    #[schemars(extend("maxLength" = 16, "x-kubernetes-validations" = [{"rule": "type(self) == int ? (self >= 0 && self <= 7200) : self == 'auto'", "message": "spec.drain.minSeconds must be auto or a number from 0 to 7200"}]))]
    pub min_seconds: IntOrString,
    /// Seconds that a session may be away and still be resumed without a gap. Stream retention must cover it.
    #[schemars(range(min = 1, max = 86_400))]
    pub resume_window_seconds: i64,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout_seconds: 300,
            connections_per_second: IntOrString::String("auto".to_owned()),
            min_seconds: IntOrString::String("auto".to_owned()),
            resume_window_seconds: 120,
        }
    }
}

/// A number, or "the operator decides".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto {
    /// The operator decides.
    Auto,
    /// This number.
    Fixed(i32),
}

impl From<&IntOrString> for Auto {
    /// A string other than a number counts as `auto`; the schema lets no other string through.
    fn from(value: &IntOrString) -> Self {
        match value {
            IntOrString::Int(number) => Self::Fixed(*number),
            IntOrString::String(text) => text.parse().map_or(Self::Auto, Self::Fixed),
        }
    }
}

/// How a fleet changes to a new revision.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// `InPlace` keeps every TCP connection, `Surge` moves each session once, `Auto` takes the better one that applies.
    pub strategy: RolloutStrategy,
    /// Pods of the new revision that come up beside the old: a number, or a percentage of the fleet.
    #[schemars(extend("maxLength" = 16, "x-kubernetes-validations" = [{"rule": "type(self) == int ? self > 0 : self.matches('^([1-9]|[1-9][0-9]|100)%$')", "message": "spec.rollout.maxSurge must be a positive number or a percentage from 1% to 100%"}]))]
    pub max_surge: IntOrString,
    /// Seconds within which the new revision must be ready.
    #[schemars(range(min = 10, max = 86_400))]
    pub progress_deadline_seconds: i32,
    /// Sessions that a rollout may lose before it pauses itself.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub session_loss_budget: i32,
    /// Pause when `sessionLossBudget` is exceeded.
    pub auto_pause: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: RolloutStrategy::Auto,
            max_surge: IntOrString::String("100%".to_owned()),
            progress_deadline_seconds: 600,
            session_loss_budget: 0,
            auto_pause: true,
        }
    }
}

/// How a fleet changes to a new revision.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutStrategy {
    /// The operator takes the better one that applies.
    #[default]
    Auto,
    /// The container changes, the pod and its connections stay.
    InPlace,
    /// New pods beside the old, each session moves once.
    Surge,
}

/// Moving surplus sessions to gateways that have fewer, as after a scale-out. Nobody is closed. Not with affinity to addresses
/// (`stickiness.mode: SourceIP`), and not while the fleet changes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rebalance {
    /// Whether it is done at all.
    pub enabled: bool,
    /// Percentage over the mean at which a gateway is asked to move its surplus, when it is so for half a minute.
    #[schemars(range(min = 5, max = 1000))]
    pub threshold_percent: i32,
    /// Sessions per second that are told to move, of all gateways together.
    #[schemars(range(min = 1, max = 100_000))]
    pub connections_per_second: i32,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self { enabled: true, threshold_percent: 25, connections_per_second: 100 }
    }
}

/// The PodDisruptionBudget of the gateways.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Disruption {
    /// Gateways that may be away at once through evictions: a number, or a percentage.
    #[schemars(extend("maxLength" = 16, "x-kubernetes-validations" = [{"rule": "type(self) == int ? self > 0 : self.matches('^([1-9]|[1-9][0-9]|100)%$')", "message": "spec.disruption.maxUnavailable must be a positive number or a percentage from 1% to 100%: with 0 a node could never be drained"}]))]
    pub max_unavailable: IntOrString,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_unavailable: IntOrString::Int(1) }
    }
}

/// The NetworkPolicy of the gateways: who may reach the admin port.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySettings {
    /// Whether one is made.
    pub enabled: bool,
    /// Who may reach the admin port, beside the operator. Empty: nobody else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub admin_from: Vec<NetworkPolicyPeer>,
}

impl Default for NetworkPolicySettings {
    fn default() -> Self {
        Self { enabled: true, admin_from: Vec::new() }
    }
}

/// Monitors, rules, dashboards and traces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// A `PodMonitor` `<name>-gateway`, by which Prometheus finds the gateways. `auto`: where that CRD exists.
    pub pod_monitor: Presence,
    /// A `PrometheusRule` `<name>-gateway` with recording rules and alerts. `auto`: where that CRD exists.
    pub prometheus_rule: Presence,
    /// A ConfigMap `<name>-dashboard` that Grafana's sidecar takes up.
    pub dashboards: bool,
    /// Where the gateways' traces go: the base URL of an OTLP receiver that takes HTTP with protobuf, like
    /// `http://collector.observability:4318`. Taken by running gateways. Absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = [
        {"rule": "isURL(self) && url(self).getScheme() in ['http', 'https']", "message": "spec.observability.otlpEndpoint must be an http or https URL"},
        {"rule": "!self.matches('^[^/?#]*//[^/?#]*@')", "message": "spec.observability.otlpEndpoint must not hold a user or a password: set OTEL_EXPORTER_OTLP_HEADERS in spec.gateway.env from a Secret"},
    ]))]
    pub otlp_endpoint: Option<String>,
}

impl Default for Observability {
    fn default() -> Self {
        Self { pod_monitor: Presence::Auto, prometheus_rule: Presence::Auto, dashboards: true, otlp_endpoint: None }
    }
}

/// Whether an optional object is made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Where the cluster has its CRD.
    #[default]
    Auto,
    /// The same, and it is a problem where the cluster does not have its CRD.
    Enabled,
    /// Never.
    Disabled,
}
