//! Makes the reports of several probes, which ran at the same time, one.

use std::collections::BTreeMap;

use crate::report::{Counts, Detail, Latency, Moves, Report, Spread, Verdict};

/// Violations that are told in words.
const EXAMPLES: usize = 10;

/// The report of all; none of nothing, or where one of them lacks its detail.
pub fn merge(reports: &[Report]) -> Option<Report> {
    let details = reports.iter().map(|report| report.detail.as_ref()).collect::<Option<Vec<_>>>()?;
    reports.first()?;
    let detail = Detail {
        gaps: together(&details, |detail| &detail.gaps),
        stayed_gaps: together(&details, |detail| &detail.stayed_gaps),
        delays: together(&details, |detail| &detail.delays),
        reconnects: together(&details, |detail| &detail.reconnects),
    };
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let sessions = sum(|report| report.sessions);
    let total = sum(|report| report.moves.total);
    let gaps = Spread::of(&detail.gaps);
    let failed = reports.iter().any(|report| report.verdict == Verdict::Failed);
    Some(Report {
        sessions,
        rooms: sum(|report| report.rooms),
        published: sum(|report| report.published),
        uncertain: sum(|report| report.uncertain),
        expected: sum(|report| report.expected),
        received: sum(|report| report.received),
        lost: sum(|report| report.lost),
        duplicated: sum(|report| report.duplicated),
        reordered: sum(|report| report.reordered),
        unexpected: sum(|report| report.unexpected),
        resyncs: sum(|report| report.resyncs),
        moves: Moves {
            total,
            mean: total as f64 / sessions.max(1) as f64,
            max: reports.iter().map(|report| report.moves.max).max().unwrap_or(0),
        },
        disconnects_without_notice: sum(|report| report.disconnects_without_notice),
        forced: sum(|report| report.forced),
        longest_gap_ms: gaps.max,
        gap_p99_ms: gaps.p99,
        gap_ms: gaps,
        peak_reconnects_per_second: detail.reconnects.iter().map(|(_, count)| *count).max().unwrap_or(0),
        breaks: reports.iter().map(|report| &report.breaks).sum(),
        connect_errors: sum(|report| report.connect_errors),
        latency_ms: Latency::of(&detail.delays),
        duration_seconds: reports.iter().map(|report| report.duration_seconds).fold(0.0, f64::max),
        verdict: if failed { Verdict::Failed } else { Verdict::Ok },
        examples: reports.iter().flat_map(|report| report.examples.clone()).take(EXAMPLES).collect(),
        detail: Some(detail),
    })
}

fn together(details: &[&Detail], part: fn(&Detail) -> &Counts) -> Counts {
    let mut counts = BTreeMap::new();
    for (value, count) in details.iter().flat_map(|detail| part(detail)) {
        *counts.entry(*value).or_default() += count;
    }
    counts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use wscluster_client::Event;

    use super::*;
    use crate::{payload::Rooms, recorder::Recorder};

    fn report(moves: u32, gap: f64) -> Report {
        let mut recorder = Recorder::new(1, Rooms::new("r", 1));
        for _ in 0..=moves {
            recorder.event(0, Event::Connected { node: "a".into(), session: "s".into() }, 5000.0);
        }
        recorder.activity.delivered(0, 0.0, gap);
        Report { detail: Some(recorder.activity.detail(gap)), ..recorder.report(gap, gap) }
    }

    #[test]
    fn quantiles_and_peaks_are_of_all_sessions_together() {
        let all = merge(&[report(2, 10.0), report(0, 30.0), report(1, 20.0)]).unwrap();
        assert_eq!((all.sessions, all.moves.total, all.moves.max), (3, 3, 2));
        assert_eq!((all.gap_ms.p50, all.gap_ms.max, all.longest_gap_ms), (20, 30, 30));
        assert_eq!(all.peak_reconnects_per_second, 3, "in the same second, of different probes");
        assert!((all.latency_ms.max - 30.0).abs() < 0.1 && (all.duration_seconds - 30.0).abs() < 1e-9);
        assert_eq!(all.verdict, Verdict::Ok);
    }

    #[test]
    fn one_failure_fails_all_and_a_report_without_detail_cannot_be_merged() {
        let breaks = [None].into_iter().collect();
        let failed = Report { lost: 1, breaks, verdict: Verdict::Failed, ..report(0, 1.0) };
        let all = merge(&[report(0, 1.0), failed]).unwrap();
        assert_eq!((all.verdict, all.lost), (Verdict::Failed, 1));
        assert_eq!(all.breaks.to_string(), "1 with none");
        assert_eq!(merge(&[report(0, 1.0), Report { detail: None, ..report(0, 1.0) }]), None);
        assert_eq!(merge(&[]), None);
    }
}
