//! Holds real sessions through any change to a fleet and proves that nothing was lost.
//!
//! Pure: [`checker`], [`ledger`], [`activity`], [`breaks`], [`recorder`], [`report`], [`merge`], [`schedule`], [`payload`]. They are fed what
//! happened, with the time it happened at. IO: [`sessions`], [`publisher`], [`control`], and [`run`], which wires them.
//! [`affinity`] is a proof of its own: that clients come back to the gateway that they were on.

pub mod activity;
pub mod affinity;
pub mod breaks;
pub mod checker;
pub mod clock;
pub mod control;
pub mod ledger;
pub mod merge;
pub mod options;
pub mod payload;
pub mod publisher;
pub mod recorder;
pub mod report;
pub mod run;
pub mod schedule;
pub mod sessions;
pub mod shared;
pub mod token;

pub use options::Options;
pub use report::{Report, Verdict};
pub use run::Run;
