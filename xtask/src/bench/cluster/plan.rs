//! What a scenario on the testbed needs: sizes, the WsCluster, and whether the machine can carry it. Pure.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wscluster_tests::fleet::ProbePlan;

use crate::bench::BenchArgs;
use crate::bench::scenario::Scenario;
use crate::workspace::VERSION;

/// Sessions of one gateway: a process holds 20,000 files, and a Service's choice is not quite even.
const MOST_PER_GATEWAY: u32 = 18_500;
/// New sessions per second, over all probes: what two cores do beside everything else.
const CONNECT_RATE: u32 = 600;
/// Sessions per second that a drain is given time for, at least. It moves them in half of its time, so twice as many.
const DRAIN_RATE: u32 = 300;

/// What happens to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another image: every gateway is replaced.
    Upgrade,
    /// One pod is deleted: its sessions move, and a new gateway takes its place.
    OneLeaves,
}

/// Sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) change: Change,
    pub(crate) sessions: u32,
    pub(crate) rooms: u32,
    pub(crate) gateways: u32,
    /// Messages per second, over all rooms.
    pub(crate) rate: u32,
}

impl Plan {
    /// The plan of a scenario that runs on the testbed; none of one that does not.
    pub(crate) fn of(scenario: Scenario, args: &BenchArgs) -> Result<Option<Self>> {
        let gateways = args.gateways;
        let (change, sessions, rooms) = match scenario {
            Scenario::Fleet => (Change::Upgrade, 100_000, 20_000),
            Scenario::Drain => (Change::OneLeaves, 3_000 * gateways, 600 * gateways),
            _ => return Ok(None),
        };
        let sessions = args.sessions.unwrap_or(sessions);
        // Each room holds a session or more.
        let rooms = args.rooms.unwrap_or(rooms).min((sessions / 5).max(1));
        ensure!(
            sessions <= gateways * MOST_PER_GATEWAY,
            "{sessions} sessions need {} gateways: one process holds {MOST_PER_GATEWAY} here (--gateways)",
            sessions.div_ceil(MOST_PER_GATEWAY)
        );
        Ok(Some(Self { scenario, change, sessions, rooms, gateways, rate: args.rate }))
    }

    /// For people, and in the results.
    pub(crate) fn name(&self) -> String {
        let Self { sessions, rooms, gateways, rate, .. } = self;
        format!("{sessions} sessions, {rooms} rooms of mixed size, {gateways} gateways, {rate} messages/s")
    }

    /// The same of the change.
    pub(crate) fn change_name(&self) -> &'static str {
        match self.change {
            Change::Upgrade => "rolling upgrade",
            Change::OneLeaves => "one gateway leaves",
        }
    }

    /// Connections that each of two nodes keeps track of: those of its own half of the sessions, and of the other half's
    /// that end at its gateways. All of them twice, since the old ones are remembered for two minutes after a move.
    pub(crate) fn tracked_per_node(&self) -> u64 {
        u64::from(self.sessions) * 3 / 2 + 10_000
    }

    /// How long the gateways take to move everybody, at most.
    pub(crate) fn drain_time(&self) -> Duration {
        Duration::from_secs(u64::from((self.sessions / DRAIN_RATE).clamp(60, 7000)))
    }

    /// How long connecting all sessions takes at their pace.
    pub(crate) fn connect_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.sessions / CONNECT_RATE))
    }

    /// The resource, as a user would write it.
    pub(crate) fn manifest(&self, name: &str) -> Value {
        json!({
            "apiVersion": "wscluster.dev/v1alpha1",
            "kind": "WsCluster",
            "metadata": {"name": name},
            "spec": {
                "replicas": self.gateways,
                "gateway": {
                    "image": image(""),
                    "maxConnections": MOST_PER_GATEWAY + 1000,
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
                },
                "redis": {
                    "url": "redis://redis:6379",
                    "streams": {"trim": {"strategy": "MaxLen", "maxLen": 10_000}},
                },
                "service": {"type": "LoadBalancer", "provider": "none"},
                "drain": {"minSeconds": 5, "timeoutSeconds": self.drain_time().as_secs()},
            },
        })
    }

    /// What the probes do.
    pub(crate) fn probes(&self, url: &str) -> ProbePlan {
        ProbePlan {
            image: image(""),
            url: url.to_owned(),
            redis: "redis://redis:6379".to_owned(),
            sessions: self.sessions,
            rooms: self.rooms,
            rate: self.rate,
            connect_rate: CONNECT_RATE,
            patience: Duration::from_mins(2),
            mixed: true,
            detail: true,
            node: None,
        }
    }
}

/// The product's image, or the one that it is upgraded to.
pub(crate) fn image(suffix: &str) -> String {
    format!("wscluster.dev/wscluster:{VERSION}{suffix}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plan(line: &str) -> Result<Option<Plan>> {
        let args = Line::parse_from(format!("bench {line}").split(' ')).args;
        Plan::of(args.scenarios[0], &args)
    }

    #[test]
    fn sizes_are_those_of_the_scenario_unless_they_are_given() {
        let sizes = |line: &str| plan(line).unwrap().map(|plan| (plan.sessions, plan.rooms, plan.gateways));
        assert_eq!(sizes("fleet"), Some((100_000, 20_000, 6)));
        assert_eq!(sizes("fleet --sessions 6000"), Some((6000, 1200, 6)), "no room is empty");
        assert_eq!(sizes("fleet --sessions 6000 --rooms 7 --gateways 8"), Some((6000, 7, 8)));
        assert_eq!(sizes("drain"), Some((18_000, 3600, 6)));
        assert_eq!(sizes("idle"), None);
    }

    #[test]
    fn more_sessions_than_the_gateways_can_hold_are_refused_with_the_number_that_could() {
        let error = plan("fleet --sessions 120000").unwrap_err().to_string();
        assert!(error.contains("7 gateways"), "{error}");
        assert!(plan("fleet --sessions 120000 --gateways 7").is_ok());
    }

    #[test]
    fn the_manifest_is_one_that_the_api_server_takes() {
        for line in ["fleet", "fleet --sessions 100", "drain"] {
            let plan = plan(line).unwrap().unwrap();
            let cluster: wscluster_crds::WsCluster = serde_json::from_value(plan.manifest("x")).unwrap();
            assert_eq!(cluster.spec.replicas, 6);
            assert!((60..=7000).contains(&cluster.spec.drain.timeout_seconds));
        }
    }
}
