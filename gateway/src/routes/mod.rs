//! What is served where. Handlers answer; the parts behind them decide.

mod admin;
mod client;
mod demo;
mod peer;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::api;
use crate::handshake;
use crate::shared::Shared;
pub use admin::Trust;

/// The public port.
pub fn public(shared: Arc<Shared>) -> Router {
    let api = api::router(Arc::clone(&shared)).merge(admin::readiness(Arc::clone(&shared)));
    let demo = demo::router(Arc::clone(&shared));
    let client = from_fn_with_state(Arc::clone(&shared), client::tell);
    Router::new().route("/ws", get(handshake::upgrade)).with_state(shared).merge(api).merge(demo).layer(client)
}

/// The peer port.
pub fn peer(shared: Arc<Shared>) -> Router {
    peer::router(shared)
}

/// The admin port, or the socket.
pub fn admin(shared: Arc<Shared>, trust: Trust) -> Router {
    admin::router(shared, trust)
}
