//! What is made of `spec.autoscaling`: which object, how many gateways, what the status says. No server, no clock.

mod support;

use serde_json::{Value, json};
use support::{UID, cluster, condition, everything, nothing, plan_of, running, status_of};
use wscluster_crds::WsCluster;
use wscluster_operator::desired::{Wanted, gateways};
use wscluster_operator::kinds::Kind;
use wscluster_operator::observe::Observed;
use wscluster_operator::plan::Plan;
use wscluster_operator::plan::writes::wanted;
use wscluster_operator::scalers::{Scalers, Standing};

const FIGURES: &str = "http://wscluster-operator-metrics.wscluster-system.svc:9091/v1/connections";

/// A cluster that scales from 2 to 5, on figures of this source.
fn scaled(source: &str) -> WsCluster {
    let autoscaling = format!(
        "{{minReplicas: 2, maxReplicas: 5, targetConnections: 20000, targetCPUUtilizationPercentage: 70, metricsSource: {source}}}"
    );
    cluster(&format!("gateway: {{resources: {{requests: {{cpu: 1}}}}}}\nautoscaling: {autoscaling}"))
}

/// Everything there is to scale with.
fn scalers() -> Scalers {
    Scalers { keda: Some(true), figures_url: Some(FIGURES.to_owned()), metrics_api: Standing::Available }
}

fn observed() -> Observed {
    Observed { scalers: scalers(), ..nothing() }
}

/// The same with an autoscaler of the kind, which has this status.
fn with(kind: Kind, status: &Value) -> Observed {
    let body = json!({
        "metadata": {
            "name": "chat-gateway", "uid": format!("uid-of-{}", kind.as_str()),
            "ownerReferences": [{"uid": UID, "kind": "WsCluster", "name": "chat", "controller": true}],
        },
        "status": status,
    });
    let mut observed = observed();
    observed.children.insert((kind, "chat-gateway".to_owned()), body);
    observed
}

/// Kinds of autoscalers that a plan writes and removes.
fn autoscalers(plan: &Plan) -> (Vec<Kind>, Vec<Kind>) {
    let ours = |kind: &Kind| Kind::AUTOSCALERS.contains(kind);
    let written = plan.writes.iter().map(|write| write.object.kind).filter(ours).collect();
    (written, plan.removals.iter().map(|removal| removal.kind).filter(ours).collect())
}

#[test]
fn each_source_renders_to_one_object() {
    for (source, kind) in [
        ("Operator", Kind::HorizontalPodAutoscaler),
        ("Adapter", Kind::HorizontalPodAutoscaler),
        ("Keda", Kind::ScaledObject),
    ] {
        let (cluster, defaults) = (scaled(source), support::defaults());
        let wanted: Wanted<'_> = wanted(&cluster, &observed(), &defaults).unwrap();
        let objects = wanted.objects();
        let found: Vec<_> = objects.iter().filter(|object| Kind::AUTOSCALERS.contains(&object.kind)).collect();
        let [object] = &found[..] else { panic!("one object of {source}") };
        assert_eq!((object.kind, object.name.as_str()), (kind, "chat-gateway"), "{source}");
        let replicas = object.body.to_string().matches("\"replicas\"").count();
        assert_eq!(replicas, 0, "the number of gateways is the autoscaler's");
        if source != "Adapter" {
            insta::assert_yaml_snapshot!(source, object.body);
        }
    }
}

#[test]
fn without_keda_nothing_is_written_for_it() {
    for scalers in [
        Scalers { keda: Some(false), ..scalers() },
        Scalers { keda: None, ..scalers() },
        Scalers { figures_url: None, ..scalers() },
    ] {
        let plan = plan_of(&scaled("Keda"), &Observed { scalers, ..nothing() });
        assert_eq!(autoscalers(&plan), (vec![], vec![]));
    }
}

#[test]
fn another_source_has_its_object_once_that_of_the_first_is_gone() {
    let (horizontal, keda) = (Kind::HorizontalPodAutoscaler, Kind::ScaledObject);
    for (source, wanted, other) in [("Keda", keda, horizontal), ("Operator", horizontal, keda)] {
        assert_eq!(autoscalers(&plan_of(&scaled(source), &with(other, &json!({})))), (vec![], vec![other]), "{source}");
        assert_eq!(autoscalers(&plan_of(&scaled(source), &observed())), (vec![wanted], vec![]), "{source}");
    }
}

#[test]
fn an_autoscaler_that_is_not_wanted_any_more_goes() {
    for kind in Kind::AUTOSCALERS {
        assert_eq!(autoscalers(&plan_of(&cluster(""), &with(kind, &json!({})))), (vec![], vec![kind]));
    }
}

#[test]
fn the_number_of_gateways_is_what_was_written_last_within_the_bounds() {
    for (replicas, expected) in [(0, 2), (1, 2), (2, 2), (4, 4), (5, 5), (6, 5)] {
        let mut cluster = scaled("Operator");
        cluster.spec.replicas = replicas;
        assert_eq!(gateways(&cluster.spec), expected, "{replicas}");
    }
}

