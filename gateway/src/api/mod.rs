//! The HTTP API on the public port: write to rooms, read them back, see who is there, end a session. What it answers
//! is described by `openapi`, served at `/api/v1/openapi.json`. Knows no WebSocket.

mod allowance;
mod body;
mod caller;
mod gate;
mod messages;
mod openapi;
mod page;
mod path;
mod presence;
mod problem;
mod rooms;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get};

use crate::shared::Shared;
use allowance::Allowance;
pub use openapi::document;
pub(crate) use sessions::follow_signals;

/// What the handlers share.
struct Api {
    shared: Arc<Shared>,
    allowance: Allowance,
}

/// The routes under `/api/v1`, everything that can go wrong answered with a problem.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let api = Arc::new(Api { shared, allowance: Allowance::default() });
    let routes = Router::new()
        .route("/rooms/{room}/messages", get(messages::read).post(messages::write))
        .route("/rooms/{room}/presence", get(presence::read))
        .route("/rooms", get(rooms::list))
        .route("/sessions/{id}", delete(sessions::end))
        .route("/openapi.json", get(openapi::serve))
        .fallback(gate::not_found)
        .method_not_allowed_fallback(gate::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&api), gate::pass))
        .with_state(api);
    Router::new().nest("/api/v1", routes)
}
