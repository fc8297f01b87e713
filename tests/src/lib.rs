//! The testbed: a real Kubernetes on a bare Linux machine, the images that run on it, and what tests need of both.

pub mod autoscaling;
pub mod cache;
pub mod cargo;
pub mod cluster;
mod digest;
pub mod fleet;
pub mod image;
pub mod packages;
pub mod peers;
pub mod progress;
pub mod python;
pub mod rollouts;
pub mod tools;

/// What a binary that uses the testbed calls first in `main`: a node's processes are this same program, started anew in
/// another role. Returns at once when the program was started in its own role.
pub fn become_node_if_asked() {
    cluster::roles::run_if_asked();
}
