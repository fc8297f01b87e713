//! Fields that are accepted but whose behaviour is not there yet. Naming them is what keeps anybody from being fooled.

use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::RolloutStrategy;

/// Fields that are not in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// Set by the user to something of their own.
    pub set: Vec<&'static str>,
    /// Promised by a default.
    pub defaults: Vec<&'static str>,
}

/// What gateways of an earlier version do not know.
const OF_NEWER_GATEWAYS: &str = "spec.service.stickiness.cookie and spec.service.trustedProxies (with the next rollout: these gateways are of an earlier version)";

/// The fields of a spec that are not in force. `older`: the gateways that clients come to are of an earlier version.
pub fn of(spec: &WsClusterSpec, older: bool) -> Later {
    let in_place = spec.rollout.strategy == RolloutStrategy::InPlace;
    Later {
        set: in_place.then_some("spec.rollout.strategy InPlace (a surge is done)").into_iter().collect(),
        defaults: older.then_some(OF_NEWER_GATEWAYS).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_in(yaml: &str) -> Vec<&'static str> {
        of(&serde_yaml::from_str(yaml).unwrap(), false).set
    }

    #[test]
    fn every_field_without_behaviour_is_named() {
        let redis = "redis: {url: 'redis://r:6379'}\n";
        assert!(set_in(redis).is_empty());
        let in_place = set_in(&format!("{redis}rollout: {{strategy: InPlace}}"));
        assert_eq!(in_place, ["spec.rollout.strategy InPlace (a surge is done)"]);
    }

    #[test]
    fn fields_that_work_are_not_named() {
        let redis = "redis: {url: 'redis://r:6379'}\n";
        for yaml in [
            "service: {tls: {certificateArn: 'arn:x'}}",
            "service: {stickiness: {mode: SourceIP}}",
            "service: {stickiness: {cookie: {name: c}}}",
            "service: {tls: {secretName: t}}",
            "route: {ingress: {host: a.example}}",
            "rollout: {maxSurge: 1}",
            "rebalance: {enabled: false}",
            "rebalance: {thresholdPercent: 50}",
            "rollout: {strategy: Surge}",
            "autoscaling: {minReplicas: 1, maxReplicas: 2, targetConnections: 5}",
            "rollout: {sessionLossBudget: 5, autoPause: false}",
            "limits: {burst: 5}",
            "auth: {jwt: {algorithms: [HS256], secretRef: {name: a, key: b}}}",
            "auth: {apiKeySecretRef: {name: a, key: b}}",
            "observability: {podMonitor: enabled, prometheusRule: enabled, dashboards: true}",
            "observability: {otlpEndpoint: 'http://o:4318'}",
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
