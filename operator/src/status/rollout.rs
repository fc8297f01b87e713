//! What is counted of a rollout: sessions moved, resumed, lost. Pure.
//!
//! Gateways count since they began, and go. What they had counted is carried in the status, from which a restarted operator
//! goes on: the old status and the new answers are all that this looks at.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use wscluster_crds::WsClusterStatus;
use wscluster_crds::status::{GatewayState, GatewayStatus, RolloutStatus, SessionCounts};

use super::fleet::{Fleet, Gateway};
use crate::gateways::{Answer, Phase as DrainPhase, Report};
use crate::rollout::Phase;

/// Time for which gateways are listened to after the end of a rollout.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(15);

/// The gateways, and what all of them have counted for the rollout to one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    /// The gateways that are there.
    pub gateways: Vec<GatewayStatus>,
    /// Of gateways that are gone; see [`RolloutStatus::carried`].
    pub carried: SessionCounts,
    /// The sum.
    pub total: SessionCounts,
    /// Whether the rollout is a new one.
    begins: bool,
}

impl Accounts {
    /// Goes on from the old status with what gateways answer now. `to` is the revision that is wanted.
    pub fn of(old: &WsClusterStatus, pods: &[Gateway], answers: &Report, to: &str) -> Self {
        let before: BTreeMap<_, _> = old.gateways.iter().map(|gateway| (gateway.name.as_str(), gateway)).collect();
        let gateways: Vec<_> =
            pods.iter().map(|pod| gateway(pod, before.get(pod.name.as_str()).copied(), answers)).collect();
        let now = sum(gateways.iter().map(|gateway| counted(gateway, to)));
        let running = old.rollout.as_ref().filter(|rollout| rollout.to.as_deref() == Some(to));
        let carried = match running {
            Some(rollout) => old.gateways.iter().fold(rollout.carried, |carried, earlier| {
                let later = gateways.iter().find(|gateway| gateway.name == earlier.name);
                let later = later.map_or_else(SessionCounts::default, |later| counted(later, to));
                plus(carried, forgotten(counted(earlier, to), later))
            }),
            None => minus(SessionCounts::default(), now),
        };
        Self { total: plus(carried, now), carried, gateways, begins: running.is_none() }
    }

    /// Sessions that were lost.
    pub fn dropped(&self) -> i64 {
        self.total.forced + self.total.unrecovered
    }

    /// The rollout's status. A rollout that has ended stays as it was.
    pub fn status(&self, old: &WsClusterStatus, fleet: &Fleet, connections: i64, now: Timestamp) -> RolloutStatus {
        let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        let before = old.rollout.clone().filter(|_| !self.begins);
        if let Some(ended) = before.as_ref().filter(|rollout| is_over(rollout, &now)) {
            return RolloutStatus { carried: self.carried, ..ended.clone() };
        }
        let begun = before.unwrap_or_else(|| RolloutStatus {
            from: old.active_revision.clone().filter(|revision| *revision != fleet.revision),
            to: Some(fleet.revision.clone()),
            started_at: Some(now.clone()),
            ..RolloutStatus::default()
        });
        let phase = if begun.finished_at.is_some() { "Complete" } else { phase(fleet) };
        // Nobody moves yet: gateways may not have told yet of all that they hold.
        let start = if phase == "Surging" { begun.sessions_at_start.max(connections) } else { begun.sessions_at_start };
        let remaining = self.remaining(&fleet.revision);
        RolloutStatus {
            phase: phase.to_owned(),
            finished_at: begun.finished_at.clone().or_else(|| fleet.rolled_out.then_some(now)),
            sessions_at_start: start,
            moved: self.total.moved,
            resumed: self.total.resumed,
            forced: self.total.forced,
            dropped: self.dropped(),
            remaining,
            connections_per_second: i64::from(fleet.connections_per_second),
            eta_seconds: eta(remaining, fleet.connections_per_second),
            message: fleet.stopped(),
            carried: self.carried,
            ..begun
        }
    }

    /// Connections that gateways of other revisions hold.
    fn remaining(&self, to: &str) -> i64 {
        self.gateways.iter().filter(|gateway| gateway.revision != to).map(|gateway| gateway.connections).sum()
    }
}

/// Whether nothing is counted for it any more. Those who moved last are told of by the gateways a moment after its end.
fn is_over(rollout: &RolloutStatus, now: &Time) -> bool {
    rollout.finished_at.as_ref().is_some_and(|end| now.0.duration_since(end.0) > AFTERMATH)
}

fn phase(fleet: &Fleet) -> &'static str {
    match fleet.phase {
        _ if fleet.rolled_out => "Complete",
        Phase::Failed => "Failed",
        Phase::Paused => "Paused",
        Phase::Draining => "Draining",
        Phase::Idle | Phase::Surging | Phase::ScalingIn => "Surging",
    }
}

fn eta(remaining: i64, per_second: u32) -> Option<i64> {
    (per_second > 0).then(|| remaining.div_euclid(i64::from(per_second)) + 1)
}

fn gateway(pod: &Gateway, before: Option<&GatewayStatus>, answers: &Report) -> GatewayStatus {
    let answer = answers.answers.get(&pod.name);
    let known = before.cloned().unwrap_or_default();
    GatewayStatus {
        name: pod.name.clone(),
        revision: pod.revision.clone(),
        node: pod.node.clone(),
        state: state(pod, answer),
        connections: answer.map_or(if pod.running { known.connections } else { 0 }, |answer| answer.connections),
        counts: answer.map_or(known.counts, counts),
    }
}

