//! Several probes as one: a process holds only so many sockets. Each has sessions and rooms of its own; their reports become one.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use kube::Client;
use wscluster_probe::{Report, merge};

use super::probe_pod::{ProbePlan, ProbePod, ProbeStatus};

/// Sessions of one probe: two connections for each while it moves, and a process may have 20,000 files open.
const MOST: u32 = 9_900;

/// Probes that run in the cluster.
pub struct ProbePods {
    pods: Vec<ProbePod>,
    sessions: u64,
}

impl ProbePods {
    /// Starts as many probes as the plan's sessions need, evenly on these nodes.
    pub async fn start(client: &Client, namespace: &str, plan: &ProbePlan, nodes: &[String]) -> Result<Self> {
        let plans = split(plan, nodes);
        let names: Vec<_> = (1..=plans.len()).map(|number| format!("probe-{number}")).collect();
        let starting = plans.iter().zip(&names).map(|(plan, name)| ProbePod::start(client, namespace, name, plan));
        Ok(Self { pods: try_join_all(starting).await?, sessions: u64::from(plan.sessions) })
    }

    /// What all of them are doing, added up; the phase is that of the one that is least far.
    pub async fn status(&self) -> Result<ProbeStatus> {
        Ok(sum(&try_join_all(self.pods.iter().map(ProbePod::status)).await?))
    }

    /// Whether every session is connected and messages flow.
    pub fn is_running(&self, status: &ProbeStatus) -> bool {
        status.phase == "running" && status.connected == self.sessions && status.received > 0
    }

    /// Stops publishing, waits until everything has arrived, and returns the verdict over all.
    pub async fn finish(&self) -> Result<Report> {
        let reports = try_join_all(self.pods.iter().map(ProbePod::finish)).await?;
        merge::merge(&reports).context("a probe's report does not say what it is made of")
    }

    /// Removes the pods, and waits until they are gone.
    pub async fn delete(self, within: Duration) -> Result<()> {
        try_join_all(self.pods.into_iter().map(|pod| pod.delete(within))).await?;
        Ok(())
    }
}

/// A plan for each probe; nothing is lost to rounding.
fn split(plan: &ProbePlan, nodes: &[String]) -> Vec<ProbePlan> {
    let count = plan.sessions.div_ceil(MOST).max(1);
    let share = |total: u32, index: u32| total / count + u32::from(index < total % count);
    let of = |index: u32| ProbePlan {
        sessions: share(plan.sessions, index),
        rooms: share(plan.rooms, index).max(1),
        rate: share(plan.rate, index),
        connect_rate: share(plan.connect_rate, index).max(1),
        detail: true,
        node: nodes.get(index as usize % nodes.len().max(1)).cloned(),
        ..plan.clone()
    };
    (0..count).map(of).collect()
}

fn sum(all: &[ProbeStatus]) -> ProbeStatus {
    let total = |count: fn(&ProbeStatus) -> u64| all.iter().map(count).sum();
    let order = ["connecting", "running", "settling", "done"];
    let least = order.into_iter().find(|phase| all.iter().any(|status| status.phase == *phase));
    ProbeStatus {
        phase: least.unwrap_or("connecting").to_owned(),
        connected: total(|status| status.connected),
        published: total(|status| status.published),
        received: total(|status| status.received),
        moves: total(|status| status.moves),
        breaks: all.iter().map(|status| &status.breaks).sum(),
        last_error: all.iter().find_map(|status| status.last_error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sessions: u32, rooms: u32, rate: u32) -> ProbePlan {
        let (image, url, redis) = (String::new(), String::new(), String::new());
        let (patience, connect_rate) = (ProbePlan::PATIENCE, 1000);
        ProbePlan {
            image,
            url,
            redis,
            sessions,
            rooms,
            rate,
            connect_rate,
            patience,
            mixed: true,
            detail: false,
            node: None,
        }
    }

    #[test]
    fn a_plan_is_split_without_loss_and_no_probe_gets_too_many() {
        let nodes = ["a", "b"].map(str::to_owned);
        for (sessions, probes) in [(1, 1), (MOST, 1), (MOST + 1, 2), (100_000, 11)] {
            let plans = split(&plan(sessions, 20_000, 1001), &nodes);
            assert_eq!(plans.len(), probes, "{sessions}");
            assert_eq!(plans.iter().map(|plan| plan.sessions).sum::<u32>(), sessions);
            assert_eq!(plans.iter().map(|plan| plan.rooms).sum::<u32>(), 20_000);
            assert_eq!(plans.iter().map(|plan| plan.rate).sum::<u32>(), 1001);
            assert!(plans.iter().all(|plan| plan.sessions <= MOST && plan.detail));
        }
        let on: Vec<_> = split(&plan(30_000, 1, 1), &nodes).into_iter().filter_map(|plan| plan.node).collect();
        assert_eq!(on, ["a", "b", "a", "b"]);
    }

    #[test]
    fn all_run_when_the_last_one_does() {
        let status = |phase: &str| ProbeStatus {
            phase: phase.to_owned(),
            connected: 5,
            published: 1,
            received: 1,
            moves: 0,
            breaks: [Some(4408)].into_iter().collect(),
            last_error: None,
        };
        assert_eq!(sum(&[status("running"), status("connecting")]).phase, "connecting");
        let all = sum(&[status("running"), status("running")]);
        assert_eq!((all.connected, all.breaks.to_string().as_str()), (10, "2 with 4408"));
    }
}
