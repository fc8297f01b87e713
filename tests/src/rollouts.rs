//! What sessions went through in each scenario: kept as JSON by the end-to-end tests, and a Markdown table of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use wscluster_probe::Report;

use crate::cache::{Lock, write_atomically};

/// Name of the file with the records of a run, in the folder of the tests' logs.
pub const FILE: &str = "rollouts.json";

/// One scenario's outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Place in the table.
    pub order: u32,
    /// What was done to the fleet, in words.
    pub scenario: String,
    /// Gateways before it.
    pub gateways: u32,
    /// Messages per second that were asked for.
    pub rate: u32,
    /// From the change to its end, in seconds.
    pub change_seconds: f64,
    /// What the probe reports.
    pub report: Report,
}

/// Records of one or several runs, by scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Records(BTreeMap<String, Record>);

impl Records {
    /// Those of a file; none where there is no file.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is no record", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Adds one to a file, in place of an older one of the same scenario.
    pub fn add(path: &Path, record: Record) -> Result<()> {
        let _lock = Lock::take(&path.with_extension("lock"), || ())?;
        let mut all = Self::read(path)?;
        all.merge(Self(BTreeMap::from([(record.scenario.clone(), record)])));
        write_atomically(path, &serde_json::to_vec_pretty(&all)?)
    }

    /// Takes others in; they replace those of the same scenario.
    pub fn merge(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A row for each scenario.
    pub fn table(&self) -> String {
        let mut rows: Vec<_> = self.0.values().collect();
        rows.sort_by_key(|record| record.order);
        let (titles, rules): (Vec<_>, Vec<_>) = COLUMNS.iter().map(|(title, _)| (*title, "---:")).unzip();
        let mut text = format!("| scenario | {} |\n|---|{}|\n", titles.join(" | "), rules.join("|"));
        for record in rows {
            let cells: Vec<_> = COLUMNS.iter().map(|(_, cell)| cell(record)).collect();
            let _ = writeln!(text, "| {} | {} |", record.scenario, cells.join(" | "));
        }
        text
    }
}

type Cell = fn(&Record) -> String;

const COLUMNS: &[(&str, Cell)] = &[
    ("gateways", |record| record.gateways.to_string()),
    ("sessions", |record| record.report.sessions.to_string()),
    ("published", |record| record.report.published.to_string()),
    ("deliveries", |record| record.report.expected.to_string()),
    ("lost", |record| record.report.lost.to_string()),
    ("duplicated", |record| record.report.duplicated.to_string()),
    ("reordered", |record| record.report.reordered.to_string()),
    ("moves, mean", |record| format!("{:.2}", record.report.moves.mean)),
    ("max", |record| record.report.moves.max.to_string()),
    ("forced", |record| record.report.forced.to_string()),
    ("unannounced", |record| record.report.disconnects_without_notice.to_string()),
    ("gap p99, ms", |record| record.report.gap_ms.p99.to_string()),
    ("gap max, ms", |record| record.report.gap_ms.max.to_string()),
    ("peak reconnects/s", |record| record.report.peak_reconnects_per_second.to_string()),
    ("change, s", |record| format!("{:.0}", record.change_seconds)),
];

#[cfg(test)]
mod tests {
    use wscluster_probe::Verdict;

    use super::*;

    fn record(order: u32, scenario: &str, lost: u64) -> Record {
        let report = serde_json::json!({
            "sessions": 3000, "rooms": 300, "published": 5000, "uncertain": 0, "expected": 50_000,
            "received": 50_000 - lost, "lost": lost, "duplicated": 0, "reordered": 0, "unexpected": 0, "resyncs": 0,
            "moves": {"total": 3000, "mean": 1.0, "max": 1}, "disconnectsWithoutNotice": 0, "forced": 0,
            "longestGapMs": 90, "gapP99Ms": 40, "gapMs": {"p50": 9, "p99": 40, "max": 90},
            "peakReconnectsPerSecond": 310, "connectErrors": 0, "latencyMs": {"p50": 1.0, "p99": 9.0, "max": 90.0},
            "durationSeconds": 40.0, "verdict": if lost == 0 { Verdict::Ok } else { Verdict::Failed }, "examples": [],
        });
        let report = serde_json::from_value(report).unwrap();
        Record { order, scenario: scenario.to_owned(), gateways: 6, rate: 200, change_seconds: 24.6, report }
    }

    #[test]
    fn a_table_has_a_row_for_each_scenario_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for (order, scenario, lost) in [(2, "b new environment", 0), (1, "new image", 3), (1, "new image", 0)] {
            Records::add(&path, record(order, scenario, lost)).unwrap();
        }
        let table = Records::read(&path).unwrap().table();
        let rows: Vec<_> = table.lines().skip(2).collect();
        let row = "| 6 | 3000 | 5000 | 50000 | 0 | 0 | 0 | 1.00 | 1 | 0 | 0 | 40 | 90 | 310 | 25 |";
        assert_eq!(rows, [format!("| new image {row}"), format!("| b new environment {row}")]);
    }

    #[test]
    fn a_file_that_is_not_there_holds_nothing() {
        assert!(Records::read(Path::new("/nonexistent/rollouts.json")).unwrap().is_empty());
    }
}
