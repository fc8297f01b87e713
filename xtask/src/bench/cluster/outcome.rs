//! What a scenario on the testbed came to: figures, and whether the promise was kept. Pure.

use wscluster_probe::{Report, Verdict};

use super::plan::{Change, Plan};
use super::steady::Steady;
use super::watch::{Memory, Sample};
use crate::bench::stage::Figures;
use crate::bench::told::Told;

/// What happened.
pub(crate) struct Outcome {
    /// Over all sessions.
    pub(crate) report: Report,
    /// What messages cost before the change.
    pub(crate) steady: Steady,
    /// From the change to its end.
    pub(crate) change_seconds: f64,
    /// What the operator did meanwhile.
    pub(crate) operator: Told,
    /// With all sessions connected, before the change.
    pub(crate) rest: Sample,
    /// The most over the whole run.
    pub(crate) most: Sample,
}

impl Outcome {
    /// What was promised and not kept, in words; none if all was kept.
    pub(crate) fn broken(&self, plan: &Plan) -> Vec<String> {
        let Report { moves, .. } = &self.report;
        let none = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let stayed = plan.change == Change::Upgrade && moves.total < u64::from(plan.sessions);
        let claims = [
            none(self.report.lost, "deliveries lost"),
            none(self.report.duplicated, "deliveries twice"),
            none(self.report.reordered, "deliveries out of order"),
            none(self.report.unexpected, "deliveries that nothing explains"),
            none(self.report.disconnects_without_notice, "connections ended without a notice"),
            none(self.report.forced, "sessions closed at the drain's deadline"),
            none(self.report.resyncs, "rooms told of a hole"),
            (moves.max > 1).then(|| format!("a session moved {} times", moves.max)),
            stayed.then(|| format!("only {} of {} sessions moved", moves.total, plan.sessions)),
            (moves.total == 0).then(|| "no session moved".to_owned()),
            (self.report.verdict == Verdict::Failed).then(|| "the probes' verdict is: failed".to_owned()),
        ];
        claims.into_iter().flatten().collect()
    }

    /// What sessions went through.
    pub(crate) fn sessions(&self) -> Figures {
        let report = &self.report;
        let stayed = report.detail.as_ref().map(|detail| wscluster_probe::report::Spread::of(&detail.stayed_gaps));
        let figures = [
            ("published", report.published as f64),
            ("deliveries", report.received as f64),
            ("lost", report.lost as f64),
            ("duplicated", report.duplicated as f64),
            ("reordered", report.reordered as f64),
            ("unannounced", report.disconnects_without_notice as f64),
            ("forced", report.forced as f64),
            ("movesMean", report.moves.mean),
            ("movesMax", report.moves.max as f64),
            ("gapP50Ms", report.gap_ms.p50 as f64),
            ("gapP99Ms", report.gap_ms.p99 as f64),
            ("gapMaxMs", report.gap_ms.max as f64),
            ("latencyP50Ms", report.latency_ms.p50),
            ("latencyP99Ms", report.latency_ms.p99),
            ("stayedWorstP99Ms", stayed.map_or(0.0, |spread| spread.p99 as f64)),
            ("peakReconnectsPerSecond", report.peak_reconnects_per_second as f64),
            ("changeSeconds", self.change_seconds),
            ("writes", self.operator.writes),
            ("turnP99Ms", self.operator.turn(0.99) * 1000.0),
            ("runSeconds", report.duration_seconds),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What the components held.
    pub(crate) fn memory(&self) -> Figures {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let of = |sample: &Sample, program: &str| sample.programs.get(program).copied().unwrap_or_default();
        let mut figures = Figures::new();
        for (name, program) in PROGRAMS {
            let (rest, most) = (of(&self.rest, program), of(&self.most, program));
            figures.insert(format!("{name}RestMegabytes"), megabytes(rest.bytes));
            figures.insert(format!("{name}PeakMegabytes"), megabytes(most.bytes));
        }
        let gateways: Memory = of(&self.rest, "wscluster-gateway");
        figures.insert("largestGatewayMegabytes".into(), megabytes(of(&self.most, "wscluster-gateway").largest));
        figures.insert("gatewayBytesPerSession".into(), gateways.bytes as f64 / self.report.sessions.max(1) as f64);
        figures.insert("trackedPeak".into(), self.most.tracked as f64);
        figures
    }
}

/// Name in figures, and the program.
const PROGRAMS: [(&str, &str); 4] = [
    ("gateways", "wscluster-gateway"),
    ("redis", "redis-server"),
    ("operator", "wscluster-operator"),
    ("probes", "wscluster-probe"),
];

#[cfg(test)]
mod tests {
    use wscluster_probe::payload::Rooms;
    use wscluster_probe::recorder::Recorder;
    use wscluster_probe::report::Moves;

    use super::*;
    use crate::bench::scenario::Scenario;

    /// What makes a report worse.
    type Deed = fn(&mut Report);

    fn outcome(change: impl FnOnce(&mut Report)) -> Outcome {
        let mut report = Recorder::new(10, Rooms::new("r", 1)).report(1.0, 0.0);
        report.moves = Moves { total: 10, mean: 1.0, max: 1 };
        change(&mut report);
        Outcome {
            report,
            steady: Steady::default(),
            change_seconds: 1.0,
            operator: Told::default(),
            rest: Sample::default(),
            most: Sample::default(),
        }
    }

    fn broken(change: Change, of: &Outcome) -> Vec<String> {
        of.broken(&Plan { scenario: Scenario::Fleet, change, sessions: 10, rooms: 1, gateways: 6, rate: 1 })
    }

    #[test]
    fn one_move_for_each_session_and_nothing_lost_is_the_promise() {
        assert_eq!(broken(Change::Upgrade, &outcome(|_| ())), [] as [String; 0]);
        let cases: [(Deed, &str); 6] = [
            (|report| report.lost = 2, "2 deliveries lost"),
            (|report| report.forced = 1, "1 sessions closed at the drain's deadline"),
            (|report| report.disconnects_without_notice = 1, "1 connections ended without a notice"),
            (|report| report.moves.max = 2, "a session moved 2 times"),
            (|report| report.moves.total = 9, "only 9 of 10 sessions moved"),
            (|report| report.verdict = Verdict::Failed, "the probes' verdict is: failed"),
        ];
        for (change, words) in cases {
            assert_eq!(broken(Change::Upgrade, &outcome(change)), [words]);
        }
    }

    #[test]
    fn where_one_gateway_leaves_most_sessions_stay_and_some_move() {
        assert_eq!(broken(Change::OneLeaves, &outcome(|report| report.moves.total = 2)), [] as [String; 0]);
        let nobody = outcome(|report| report.moves = Moves::default());
        assert_eq!(broken(Change::OneLeaves, &nobody), ["no session moved"]);
    }
}
