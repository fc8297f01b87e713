//! The WebSocket gateway: rooms on Redis Streams, delivered to local sockets.
//!
//! `server::run` is the entry point; the caller brings listeners, settings and the shutdown signal. Deciding code
//! (`session`, `protocol`, `log::continuity`, `drain::pace`) does no IO.

pub mod affinity;
pub mod api;
pub mod auth;
pub mod cli;
pub mod client_address;
pub mod clock;
pub mod codec;
pub mod config;
pub mod drain;
pub mod drain_command;
pub mod entry;
pub mod error;
pub mod handshake;
mod https;
pub mod hub;
pub mod idempotency;
mod json;
pub mod log;
pub mod logging;
pub mod metrics;
mod origin;
pub mod outbox;
pub mod presence;
pub mod protocol;
pub mod proxy_protocol;
pub mod rebalance;
pub mod replay;
pub mod room;
pub mod routes;
pub mod server;
pub mod session;
pub mod shard;
pub mod shared;
pub mod socket;
pub mod tls;
pub mod traces;

#[cfg(test)]
#[path = "../tests/support/publisher.rs"]
mod publisher;

#[cfg(test)]
#[allow(dead_code)] // Shared with the tests over sockets.
#[path = "../tests/support/tokens.rs"]
mod tokens;

#[cfg(test)]
#[path = "../tests/support/redis_server.rs"]
mod redis_server;
