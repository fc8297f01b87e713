//! What callers of a drain say and see.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No drain.
    Running,
    /// Connections are still to be moved, or the least time is not over.
    Draining,
    /// No connection is left.
    Drained,
}

/// What can be seen of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How far it is.
    pub state: Phase,
    /// Connections that are left, those that run through here to other gateways included.
    pub remaining: usize,
    /// Connections that were told to move so far.
    #[serde(default)]
    pub noticed: u64,
    /// Connections among them that were told in the last seconds: they are on their way. Never more than have left in five
    /// seconds, or 100: a drain is no faster than others take its clients in, while it has time.
    #[serde(default)]
    pub moving: usize,
    /// Connections that have left after they were told to.
    pub moved: u64,
    /// Connections that were closed at the deadline.
    pub forced: u64,
    /// Connections per second that are told to move now if others take them in; 0 while nobody is left or it waits for load balancers.
    #[serde(default)]
    pub rate: f64,
    /// The process was told to exit: the drain cannot be cancelled.
    #[serde(default)]
    pub exiting: bool,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at: Option<Millis>,
    /// When the rest is closed, in milliseconds since the Unix epoch.
    pub deadline_at: Option<Millis>,
}

/// What the caller of a drain may choose; the settings decide the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// Clients told per second; 0: all within half of the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_second: Option<u32>,
    /// Seconds that clients have to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// A drain that can no longer be cancelled: the process was told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway was told to exit: the drain cannot be cancelled")]
pub struct Exiting;

impl Status {
    /// No drain.
    pub(super) fn running(remaining: usize, exiting: bool) -> Self {
        Self {
            state: Phase::Running,
            remaining,
            noticed: 0,
            moving: 0,
            moved: 0,
            forced: 0,
            rate: 0.0,
            exiting,
            started_at: None,
            deadline_at: None,
        }
    }
}
