//! Who the client of a request is: whoever is connected, or whom a trusted proxy names. What comes after, handlers and
//! limits, finds the client's address where it looks for the connection's.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::client_address;
use crate::shared::Shared;

/// Puts the client's address in the place of the connection's. What a proxy says in vain is counted.
pub(super) async fn tell(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let told = client_address::client(peer.ip(), shared.config().proxies(), request.headers());
        let client = told.unwrap_or_else(|ignored| {
            shared.metrics.client_address_ignored(ignored);
            tracing::debug!(peer = %peer.ip(), reason = %ignored, "a trusted proxy's word on the client was ignored");
            peer.ip().to_canonical()
        });
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, peer.port())));
    }
    next.run(request).await
}
