//! What the one drain budget comes out as: grace period, deregistration delay, pace. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{Auto, ServiceProvider, ServiceType};
use wscluster_crds::status::EffectiveStatus;

/// Seconds for which a network load balancer of AWS goes on sending to a target that it was told to forget.
const LOAD_BALANCER_SECONDS: i64 = 180;
/// Seconds until every node's proxy has heard that an endpoint is gone.
const ENDPOINT_SECONDS: i64 = 5;
/// Seconds between the drain deadline and the kernel's SIGKILL: closing what is left, and exit.
const EXIT_SECONDS: i64 = 30;
/// Seconds between two readiness probes: two that fail take a gateway out of the Service.
pub const READINESS_PERIOD_SECONDS: i32 = 2;
/// Largest deregistration delay. Source: AWS, target group attribute `deregistration_delay.timeout_seconds`.
const LONGEST_DEREGISTRATION_SECONDS: i64 = 3600;

/// The drain budget, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Seconds that a draining gateway goes on accepting.
    pub min_seconds: i64,
    /// Seconds within which a gateway moves its sessions.
    pub timeout_seconds: i64,
    /// The pods' `terminationGracePeriodSeconds`.
    pub grace_seconds: i64,
    /// The load balancer's deregistration delay.
    pub deregistration_seconds: i64,
    /// Sessions per second that one gateway moves when nobody gives it a pace; 0: as fast as it takes.
    pub connections_per_second: i64,
    /// Sessions per second that the whole fleet moves at most; 0: as its headroom allows.
    pub fleet_per_second: i64,
    /// Gateways that may exist beyond the number wanted while a revision comes up.
    pub max_surge: i32,
}

impl Budget {
    /// Resolves the budget of a spec for a fleet of `gateways`.
    pub fn of(spec: &WsClusterSpec, gateways: i32) -> Self {
        let min_seconds = match Auto::from(&spec.drain.min_seconds) {
            Auto::Fixed(seconds) => i64::from(seconds),
            Auto::Auto if behind_aws(spec) => LOAD_BALANCER_SECONDS,
            Auto::Auto => ENDPOINT_SECONDS,
        };
        let timeout_seconds = spec.drain.timeout_seconds;
        Self {
            min_seconds,
            timeout_seconds,
            grace_seconds: min_seconds + timeout_seconds + EXIT_SECONDS,
            deregistration_seconds: (min_seconds + timeout_seconds).min(LONGEST_DEREGISTRATION_SECONDS),
            connections_per_second: share(Auto::from(&spec.drain.connections_per_second), gateways),
            fleet_per_second: share(Auto::from(&spec.drain.connections_per_second), 1),
            max_surge: max_surge(&spec.rollout.max_surge, gateways),
        }
    }

    /// The same, for `status.effective`.
    pub fn status(&self) -> EffectiveStatus {
        EffectiveStatus {
            termination_grace_period_seconds: self.grace_seconds,
            deregistration_delay_seconds: self.deregistration_seconds,
            drain_min_seconds: self.min_seconds,
            drain_connections_per_second: self.fleet_per_second,
            drain_deadline_seconds: self.min_seconds + self.timeout_seconds,
            readiness_period_seconds: i64::from(READINESS_PERIOD_SECONDS),
            max_surge: i64::from(self.max_surge),
        }
    }
}

/// Whether a network load balancer of AWS is in front.
pub fn behind_aws(spec: &WsClusterSpec) -> bool {
    spec.service.type_ == ServiceType::LoadBalancer && spec.service.provider == ServiceProvider::Aws
}

/// `spec.rollout.maxSurge` as a number of gateways: at least one, and a percentage rounded up.
pub fn max_surge(surge: &IntOrString, gateways: i32) -> i32 {
    let number = match surge {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(100);
            gateways.saturating_mul(percent).saturating_add(99) / 100
        }
    };
    number.max(1)
}

/// All gateways may drain at once, without an operator that paces them: each gets its share of the fleet's pace.
fn share(rate: Auto, gateways: i32) -> i64 {
    match rate {
        Auto::Auto => 0,
        Auto::Fixed(rate) => i64::from(rate.div_euclid(gateways.max(1)).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> WsClusterSpec {
        serde_yaml::from_str(&format!("redis: {{url: redis://r:6379}}\n{yaml}")).unwrap()
    }

    #[test]
    fn behind_aws_a_gateway_accepts_for_three_minutes() {
        let budget = Budget::of(&spec(""), 3);
        assert_eq!((budget.min_seconds, budget.grace_seconds, budget.deregistration_seconds), (180, 510, 480));
    }

    #[test]
    fn without_a_load_balancer_of_aws_five_seconds_do() {
        for yaml in ["service: {type: ClusterIP}", "service: {provider: none}"] {
            let budget = Budget::of(&spec(yaml), 3);
            assert_eq!((budget.min_seconds, budget.grace_seconds), (5, 335), "{yaml}");
        }
    }

    #[test]
    fn grace_period_covers_propagation_drain_and_exit_for_any_budget() {
        for (min, timeout) in [(0, 5), (5, 300), (3600, 3600)] {
            let budget = Budget::of(&spec(&format!("drain: {{minSeconds: {min}, timeoutSeconds: {timeout}}}")), 2);
            assert!(budget.grace_seconds > min + timeout);
            assert!(budget.deregistration_seconds <= 3600);
        }
    }

    #[test]
    fn a_percentage_of_surge_is_rounded_up_and_never_zero() {
        let percent = |text: &str, gateways| max_surge(&IntOrString::String(text.to_owned()), gateways);
        assert_eq!([percent("100%", 6), percent("25%", 6), percent("1%", 3), percent("50%", 0)], [6, 2, 1, 1]);
        assert_eq!(max_surge(&IntOrString::Int(4), 2), 4);
    }

    #[test]
    fn the_fleets_pace_is_shared_between_its_gateways() {
        let rate = |gateways| Budget::of(&spec("drain: {connectionsPerSecond: 100}"), gateways).connections_per_second;
        assert_eq!((rate(4), rate(0), rate(1000)), (25, 100, 1));
    }
}
