//! What a measurement of affinity came to: as data (JSON) and as a table for people.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::report::Verdict;

/// Connections by gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many each one served.
    pub gateways: BTreeMap<String, u64>,
}

/// All that a measurement has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// Clients that keep cookies.
    pub clients: u64,
    /// How often each of them was to come back.
    pub reconnects: u64,
    /// Times that a client came back to the gateway that it was on.
    pub reached_owner: u64,
    /// Of those, how many came to another gateway first, which passed them on.
    pub through_another: u64,
    /// Times that a client came to another gateway than it was on.
    pub missed: u64,
    /// Connections that were not let in.
    pub failed_handshakes: u64,
    /// Where clients with cookies came, their first connections among them.
    pub with_cookie: Spread,
    /// Where connections without a cookie came, one for each client: what chooses, without affinity.
    pub without_cookie: Spread,
    /// From the first connection to the verdict.
    pub duration_seconds: f64,
    /// In one word: `ok` if every client came back to its gateway every time, and nobody was not let in.
    pub verdict: Verdict,
    /// The first few that did not, in words.
    pub examples: Vec<String>,
}

impl Spread {
    /// One more.
    pub(super) fn add(&mut self, gateway: &str) {
        *self.gateways.entry(gateway.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.gateways.iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&pairs.join(", "))
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.rows() {
            writeln!(f, "  {name:<28}{value}")?;
        }
        for example in &self.examples {
            writeln!(f, "  ! {example}")?;
        }
        match self.verdict {
            Verdict::Ok => writeln!(f, "  OK: every client came back to its gateway every time"),
            Verdict::Failed => writeln!(f, "  FAILED"),
        }
    }
}

impl Affinity {
    fn rows(&self) -> [(&'static str, String); 6] {
        let Self { clients, reconnects, reached_owner, through_another, .. } = self;
        let wanted = clients * reconnects;
        [
            ("clients", format!("{clients}, {reconnects} times back each, in {:.1} s", self.duration_seconds)),
            ("reached their gateway", format!("{reached_owner} of {wanted} ({through_another} through another one)")),
            ("came to another gateway", self.missed.to_string()),
            ("failed handshakes", self.failed_handshakes.to_string()),
            ("gateways, with cookies", self.with_cookie.to_string()),
            ("gateways, without a cookie", self.without_cookie.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: &[(&str, u64)]) -> Spread {
        Spread { gateways: counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect() }
    }

    fn report() -> Affinity {
        Affinity {
            clients: 3,
            reconnects: 2,
            reached_owner: 5,
            through_another: 4,
            missed: 1,
            failed_handshakes: 0,
            with_cookie: spread(&[("a", 5), ("b", 4)]),
            without_cookie: spread(&[("a", 1), ("b", 2)]),
            duration_seconds: 0.25,
            verdict: Verdict::Failed,
            examples: vec!["client 2 was on a and came to b".to_owned()],
        }
    }

    #[test]
    fn the_json_is_as_documented() {
        let json = serde_json::to_value(report()).unwrap();
        let documented = serde_json::json!({
            "clients": 3, "reconnects": 2, "reachedOwner": 5, "throughAnother": 4, "missed": 1, "failedHandshakes": 0,
            "withCookie": {"gateways": {"a": 5, "b": 4}}, "withoutCookie": {"gateways": {"a": 1, "b": 2}},
            "durationSeconds": 0.25, "verdict": "failed", "examples": ["client 2 was on a and came to b"],
        });
        assert_eq!(json, documented);
        assert_eq!(serde_json::from_value::<Affinity>(json).unwrap(), report());
    }

    #[test]
    fn the_table_tells_the_verdict_and_who_missed() {
        let text = report().to_string();
        assert!(text.contains("reached their gateway       5 of 6 (4 through another one)\n"), "{text}");
        assert!(text.contains("gateways, without a cookie  a 1, b 2\n"), "{text}");
        assert!(text.ends_with("  ! client 2 was on a and came to b\n  FAILED\n"), "{text}");
    }
}
