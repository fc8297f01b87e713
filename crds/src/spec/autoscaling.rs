//! Scaling on connections.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scaling on connections, with the stock HorizontalPodAutoscaler.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Fewest gateways.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most gateways.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Connections per gateway that the autoscaler aims for. Sessions of gateways that drain are counted where they go.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_connections: i32,
    /// CPU utilisation, in percent of the request, that the autoscaler aims for as well. Needs metrics-server.
    #[serde(default, rename = "targetCPUUtilizationPercentage", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// Who serves the connection metric to the autoscaler.
    #[serde(default)]
    pub metrics_source: MetricsSource,
    /// Scaling behaviour, as in a HorizontalPodAutoscaler. A direction that is absent: Kubernetes' default for `scaleUp`; for
    /// `scaleDown` at most half of the gateways within the time that a drain takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// Who serves the connection metric to the autoscaler.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsSource {
    /// The operator itself, as an aggregated API: `metricsApi.enabled` of its chart. Needs nothing else.
    #[default]
    Operator,
    /// An installed adapter that serves `ws_active_connections` of the pods, such as prometheus-adapter.
    Adapter,
    /// An installed KEDA, which asks the operator.
    Keda,
}
