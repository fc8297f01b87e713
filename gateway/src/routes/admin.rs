//! The admin API: health, metrics, drain. What changes something needs the admin token, unless it comes over the
//! socket, which the file system guards.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::drain;
use crate::shared::Shared;

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
        .route("/v1/connections", get(connections))
        .layer(Extension(trust))
        .with_state(shared)
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
        "rooms": shared.hub.rooms(),
        "subscriptions": shared.hub.subscriptions(),
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
