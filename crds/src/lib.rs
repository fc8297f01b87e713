//! The `WsCluster` custom resource: what a user may write (`spec`), what the operator reports (`status`), and the names
//! and labels of everything a cluster owns.
//!
//! This crate knows no Kubernetes client and does no IO. The Rust types are the source of truth;
//! `crds/wsclusters.yaml` is generated from them (`cargo xtask codegen`) and a test fails when it is stale.

pub mod labels;
pub mod names;
mod schema;
pub mod spec;
pub mod status;

pub use schema::{crd, crd_yaml};
pub use spec::{WsCluster, WsClusterSpec};
pub use status::WsClusterStatus;

/// The API group of every resource of ours.
pub const GROUP: &str = "wscluster.dev";
/// The only version served.
pub const VERSION: &str = "v1alpha1";
