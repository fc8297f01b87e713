//! What a run came to: as data (JSON) and as a table for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::breaks::Breaks;

/// The verdict of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every session received what it was owed, once and in order.
    Ok,
    /// Something was lost, doubled, reordered or invented.
    Failed,
}

/// Changes of connection per session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moves {
    /// Over all sessions.
    pub total: u64,
    /// Per session.
    pub mean: f64,
    /// Of the session that moved most.
    pub max: u64,
}

/// From the moment a message was due to its arrival, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Worst.
    pub max: f64,
}

/// How often each value comes, ascending by value.
pub type Counts = Vec<(u64, u64)>;

/// What the summary is made of, so that the reports of several probes can be made one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// Sessions by their gap in milliseconds.
    pub gaps: Counts,
    /// The same of those that never changed their connection.
    pub stayed_gaps: Counts,
    /// Deliveries by their delay in microseconds, to three digits.
    pub delays: Counts,
    /// Reconnects and moves by the second since the Unix epoch.
    pub reconnects: Counts,
}

/// A distribution over sessions, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Worst.
    pub max: u64,
}

/// All that a run has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Sessions that were asked for.
    pub sessions: u64,
    /// Rooms that they were spread over.
    pub rooms: u64,
    /// Messages that are in the streams for certain.
    pub published: u64,
    /// Messages whose fate could not be found out.
    pub uncertain: u64,
    /// Deliveries that were owed.
    pub expected: u64,
    /// Distinct deliveries that came.
    pub received: u64,
    /// Deliveries that were owed and never came.
    pub lost: u64,
    /// Deliveries of a message beyond the first.
    pub duplicated: u64,
    /// Deliveries that a later message had overtaken.
    pub reordered: u64,
    /// Deliveries that no publish explains.
    pub unexpected: u64,
    /// Times that a room was told that it may have a hole.
    pub resyncs: u64,
    /// Changes of connection.
    pub moves: Moves,
    /// Connections that ended with no drain notice before.
    pub disconnects_without_notice: u64,
    /// Drained connections that were closed at the deadline.
    pub forced: u64,
    /// The worst session's gap: its longest time without a serving connection, or the worst delay of a message.
    pub longest_gap_ms: u64,
    /// The gap that 99 of 100 sessions stayed within.
    pub gap_p99_ms: u64,
    /// The gaps, once more, with the median.
    pub gap_ms: Spread,
    /// Most reconnects and moves within one second.
    pub peak_reconnects_per_second: u64,
    /// Connections that ended while they served their session, by the close code; a move ends none.
    #[serde(default)]
    pub breaks: Breaks,
    /// Connections that could not be established.
    pub connect_errors: u64,
    /// Delays of messages.
    pub latency_ms: Latency,
    /// From the first session to the verdict.
    pub duration_seconds: f64,
    /// In one word.
    pub verdict: Verdict,
    /// The first few violations in words.
    pub examples: Vec<String>,
    /// What the summary is made of, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

impl Spread {
    /// Of sessions by their milliseconds.
    pub fn of(counts: &[(u64, u64)]) -> Self {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| quantile_of(counts, quantile));
        Self { p50, p99, max }
    }
}

impl Latency {
    /// Of deliveries by their microseconds.
    pub fn of(counts: &[(u64, u64)]) -> Self {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| quantile_of(counts, quantile) as f64 / 1000.0);
        Self { p50, p99, max }
    }
}

/// The value that a share of all does not pass; 0 of none.
fn quantile_of(counts: &[(u64, u64)], quantile: f64) -> u64 {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut left = (quantile * total as f64).ceil() as u64;
    let found = counts.iter().find(|(_, count)| {
        let found = left <= *count;
        left = left.saturating_sub(*count);
        found
    });
    found.map_or(0, |(value, _)| *value)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.rows() {
            writeln!(f, "  {name:<28}{value}")?;
        }
        for example in &self.examples {
            writeln!(f, "  ! {example}")?;
        }
        match self.verdict {
            Verdict::Ok => writeln!(f, "  OK: nothing lost, nothing twice, nothing out of order"),
            Verdict::Failed => writeln!(f, "  FAILED"),
        }
    }
}

impl Report {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { moves, latency_ms: latency, gap_ms: gap, .. } = self;
        vec![
            ("sessions", format!("{} in {} rooms, for {:.1} s", self.sessions, self.rooms, self.duration_seconds)),
            ("published", format!("{} ({} uncertain)", self.published, self.uncertain)),
            ("deliveries expected", self.expected.to_string()),
            ("deliveries received", self.received.to_string()),
            ("lost", self.lost.to_string()),
            ("duplicated", self.duplicated.to_string()),
            ("reordered", self.reordered.to_string()),
            ("unexpected", self.unexpected.to_string()),
            ("resyncs", self.resyncs.to_string()),
            ("moves per session", format!("mean {:.2}, max {} ({} in all)", moves.mean, moves.max, moves.total)),
            ("peak reconnects", format!("{} in one second", self.peak_reconnects_per_second)),
            ("disconnects without notice", self.disconnects_without_notice.to_string()),
            ("forced closes", self.forced.to_string()),
            ("breaks by close code", self.breaks.to_string()),
            ("connect errors", self.connect_errors.to_string()),
            ("gap per session", format!("p50 {} ms, p99 {} ms, longest {} ms", gap.p50, gap.p99, gap.max)),
            ("latency", format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", latency.p50, latency.p99, latency.max)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            sessions: 2,
            rooms: 1,
            published: 10,
            uncertain: 1,
            expected: 20,
            received: 19,
            lost: 1,
            duplicated: 0,
            reordered: 0,
            unexpected: 0,
            resyncs: 0,
            moves: Moves { total: 2, mean: 1.0, max: 1 },
            disconnects_without_notice: 0,
            forced: 0,
            longest_gap_ms: 12,
            gap_p99_ms: 12,
            gap_ms: Spread { p50: 3, p99: 12, max: 12 },
            peak_reconnects_per_second: 2,
            breaks: [Some(4408), None, Some(4408)].into_iter().collect(),
            connect_errors: 0,
            latency_ms: Latency { p50: 0.5, p99: 2.0, max: 12.25 },
            duration_seconds: 3.5,
            verdict: Verdict::Failed,
            examples: vec!["session 1, room 0: 1 lost".to_owned()],
            detail: None,
        }
    }

    #[test]
    fn the_keys_are_those_that_others_read() {
        let json = serde_json::to_value(report()).unwrap();
        for key in [
            "sessions",
            "rooms",
            "published",
            "uncertain",
            "expected",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "unexpected",
            "resyncs",
            "moves",
            "disconnectsWithoutNotice",
            "forced",
            "longestGapMs",
            "gapP99Ms",
            "gapMs",
            "peakReconnectsPerSecond",
            "breaks",
            "connectErrors",
            "latencyMs",
            "durationSeconds",
            "verdict",
            "examples",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json.as_object().unwrap().len(), 24);
        assert_eq!(json["moves"]["max"], 1);
        assert_eq!(json["verdict"], "failed");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report());
    }

    #[test]
    fn the_table_tells_the_verdict_and_the_examples() {
        let text = report().to_string();
        assert!(text.contains("lost                        1\n"), "{text}");
        assert!(text.contains("breaks by close code        2 with 4408, 1 with none\n"), "{text}");
        assert!(text.contains("! session 1, room 0: 1 lost\n  FAILED\n"), "{text}");
    }
}
