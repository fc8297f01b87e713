//! The condition `ScalingActive`: whether the autoscaler does its work, in its own words where there are any. Pure.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition};
use serde_json::Value;
use wscluster_crds::WsCluster;
use wscluster_crds::spec::{Autoscaling, MetricsSource};
use wscluster_crds::status::condition as types;

use super::conditions::Verdict;
use crate::kinds::Kind;
use crate::observe::Observed;
use crate::scalers::Standing;

/// Reasons of a HorizontalPodAutoscaler that are passed on: all others may change with the version of Kubernetes.
/// Source: `pkg/controller/podautoscaler/horizontal.go`.
const REASONS: [&str; 9] = [
    "FailedGetScale",
    "FailedUpdateScale",
    "FailedGetPodsMetric",
    "FailedGetResourceMetric",
    "FailedComputeMetricsReplicas",
    "InvalidSelector",
    "InvalidMetricSourceType",
    "ScalingDisabled",
    "AmbiguousSelector",
];

/// The verdict; none without `spec.autoscaling`.
pub fn verdict(cluster: &WsCluster, observed: &Observed) -> Option<Verdict> {
    let autoscaling = cluster.spec.autoscaling.as_ref()?;
    Some(match autoscaling.metrics_source {
        MetricsSource::Operator => {
            obstacle(&observed.scalers.metrics_api).unwrap_or_else(|| autoscaler(autoscaling, observed))
        }
        MetricsSource::Adapter => autoscaler(autoscaling, observed),
        MetricsSource::Keda => keda(autoscaling, observed),
    })
}

/// Why our metrics API cannot help, if it cannot.
fn obstacle(standing: &Standing) -> Option<Verdict> {
    Some(match standing {
        Standing::Unknown | Standing::Available => return None,
        Standing::Off => off(
            "MetricsApiOff",
            "The operator does not serve the metric: set metricsApi.enabled of its chart to true, or spec.autoscaling.metricsSource to Adapter or Keda. Until then spec.replicas is what somebody else writes there",
        ),
        Standing::Taken { by } => off(
            "MetricsApiTaken",
            format!(
                "The API custom.metrics.k8s.io is served by {by}, which is left alone: have that adapter serve ws_active_connections and set spec.autoscaling.metricsSource to Adapter, set it to Keda, or remove the other adapter's APIService objects"
            ),
        ),
        Standing::Unavailable { why } => off(
            "MetricsApiUnavailable",
            format!(
                "The API server does not get through to the operator's metrics API: {why}. The number of gateways stays as it is"
            ),
        ),
    })
}

fn autoscaler(autoscaling: &Autoscaling, observed: &Observed) -> Verdict {
    let found: Option<HorizontalPodAutoscaler> = observed.typed(Kind::HorizontalPodAutoscaler);
    let status = found.and_then(|found| found.status).unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    let failed =
        ["AbleToScale", "ScalingActive"].into_iter().filter_map(condition).find(|found| found.status == "False");
    if let Some(failed) = failed {
        return off(reason(failed), failure(failed));
    }
    match condition("ScalingActive") {
        Some(active) if active.status == "True" => {
            let limited = condition("ScalingLimited").filter(|limited| limited.status == "True");
            let desired = i64::from(status.desired_replicas);
            on("ValidMetricFound", wanted(autoscaling, desired, limited.and_then(|limited| limited.reason.as_deref())))
        }
        _ => verdict_of("Unknown", "Starting", "The autoscaler has not computed a number of gateways yet"),
    }
}

fn reason(condition: &HorizontalPodAutoscalerCondition) -> &'static str {
    let given = condition.reason.as_deref();
    REASONS.into_iter().find(|reason| given == Some(reason)).unwrap_or("AutoscalerFailing")
}

fn failure(condition: &HorizontalPodAutoscalerCondition) -> String {
    let words = condition.message.as_deref().unwrap_or_default();
    let remedy = match condition.reason.as_deref() {
        Some("ScalingDisabled") => {
            ". spec.replicas is 0, which switches an autoscaler off: kubectl scale wscluster with the number to start from"
        }
        Some("FailedGetResourceMetric") => {
            ". CPU utilisation comes from metrics-server: install it, or take spec.autoscaling.targetCPUUtilizationPercentage out"
        }
        _ => ". The number of gateways stays as it is",
    };
    format!("{words}{remedy}")
}

fn wanted(autoscaling: &Autoscaling, desired: i64, limited: Option<&str>) -> String {
    let (min, max) = (autoscaling.min_replicas, autoscaling.max_replicas);
    let held = match limited {
        Some("TooManyReplicas") => ". More are asked for than spec.autoscaling.maxReplicas allows",
        _ => "",
    };
    format!("{desired} gateways are wanted, of {min} to {max}{held}")
}

fn keda(autoscaling: &Autoscaling, observed: &Observed) -> Verdict {
    let scalers = &observed.scalers;
    if scalers.keda == Some(false) {
        return off(
            "KedaNotInstalled",
            "spec.autoscaling.metricsSource is Keda, but the API server knows no ScaledObject: install KEDA, or use another source",
        );
    }
    if scalers.figures_url.is_none() {
        return off(
            "FiguresNotServed",
            "KEDA has no address to ask for connections at: set metrics.service.enabled of the operator's chart to true",
        );
    }
    let conditions = observed.child(Kind::ScaledObject).and_then(|found| found.pointer("/status/conditions"));
    let conditions = conditions.and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
    let condition = |type_: &str| conditions.iter().find(|condition| condition["type"] == type_);
    match condition("Ready") {
        Some(ready) if ready["status"] == "True" => {
            let (min, max) = (autoscaling.min_replicas, autoscaling.max_replicas);
            on("ScaledObjectReady", format!("KEDA scales from {min} to {max} gateways"))
        }
        Some(ready) if ready["status"] == "False" => {
            off("ScaledObjectNotReady", format!("{}: {}", text(ready, "reason"), text(ready, "message")))
        }
        _ => verdict_of("Unknown", "Starting", "KEDA has not taken the ScaledObject up yet"),
    }
}

fn on(reason: &'static str, message: impl Into<String>) -> Verdict {
    verdict_of("True", reason, message)
}

fn off(reason: &'static str, message: impl Into<String>) -> Verdict {
    verdict_of("False", reason, message)
}

fn verdict_of(status: &'static str, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { type_: types::SCALING_ACTIVE, status, reason, message: message.into() }
}
