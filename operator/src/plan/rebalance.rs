//! When surplus sessions may be moved, and among whom. Pure; whether there is a surplus is decided elsewhere.

use wscluster_crds::WsCluster;
use wscluster_crds::spec::StickinessMode;

pub use crate::rebalance::Terms;
use crate::status::fleet::Fleet;

/// The terms, while nothing else goes on: the fleet is as it is wanted, all of one revision. With affinity to addresses
/// nobody is moved, for the load balancer would send each client back.
pub fn terms(cluster: &WsCluster, fleet: &Fleet) -> Option<Terms> {
    let (spec, count) = (&cluster.spec, |number: i32| u32::try_from(number).unwrap_or_default());
    let settled = fleet.rolled_out && fleet.hold.is_none() && !spec.paused;
    if !settled || !spec.rebalance.enabled || spec.service.stickiness.mode == StickinessMode::SourceIP {
        return None;
    }
    Some(Terms {
        threshold_percent: count(spec.rebalance.threshold_percent),
        connections_per_second: count(spec.rebalance.connections_per_second).max(1),
        pods: fleet
            .staying()
            .filter(|pod| pod.ready && pod.revision == fleet.active)
            .map(|pod| pod.name.clone())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Hold, Phase};
    use crate::status::fleet::Gateway;

    fn fleet() -> Fleet {
        let pod = |name: &str, revision: &str, ready, terminating| Gateway {
            name: name.to_owned(),
            revision: revision.to_owned(),
            ready,
            terminating,
            ..Gateway::default()
        };
        let pods = vec![
            pod("a", "new", true, false),
            pod("b", "new", true, false),
            pod("starting", "new", false, false),
            pod("ending", "new", true, true),
            pod("old", "old", true, false),
        ];
        Fleet { active: "new".to_owned(), rolled_out: true, pods, ..Fleet::default() }
    }

    fn of(spec: &str, fleet: &Fleet) -> Option<Terms> {
        let spec = serde_yaml::from_str(&format!("redis: {{url: 'redis://r:1'}}\n{spec}")).unwrap();
        terms(&WsCluster::new("chat", spec), fleet)
    }

    #[test]
    fn sessions_are_moved_among_gateways_that_are_ready_and_stay() {
        let pods = ["a", "b"].map(str::to_owned).into();
        let wanted = Terms { threshold_percent: 25, connections_per_second: 100, pods };
        assert_eq!(of("", &fleet()), Some(wanted.clone()));
        let other = Terms { threshold_percent: 40, connections_per_second: 7, ..wanted };
        assert_eq!(of("rebalance: {thresholdPercent: 40, connectionsPerSecond: 7}", &fleet()), Some(other));
    }

    #[test]
    fn while_anything_else_goes_on_nobody_is_moved() {
        for spec in ["rebalance: {enabled: false}", "paused: true", "service: {stickiness: {mode: SourceIP}}"] {
            assert_eq!(of(spec, &fleet()), None, "{spec}");
        }
        let rolling = Fleet { rolled_out: false, phase: Phase::Draining, ..fleet() };
        let held = Fleet { hold: Some(Hold::LossBudget), ..fleet() };
        assert_eq!((of("", &rolling), of("", &held)), (None, None));
    }
}
