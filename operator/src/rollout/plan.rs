//! What the state machine wants done. Its caller does it in this order: marks, deletion costs and drain calls, Deployments
//! that grow, the Service's selector, Deployments that shrink or go. It may be cut off between any two.

use std::collections::{BTreeMap, BTreeSet};

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What the fleet is doing.
    pub phase: Phase,
    /// The revision that the Service's selector is to name.
    pub active: String,
    /// Deployments that are to exist, by revision. One that exists and is not named here is deleted.
    pub fleets: BTreeMap<String, Fleet>,
    /// Pods that are to drain, marked and told so.
    pub drains: BTreeMap<String, Order>,
    /// Pods that drain or are marked and are to serve again.
    pub cancels: BTreeSet<String>,
    /// Pods that are to be removed first when their Deployment shrinks.
    pub cheap: BTreeSet<String>,
    /// Pods that do not answer although they should drain.
    pub silent: Vec<String>,
    /// Why nothing is moved for now.
    pub hold: Option<Hold>,
    /// Sessions per second that the fleet moves now; 0 while it moves none.
    pub connections_per_second: u32,
}

/// A revision's Deployment as it is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Its number of gateways.
    pub replicas: i32,
    /// Whether it is noted as having been active. Noted before the selector turns, so that a revision without the note
    /// holds no session for certain.
    pub activated: bool,
}

/// How a pod is to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub reason: super::Reason,
    /// Sessions per second that it tells to move; at least 1.
    pub connections_per_second: u32,
}

/// What the fleet is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Everything is as wanted.
    #[default]
    Idle,
    /// Gateways of the wanted revision are coming up.
    Surging,
    /// The wanted revision is active, and sessions move to it.
    Draining,
    /// Fewer gateways are wanted, and sessions leave those that go.
    ScalingIn,
    /// The wanted revision did not come up; the active one serves on.
    Failed,
    /// Stopped: see `hold`.
    Paused,
}

/// Why nothing is moved for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `spec.paused` is set.
    Paused,
    /// The rollout has lost more sessions than its budget allows.
    LossBudget,
    /// The active revision has no gateway that is ready and stays: nobody could take the sessions.
    NobodyToTakeOver,
}
