//! What was measured, by scenario, load, phase and subject: median and range over the rounds. Read from and written to JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::machine;
use super::scenario::{Load, Scenario};
use super::stage::{Figures, Outcome};
use super::subject::Subject;

/// All results of one call.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// Where it was measured, and with what.
    pub(crate) machine: BTreeMap<String, String>,
    /// Rounds asked for.
    pub(crate) rounds: u32,
    #[serde(rename = "results")]
    pub(crate) rows: Vec<Row>,
    /// What could not be measured.
    #[serde(default)]
    pub(crate) failures: Vec<Failure>,
}

/// One subject in one phase.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) load: String,
    pub(crate) phase: String,
    pub(crate) subject: String,
    /// Rounds that were measured.
    pub(crate) rounds: u32,
    pub(crate) figures: BTreeMap<String, Figure>,
}

/// One figure over the rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// By round.
    pub(crate) values: Vec<f64>,
}

/// A subject that did not do it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) subject: String,
    pub(crate) reason: String,
}

impl Figure {
    fn add(&mut self, value: f64) {
        self.values.push(value);
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        self.median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        (self.min, self.max) = (sorted[0], sorted[sorted.len() - 1]);
    }
}

impl Results {
    pub(crate) fn new(rounds: u32) -> Self {
        Self { machine: machine::describe(), rounds, ..Self::default() }
    }

    /// Adds a round of a subject.
    pub(crate) fn add(&mut self, subject: Subject, load: &Load, outcome: Outcome) {
        let (scenario, name) = (load.scenario, &load.name);
        self.add_phase(subject, scenario, name, "connect", outcome.connect);
        for (phase, outcome) in load.phases.iter().zip(outcome.phases) {
            self.add_phase(subject, scenario, name, &phase.name, outcome.figures);
        }
    }

    /// Adds a round of a subject in one phase.
    pub(crate) fn add_phase(
        &mut self,
        subject: Subject,
        scenario: Scenario,
        load: &str,
        phase: &str,
        figures: Figures,
    ) {
        let (scenario, subject) = (scenario.name(), subject.name());
        let is =
            |row: &Row| (&*row.scenario, &*row.load, &*row.phase, &*row.subject) == (scenario, load, phase, subject);
        let index = self.rows.iter().position(is).unwrap_or_else(|| {
            let [scenario, load, phase, subject] = [scenario, load, phase, subject].map(str::to_owned);
            self.rows.push(Row { scenario, load, phase, subject, rounds: 0, figures: BTreeMap::new() });
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.rounds += 1;
        for (name, value) in figures {
            row.figures.entry(name).or_default().add(value);
        }
    }

    /// Notes what a subject did not do.
    pub(crate) fn failed(&mut self, subject: Subject, reason: &str) {
        self.failures.push(Failure { subject: subject.name().into(), reason: reason.into() });
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("--from: cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("--from: {} is no result of a benchmark", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("--json: cannot write to {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_range_follow_the_rounds() {
        let mut figure = Figure::default();
        for (value, expected) in [(5.0, (5.0, 5.0, 5.0)), (1.0, (3.0, 1.0, 5.0)), (2.0, (2.0, 1.0, 5.0))] {
            figure.add(value);
            assert_eq!((figure.median, figure.min, figure.max), expected);
        }
    }
}
