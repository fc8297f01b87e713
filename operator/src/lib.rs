//! The operator: turns a `WsCluster` into gateway fleets and keeps them so.
//!
//! Reading order: `controller` wires watches, lease and shutdown; `reconcile` is one turn (observe, plan, apply);
//! `plan`, `desired` and `status` decide and do no IO; `apply` alone writes to the API server.

pub mod apply;
pub mod budget;
pub mod compare;
pub mod config;
pub mod controller;
pub mod desired;
pub mod error;
pub mod figures;
pub mod gateway_api;
pub mod gateways;
pub mod http;
pub mod kinds;
pub mod lease;
pub mod logging;
pub mod look;
pub mod metrics;
pub mod metrics_api;
pub mod monitoring;
pub mod nodes;
pub mod observe;
pub mod optional;
pub mod plan;
pub mod quantity;
pub mod rebalance;
pub mod recent;
pub mod reconcile;
pub mod references;
pub mod revision;
pub mod rollout;
pub mod scalers;
pub mod secrets;
pub mod shutdown;
pub mod status;
pub mod streams;
pub mod watches;
pub mod workers;

pub use config::OperatorConfig;
pub use controller::run;
