//! `kubectl wscluster`: what a fleet is doing, and the few things that a person does to it. Speaks to the API server alone.
//!
//! `view`, `progress`, `revisions` and `explain` are pure; `commands` do what is asked through `access`.

pub mod access;
pub mod arguments;
pub mod commands;
pub mod explain;
pub mod fault;
pub mod probe_pod;
pub mod progress;
pub mod revisions;
pub mod table;
pub mod ui;
pub mod view;

pub use commands::run;

/// What a command came to, as its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is so.
    Done,
    /// It is not so, and will not be by waiting: a rollout that failed or is paused, a probe that found a loss.
    Failed,
    /// It was not so in the time that was given.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
}

impl Outcome {
    /// Exit status where the command could not do its work at all: wrong usage, no such WsCluster, no permission.
    pub const COULD_NOT: u8 = 3;

    /// The exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::TimedOut => 2,
            Self::Interrupted => 130,
        }
    }
}
