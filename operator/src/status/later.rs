//! Fields that are accepted but whose behaviour is not there yet. Naming them is what keeps anybody from being fooled.

use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{
    Cookie, Observability, Presence, Rebalance, Rollout, RolloutStrategy, Service, StickinessMode,
};

/// Fields that are not in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// Set by the user to something of their own.
    pub set: Vec<&'static str>,
    /// Promised by a default.
    pub defaults: Vec<&'static str>,
}

/// The fields of a spec that are not in force.
pub fn of(spec: &WsClusterSpec) -> Later {
    Later { set: set(spec), defaults: defaults(spec) }
}

fn set(spec: &WsClusterSpec) -> Vec<&'static str> {
    let named = |fields: &[(bool, &'static str)]| -> Vec<&'static str> {
        fields.iter().filter(|(set, _)| *set).map(|(_, field)| *field).collect()
    };
    let mut fields = named(&[
        (spec.autoscaling.is_some(), "spec.autoscaling"),
        (spec.route.is_some(), "spec.route"),
        (spec.rebalance != Rebalance::default(), "spec.rebalance"),
    ]);
    fields.extend(named(&service(&spec.service)));
    fields.extend(named(&rollout(&spec.rollout)));
    fields.extend(named(&observability(&spec.observability)));
    fields
}

fn service(service: &Service) -> [(bool, &'static str); 2] {
    [
        (service.tls.as_ref().is_some_and(|tls| tls.secret_name.is_some()), "spec.service.tls.secretName"),
        (service.stickiness.cookie != Cookie::default(), "spec.service.stickiness.cookie"),
    ]
}

fn rollout(rollout: &Rollout) -> [(bool, &'static str); 3] {
    let default = Rollout::default();
    [
        (rollout.strategy != RolloutStrategy::Auto, "spec.rollout.strategy"),
        (rollout.session_loss_budget != default.session_loss_budget, "spec.rollout.sessionLossBudget"),
        (rollout.auto_pause != default.auto_pause, "spec.rollout.autoPause"),
    ]
}

fn observability(observability: &Observability) -> [(bool, &'static str); 3] {
    [
        (observability.pod_monitor == Presence::Enabled, "spec.observability.podMonitor"),
        (observability.prometheus_rule == Presence::Enabled, "spec.observability.prometheusRule"),
        (observability.otlp_endpoint.is_some(), "spec.observability.otlpEndpoint"),
    ]
}

fn defaults(spec: &WsClusterSpec) -> Vec<&'static str> {
    let observability = &spec.observability;
    let promised = [
        (spec.service.stickiness.mode == StickinessMode::Cookie, "spec.service.stickiness.mode Cookie"),
        (spec.rebalance == Rebalance::default() && spec.rebalance.enabled, "spec.rebalance"),
        (spec.rollout.strategy == RolloutStrategy::Auto, "spec.rollout.strategy Auto (a rolling update is done)"),
        (observability.pod_monitor == Presence::Auto, "spec.observability.podMonitor auto"),
        (observability.prometheus_rule == Presence::Auto, "spec.observability.prometheusRule auto"),
        (observability.dashboards, "spec.observability.dashboards"),
    ];
    promised.into_iter().filter(|(promised, _)| *promised).map(|(_, field)| field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_in(yaml: &str) -> Vec<&'static str> {
        of(&serde_yaml::from_str(yaml).unwrap()).set
    }

    #[test]
    fn every_field_without_behaviour_is_named() {
        let redis = "redis: {url: 'redis://r:6379'}\n";
        assert!(set_in(redis).is_empty());
        for (yaml, field) in [
            ("autoscaling: {minReplicas: 1, maxReplicas: 2, targetConnections: 5}", "spec.autoscaling"),
            ("route: {ingress: {host: a.example}}", "spec.route"),
            ("rebalance: {enabled: false}", "spec.rebalance"),
            ("service: {tls: {secretName: t}}", "spec.service.tls.secretName"),
            ("service: {stickiness: {cookie: {name: c}}}", "spec.service.stickiness.cookie"),
            ("rollout: {strategy: InPlace}", "spec.rollout.strategy"),
            ("rollout: {strategy: Surge}", "spec.rollout.strategy"),
            ("rollout: {sessionLossBudget: 5}", "spec.rollout.sessionLossBudget"),
            ("rollout: {autoPause: false}", "spec.rollout.autoPause"),
            ("observability: {podMonitor: enabled}", "spec.observability.podMonitor"),
            ("observability: {prometheusRule: enabled}", "spec.observability.prometheusRule"),
            ("observability: {otlpEndpoint: 'http://o'}", "spec.observability.otlpEndpoint"),
        ] {
            assert_eq!(set_in(&format!("{redis}{yaml}")), [field], "{yaml}");
        }
    }

    #[test]
    fn fields_that_work_are_not_named() {
        let redis = "redis: {url: 'redis://r:6379'}\n";
        for yaml in [
            "service: {tls: {certificateArn: 'arn:x'}}",
            "service: {stickiness: {mode: SourceIP}}",
            "rollout: {maxSurge: 1}",
            "limits: {burst: 5}",
            "auth: {jwt: {algorithms: [HS256], secretRef: {name: a, key: b}}}",
            "auth: {apiKeySecretRef: {name: a, key: b}}",
            "observability: {podMonitor: disabled}",
        ] {
            assert!(set_in(&format!("{redis}{yaml}")).is_empty(), "{yaml}");
        }
        for yaml in [
            "redis: {url: 'redis+sentinel://r:1/m'}",
            "redis: {url: 'redis+cluster://r:1'}",
            "redis: {url: 'rediss://r:1', tls: {caSecretRef: {name: a}}}",
        ] {
            assert!(set_in(yaml).is_empty(), "{yaml}");
        }
    }
}
