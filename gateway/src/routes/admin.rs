//! The admin API: health, metrics, drain, rebalance. What changes something needs the admin token, unless it comes over the
//! socket, which the file system guards.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::affinity::peers;
use crate::drain;
use crate::shared::Shared;

/// Longest list of peers, in bytes: [`peers::MOST`] of the longest names.
const LONGEST_LIST: usize = 2 << 20;

/// How a caller shows that it may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the admin token, when one is set.
    Token,
    /// By having come over the socket.
    Local,
}

type Gateway = State<Arc<Shared>>;

pub(super) fn router(shared: Arc<Shared>, trust: Trust) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/drain", get(status).post(start).delete(cancel))
        .route("/v1/rebalance", get(rebalance).put(ask).delete(withdraw))
        .route("/v1/connections", get(connections))
        .route("/v1/peers", get(peers).put(replace_peers).layer(DefaultBodyLimit::max(LONGEST_LIST)))
        .layer(Extension(trust))
        .with_state(shared)
}

/// Readiness alone, for the public port: load balancers ask where their clients come in, and learn nothing else there.
pub(super) fn readiness(shared: Arc<Shared>) -> Router {
    Router::new().route("/readyz", get(ready)).with_state(shared)
}

/// Independent of Redis: taking a gateway out of service because Redis is away would help nobody.
async fn ready(State(shared): Gateway) -> Response {
    if shared.drain.active() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining").into_response()
    } else {
        "ok".into_response()
    }
}

/// In OpenMetrics for who asks for it, as Prometheus does; else in the older text format, which everything reads.
async fn metrics(State(shared): Gateway, headers: HeaderMap) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = shared.snapshot();
    if accept.contains("application/openmetrics-text") {
        ([(header::CONTENT_TYPE, OPENMETRICS)], shared.metrics.render(&now)).into_response()
    } else {
        ([(header::CONTENT_TYPE, CLASSIC)], shared.metrics.render_classic(&now)).into_response()
    }
}

async fn connections(State(shared): Gateway) -> Response {
    let health = shared.hub.log().health();
    Json(json!({
        "connections": shared.connections.len(),
        "forwarded": shared.affinity.forwards.len(),
        "rooms": shared.hub.rooms(),
        "subscriptions": shared.hub.subscriptions(),
        "resumed": shared.metrics.sessions_resumed(true),
        "unrecovered": shared.metrics.sessions_resumed(false),
        "redis": {
            "connected": health.connected,
            "secondsSinceRead": health.seconds_since_read,
            "mode": health.mode,
        },
    }))
    .into_response()
}

async fn status(State(shared): Gateway) -> Response {
    Json(shared.drain.status()).into_response()
}

async fn start(
    State(shared): Gateway,
    Extension(trust): Extension<Trust>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !allowed(&shared, trust, &headers) {
        return unauthorized();
    }
    let wish = if body.is_empty() { Ok(drain::Wish::default()) } else { serde_json::from_slice(&body) };
    match wish {
        // Over the socket comes the hook before the pod's end.
        Ok(wish) if trust == Trust::Local => Json(shared.drain.start_to_leave(wish)).into_response(),
        Ok(wish) => Json(shared.drain.start(wish)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("not a drain request: {error}\n")).into_response(),
    }
}

async fn cancel(State(shared): Gateway, Extension(trust): Extension<Trust>, headers: HeaderMap) -> Response {
    if !allowed(&shared, trust, &headers) {
        return unauthorized();
    }
    match shared.drain.cancel() {
        Ok(status) => Json(status).into_response(),
        Err(exiting) => (StatusCode::CONFLICT, format!("{exiting}\n")).into_response(),
    }
}

async fn rebalance(State(shared): Gateway) -> Response {
    Json(shared.rebalance.status()).into_response()
}

async fn ask(State(shared): Gateway, Extension(trust): Extension<Trust>, headers: HeaderMap, body: Bytes) -> Response {
    if !allowed(&shared, trust, &headers) {
        return unauthorized();
    }
    match serde_json::from_slice(&body) {
        Ok(wish) => Json(shared.rebalance.ask(wish)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("not a rebalance request: {error}\n")).into_response(),
    }
}

async fn withdraw(State(shared): Gateway, Extension(trust): Extension<Trust>, headers: HeaderMap) -> Response {
    if allowed(&shared, trust, &headers) { Json(shared.rebalance.withdraw()).into_response() } else { unauthorized() }
}

async fn peers(State(shared): Gateway) -> Response {
    Json(shared.affinity.peers.told()).into_response()
}

async fn replace_peers(
    State(shared): Gateway,
    Extension(trust): Extension<Trust>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !allowed(&shared, trust, &headers) {
        return unauthorized();
    }
    let told = serde_json::from_slice::<peers::Told>(&body).map_err(|error| error.to_string());
    match told.and_then(peers::Told::check) {
        Ok(list) => {
            let count = list.len();
            if shared.affinity.peers.replace(list) {
                tracing::info!(peers = count, "other peers");
            }
            Json(shared.affinity.peers.told()).into_response()
        }
        Err(fault) => (StatusCode::BAD_REQUEST, format!("not a list of peers: {fault}\n")).into_response(),
    }
}

fn allowed(shared: &Shared, trust: Trust, headers: &HeaderMap) -> bool {
    let Some(token) = shared.admin_token.as_deref().filter(|_| trust == Trust::Token) else { return true };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
    shown.as_bytes().ct_eq(token.as_bytes()).into()
}

fn unauthorized() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "show the admin token: Authorization: Bearer <token>\n").into_response()
}
