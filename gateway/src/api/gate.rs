//! What every request of the API passes: which pages may call (CORS), how long it may take, and what is answered where
//! there is no handler.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::Api;
use super::problem::{Code, Problem};
use crate::origin;

/// How long an answer may take. Longer than a command of the log may, so that its own error is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser's page may call where it may connect (`auth.allowedOrigins`); what is no browser always may.
pub(super) async fn pass(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    if origin.is_some() && !origin::allowed(request.headers(), &api.shared.config().auth.allowed_origins) {
        return Problem::new(Code::Forbidden, "this origin is not allowed: see auth.allowedOrigins").into_response();
    }
    let mut response = if is_preflight(&request) { preflight() } else { traced(&api, request, next).await };
    if let Some(origin) = origin {
        allow_origin(response.headers_mut(), origin);
    }
    response
}

/// Named by the route, not by what fills it.
async fn traced(api: &Api, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let name = || match route {
        Some(route) => format!("{} {}", request.method(), route.as_str()).into(),
        None => request.method().to_string().into(),
    };
    let mut span = api.shared.metrics.traces.server(request.headers(), name);
    let response = answer(request, next).await;
    span.answered(response.status(), "");
    response
}

async fn answer(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Code::Unavailable, "the answer took too long").into_response(),
    }
}

/// Asked before a page's request (<https://fetch.spec.whatwg.org/#cors-preflight-fetch>).
fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, idempotency-key"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

pub(super) async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is nothing here: /api/v1/openapi.json says what there is")
}

/// `Allow` is added by the router.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this path does not know this method: see Allow")
}