fn counts(answer: &Answer) -> SessionCounts {
    SessionCounts {
        moved: answer.drain.moved,
        forced: answer.drain.forced,
        resumed: answer.resumed,
        unrecovered: answer.unrecovered,
    }
}

fn state(pod: &Gateway, answer: Option<&Answer>) -> GatewayState {
    match answer.map(|answer| answer.drain.state).unwrap_or_default() {
        _ if pod.terminating => GatewayState::Terminating,
        DrainPhase::Draining => GatewayState::Draining,
        DrainPhase::Drained => GatewayState::Drained,
        DrainPhase::Running if pod.ready => GatewayState::Serving,
        DrainPhase::Running => GatewayState::NotReady,
    }
}

/// What counts for the rollout: sessions that come back to an older gateway have not moved to the new revision.
fn counted(gateway: &GatewayStatus, to: &str) -> SessionCounts {
    let SessionCounts { resumed, unrecovered, .. } = gateway.counts;
    let arrived = |count| if gateway.revision == to { count } else { 0 };
    SessionCounts { resumed: arrived(resumed), unrecovered: arrived(unrecovered), ..gateway.counts }
}

/// What a gateway had counted and counts no longer: all, when it is gone or began anew; a drain's, when that was cancelled.
fn forgotten(before: SessionCounts, now: SessionCounts) -> SessionCounts {
    each(before, now, |before, now| if now < before { before } else { 0 })
}

fn plus(a: SessionCounts, b: SessionCounts) -> SessionCounts {
    each(a, b, |a, b| a + b)
}

fn minus(a: SessionCounts, b: SessionCounts) -> SessionCounts {
    each(a, b, |a, b| a - b)
}

fn sum(all: impl Iterator<Item = SessionCounts>) -> SessionCounts {
    all.fold(SessionCounts::default(), plus)
}

fn each(a: SessionCounts, b: SessionCounts, f: impl Fn(i64, i64) -> i64) -> SessionCounts {
    SessionCounts {
        moved: f(a.moved, b.moved),
        resumed: f(a.resumed, b.resumed),
        unrecovered: f(a.unrecovered, b.unrecovered),
        forced: f(a.forced, b.forced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateways::Drain;

    fn pod(name: &str, revision: &str) -> Gateway {
        Gateway { name: name.to_owned(), revision: revision.to_owned(), running: true, ..Gateway::default() }
    }

    fn report(answers: &[(&str, i64, i64)]) -> Report {
        let answer = |moved, resumed| Answer {
            connections: 1,
            resumed,
            drain: Drain { moved, ..Drain::default() },
            ..Answer::default()
        };
        let answers = answers.iter().map(|(pod, moved, resumed)| ((*pod).to_owned(), answer(*moved, *resumed)));
        Report { answers: answers.collect(), ..Report::default() }
    }

    /// Goes through rounds of (pods, answers) and returns what was moved and resumed after each.
    fn rounds(to: &str, rounds: &[(&[(&str, &str)], Report)]) -> Vec<(i64, i64)> {
        let mut status = WsClusterStatus::default();
        let round = |(pods, answers): &(&[(&str, &str)], Report)| {
            let pods: Vec<_> = pods.iter().map(|(name, revision)| pod(name, revision)).collect();
            let accounts = Accounts::of(&status, &pods, answers, to);
            let fleet = Fleet { revision: to.to_owned(), ..Fleet::default() };
            status.rollout = Some(accounts.status(&status, &fleet, 0, Timestamp::UNIX_EPOCH));
            status.gateways = accounts.gateways;
            (accounts.total.moved, accounts.total.resumed)
        };
        rounds.iter().map(round).collect()
    }

    const BOTH: &[(&str, &str)] = &[("a", "old"), ("b", "new")];
    const NEW: &[(&str, &str)] = &[("b", "new")];

    #[test]
    fn what_a_gateway_counted_outlives_it() {
        let seen = rounds(
            "new",
            &[
                (BOTH, report(&[("a", 0, 40), ("b", 0, 0)])),
                (BOTH, report(&[("a", 7, 41), ("b", 0, 6)])),
                (NEW, report(&[("b", 0, 7)])),
                (NEW, report(&[("b", 0, 7)])),
            ],
        );
        assert_eq!(seen, [(0, 0), (7, 6), (7, 7), (7, 7)], "those who come back to the old one have not moved");
    }

    #[test]
    fn a_gateway_that_does_not_answer_or_begins_anew_takes_nothing_back() {
        let seen = rounds(
            "new",
            &[
                (BOTH, report(&[("a", 0, 0), ("b", 0, 0)])),
                (BOTH, report(&[("a", 5, 0), ("b", 0, 5)])),
                (BOTH, report(&[])),
                (BOTH, report(&[("a", 0, 0), ("b", 0, 2)])),
                (BOTH, report(&[("a", 1, 0), ("b", 0, 3)])),
            ],
        );
        assert_eq!(seen, [(0, 0), (5, 5), (5, 5), (5, 7), (6, 8)]);
    }

    #[test]
    fn what_was_counted_before_it_began_is_not_its() {
        assert_eq!(rounds("new", &[(BOTH, report(&[("a", 9, 9), ("b", 0, 4)]))]), [(0, 0)]);
    }
}
