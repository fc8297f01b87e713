//! What is served where. Handlers answer; the parts behind them decide.

mod admin;
mod demo;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::api;
use crate::handshake;
use crate::shared::Shared;
pub use admin::Trust;

/// The public port.
pub fn public(shared: Arc<Shared>) -> Router {
    let api = api::router(Arc::clone(&shared));
    let demo = demo::router(Arc::clone(&shared));
    Router::new().route("/ws", get(handshake::upgrade)).with_state(shared).merge(api).merge(demo)
}

/// The admin port, or the socket.
pub fn admin(shared: Arc<Shared>, trust: Trust) -> Router {
    admin::router(shared, trust)
}
