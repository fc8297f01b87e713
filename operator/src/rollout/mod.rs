//! Surge: how a fleet changes its revision and its size while each session moves at most once.
//!
//! A pure state machine: what is wanted and what was observed, to what is to be done next. It keeps nothing between two
//! calls, so its caller may end at any point and a successor carries on. Knows no client, and no type of Kubernetes.

mod holds;
mod leaving;
pub mod machine;
pub mod observed;
pub mod pace;
pub mod plan;
mod sizes;
mod turn;
mod view;

pub use machine::step;
pub use observed::{DrainState, Mark, Pod, Reason, Revision, Seen, Wish};
pub use plan::{Fleet, Hold, Order, Phase, Plan};
