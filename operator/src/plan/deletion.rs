//! Whether a fleet that is being deleted has moved its sessions. Pure.
//!
//! Never waits for what cannot come: gateways that don't answer drain by their own preStop hook once they are told to end.

use jiff::SignedDuration;
use wscluster_crds::WsCluster;

use crate::budget::Budget;
use crate::gateways::Phase;
use crate::observe::Observed;
use crate::status::fleet::Fleet;

/// Seconds that gateways have for their first answer.
const FIRST_ANSWER_SECONDS: i64 = 15;

/// Whether the fleet may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It may, for this reason.
    Yes(String),
    /// Not yet: how far it is.
    NotYet(String),
}

/// Whether the fleet may go.
pub fn drained(cluster: &WsCluster, observed: &Observed, fleet: &Fleet, budget: &Budget) -> Drained {
    let yes = |why: &str| Drained::Yes(why.to_owned());
    let Some(started) = &cluster.metadata.deletion_timestamp else { return yes("it is not being deleted") };
    let allowed = budget.min_seconds + budget.timeout_seconds;
    let left = allowed - observed.now.duration_since(started.0).as_secs();
    let report = &observed.gateways;
    let mut holding = fleet.staying().filter(|gateway| gateway.running).peekable();
    if holding.peek().is_none() {
        return yes("No gateway holds sessions");
    }
    if left <= 0 {
        return yes("The drain deadline has passed; what is left is drained by the gateways' own preStop hooks");
    }
    let patient = observed.now.duration_since(started.0) < SignedDuration::from_secs(FIRST_ANSWER_SECONDS);
    let (answers, silent): (Vec<_>, Vec<_>) =
        holding.map(|gateway| report.answers.get(&gateway.name)).partition(Option::is_some);
    let connections: i64 = answers.iter().flatten().map(|answer| answer.connections).sum();
    let asked = answers.iter().flatten().all(|answer| answer.drain.state != Phase::Running);
    if !asked || (patient && !silent.is_empty()) {
        return Drained::NotYet(format!("Gateways are asked to drain; {left} s are left"));
    }
    if connections == 0 && silent.is_empty() {
        return yes("All sessions have moved");
    }
    if connections == 0 {
        return yes("No gateway that answers holds a session; those that don't are drained by their own preStop hooks");
    }
    Drained::NotYet(format!("{connections} connections are left, and {left} s to move them"))
}