#[test]
fn a_fleet_keeps_its_size_when_its_source_changes_or_goes() {
    let mut cluster = scaled("Operator");
    cluster.spec.replicas = 4;
    let size = |cluster: &WsCluster| gateways(&cluster.spec);
    let before = size(&cluster);
    cluster.spec.autoscaling.as_mut().unwrap().metrics_source = wscluster_crds::spec::MetricsSource::Keda;
    assert_eq!(size(&cluster), before);
    cluster.spec.autoscaling = None;
    assert_eq!(size(&cluster), before);
}

/// Status, reason and message of `ScalingActive`.
fn verdict(source: &str, observed: &Observed) -> (String, String, String) {
    condition(&status_of(&scaled(source), observed), "ScalingActive")
}

fn horizontal(conditions: &Value) -> Observed {
    with(Kind::HorizontalPodAutoscaler, &json!({"currentReplicas": 2, "desiredReplicas": 3, "conditions": conditions}))
}

#[test]
fn the_condition_says_what_the_autoscaler_says() {
    let working = json!([
        {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "m"},
        {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "m"},
    ]);
    let blind = json!([
        {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale", "message": "m"},
        {"type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric", "message": "no metrics"},
    ]);
    let unable = json!([{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale", "message": "no scale"}]);
    let odd = json!([{"type": "ScalingActive", "status": "False", "reason": "SomethingNew", "message": "odd"}]);
    let limited = json!([
        {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "m"},
        {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "m"},
    ]);
    for (conditions, status, reason, words) in [
        (json!([]), "Unknown", "Starting", "not computed"),
        (working, "True", "ValidMetricFound", "3 gateways are wanted, of 2 to 5"),
        (limited, "True", "ValidMetricFound", "More are asked for than spec.autoscaling.maxReplicas allows"),
        (blind, "False", "FailedGetPodsMetric", "no metrics. The number of gateways stays as it is"),
        (unable, "False", "FailedGetScale", "no scale"),
        (odd, "False", "AutoscalerFailing", "odd"),
    ] {
        for source in ["Operator", "Adapter"] {
            let (found, because, message) = verdict(source, &horizontal(&conditions));
            assert_eq!((found.as_str(), because.as_str()), (status, reason));
            assert!(message.contains(words), "{message}");
        }
    }
}

#[test]
fn what_stands_in_the_way_of_our_own_metrics_is_named_with_a_remedy() {
    let taken = Standing::Taken { by: "Service prometheus-adapter in namespace monitoring".to_owned() };
    let away = Standing::Unavailable { why: "connection refused".to_owned() };
    for (standing, reason, words) in [
        (Standing::Off, "MetricsApiOff", "metricsApi.enabled"),
        (taken, "MetricsApiTaken", "prometheus-adapter in namespace monitoring, which is left alone"),
        (away, "MetricsApiUnavailable", "connection refused"),
    ] {
        let observed = Observed { scalers: Scalers { metrics_api: standing, ..scalers() }, ..nothing() };
        let (status, because, message) = verdict("Operator", &observed);
        assert_eq!((status.as_str(), because.as_str()), ("False", reason));
        assert!(message.contains(words), "{message}");
        assert_eq!(verdict("Adapter", &observed).1, "Starting", "another source does not need it");
    }
}

#[test]
fn keda_is_told_apart_from_no_keda() {
    let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status, "reason": "R", "message": "in its words"}]});
    for (observed, status, reason) in [
        (Observed { scalers: Scalers { keda: Some(false), ..scalers() }, ..nothing() }, "False", "KedaNotInstalled"),
        (Observed { scalers: Scalers { figures_url: None, ..scalers() }, ..nothing() }, "False", "FiguresNotServed"),
        (observed(), "Unknown", "Starting"),
        (with(Kind::ScaledObject, &ready("True")), "True", "ScaledObjectReady"),
        (with(Kind::ScaledObject, &ready("False")), "False", "ScaledObjectNotReady"),
    ] {
        let (found, because, message) = verdict("Keda", &observed);
        assert_eq!((found.as_str(), because.as_str()), (status, reason));
        assert!(!message.is_empty());
    }
}

#[test]
fn an_autoscaled_fleet_that_is_well_is_not_degraded() {
    let mut cluster = scaled("Operator");
    cluster.spec.replicas = 2;
    let status = status_of(&cluster, &Observed { scalers: scalers(), ..running(&cluster) });
    assert_eq!(condition(&status, "Degraded").0, "False");
    assert_eq!(status.ready.as_deref(), Some("2/2"));
}

#[test]
fn the_selector_of_the_scale_subresource_leaves_draining_gateways_out() {
    let cluster = scaled("Operator");
    let selector = status_of(&cluster, &everything(&cluster)).selector.unwrap();
    let revision = wscluster_operator::revision::hash(&cluster.spec);
    assert!(selector.contains(&format!("wscluster.dev/revision={revision}")), "{selector}");
    assert!(selector.contains("wscluster.dev/serving=true"), "{selector}");
}
