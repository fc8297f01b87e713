//! What scales a cluster: a HorizontalPodAutoscaler, or KEDA's ScaledObject. Both write the number of gateways by the
//! WsCluster's `scale` subresource, so that nothing that is applied here holds that number.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::spec::{Autoscaling, MetricsSource};
use wscluster_crds::{GROUP, VERSION};

use super::Wanted;
use crate::budget::Budget;
use crate::kinds::Kind;

/// Name of the metric that is scaled on.
pub const METRIC: &str = "ws_active_connections";

/// Shortest stabilisation window: what Kubernetes has by default.
const SHORTEST_WINDOW_SECONDS: i64 = 300;
/// Longest window, and longest period of a policy. Source: `autoscaling/v2`, validation of `HPAScalingRules`.
const LONGEST_WINDOW_SECONDS: i64 = 3600;
const LONGEST_PERIOD_SECONDS: i64 = 1800;
/// Part of the fleet that may leave within the time that a drain takes: those that stay take over as many sessions each as
/// they have.
const LEAVING_PERCENT: i32 = 50;

/// Whether a cluster has an object of one of the two kinds.
pub fn wants(wanted: &Wanted<'_>, kind: Kind) -> bool {
    let source = wanted.spec.autoscaling.as_ref().map(|autoscaling| autoscaling.metrics_source);
    match source {
        None => false,
        Some(MetricsSource::Operator | MetricsSource::Adapter) => kind == Kind::HorizontalPodAutoscaler,
        Some(MetricsSource::Keda) => {
            let scalers = &wanted.scalers;
            kind == Kind::ScaledObject && scalers.keda == Some(true) && scalers.figures_url.is_some()
        }
    }
}

/// The HorizontalPodAutoscaler.
pub fn horizontal(wanted: &Wanted<'_>) -> Value {
    let Some(autoscaling) = &wanted.spec.autoscaling else { return Value::Null };
    let cpu = autoscaling.target_cpu_utilization_percentage.map(cpu);
    let metrics: Vec<_> = std::iter::once(connections(autoscaling)).chain(cpu).collect();
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": wanted.metadata(Kind::HorizontalPodAutoscaler, &BTreeMap::new()),
        "spec": {
            "scaleTargetRef": target(wanted),
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": metrics,
            "behavior": behavior(autoscaling, &wanted.budget),
        },
    })
}

/// KEDA's ScaledObject. Source: <https://keda.sh/docs/latest/reference/scaledobject-spec/>.
pub fn scaled_object(wanted: &Wanted<'_>) -> Value {
    let Some(autoscaling) = &wanted.spec.autoscaling else { return Value::Null };
    let connections = json!({
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {
            "url": figures_url(wanted),
            "valueLocation": "connections",
            "targetValue": autoscaling.target_connections.to_string(),
        },
    });
    let cpu = autoscaling
        .target_cpu_utilization_percentage
        .map(|percent| json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": percent.to_string()}}));
    let triggers: Vec<_> = std::iter::once(connections).chain(cpu).collect();
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": wanted.metadata(Kind::ScaledObject, &BTreeMap::new()),
        "spec": {
            "scaleTargetRef": target(wanted),
            "minReplicaCount": autoscaling.min_replicas,
            "maxReplicaCount": autoscaling.max_replicas,
            "advanced": {
                // The number of gateways is to stay when the ScaledObject goes.
                "restoreToOriginalReplicaCount": false,
                "horizontalPodAutoscalerConfig": {"behavior": behavior(autoscaling, &wanted.budget)},
            },
            "triggers": triggers,
        },
    })
}

fn figures_url(wanted: &Wanted<'_>) -> Option<String> {
    let base = wanted.scalers.figures_url.as_ref()?;
    Some(format!("{}/{}/{}", base.trim_end_matches('/'), wanted.namespace, wanted.name))
}

fn target(wanted: &Wanted<'_>) -> Value {
    json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "WsCluster", "name": wanted.name.as_str()})
}

fn connections(autoscaling: &Autoscaling) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": autoscaling.target_connections.to_string()});
    json!({"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": target}})
}

fn cpu(percent: i32) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// What the user set; for a direction that is not set, growth as Kubernetes has it, and a shrinking that waits until those
/// who left have arrived.
fn behavior(autoscaling: &Autoscaling, budget: &Budget) -> Value {
    let set = autoscaling.behavior.as_ref();
    let scale_down = set.and_then(|behavior| behavior.scale_down.as_ref());
    json!({
        "scaleUp": set.and_then(|behavior| behavior.scale_up.as_ref()),
        "scaleDown": scale_down.map_or_else(|| shrinking(budget), |rules| json!(rules)),
    })
}

fn shrinking(budget: &Budget) -> Value {
    let drain = budget.min_seconds + budget.timeout_seconds;
    json!({
        "stabilizationWindowSeconds": drain.clamp(SHORTEST_WINDOW_SECONDS, LONGEST_WINDOW_SECONDS),
        "policies": [
            {"type": "Percent", "value": LEAVING_PERCENT, "periodSeconds": drain.clamp(1, LONGEST_PERIOD_SECONDS)},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autoscaling(behavior: &str) -> Autoscaling {
        serde_yaml::from_str(&format!("{{minReplicas: 1, maxReplicas: 9, targetConnections: 5{behavior}}}")).unwrap()
    }

    fn shrinking_of(drain: &str) -> (Value, Value) {
        let spec = serde_yaml::from_str(&format!("{{redis: {{url: 'redis://r'}}, drain: {drain}}}")).unwrap();
        let behavior = behavior(&autoscaling(""), &Budget::of(&spec, 3));
        let down = &behavior["scaleDown"];
        (down["stabilizationWindowSeconds"].clone(), down["policies"][0]["periodSeconds"].clone())
    }

    #[test]
    fn a_fleet_shrinks_no_faster_than_drains_finish() {
        assert_eq!(shrinking_of("{minSeconds: 5, timeoutSeconds: 60}"), (json!(300), json!(65)));
        assert_eq!(shrinking_of("{minSeconds: 180, timeoutSeconds: 300}"), (json!(480), json!(480)));
        assert_eq!(shrinking_of("{minSeconds: 3500, timeoutSeconds: 3600}"), (json!(3600), json!(1800)));
    }

    #[test]
    fn a_direction_that_the_user_set_is_the_users_and_the_other_is_derived() {
        let spec = serde_yaml::from_str("{redis: {url: 'redis://r'}}").unwrap();
        let budget = Budget::of(&spec, 3);
        let up = behavior(&autoscaling(", behavior: {scaleUp: {stabilizationWindowSeconds: 7}}"), &budget);
        assert_eq!(up["scaleUp"], json!({"stabilizationWindowSeconds": 7}));
        assert_eq!(up["scaleDown"], shrinking(&budget));
        let down = behavior(&autoscaling(", behavior: {scaleDown: {selectPolicy: Disabled}}"), &budget);
        assert_eq!(down, json!({"scaleUp": null, "scaleDown": {"selectPolicy": "Disabled"}}));
    }
}
