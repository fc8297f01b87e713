//! The example chat, compiled in: a page to try a cluster with. Served only where it was asked for.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::shared::Shared;

/// Nothing but what this gateway serves, and connections to it. Browsers take `'self'` to mean WebSockets, too
/// (<https://www.w3.org/TR/CSP3/#match-url-to-source-expression>).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! file {
    ($name:literal, $kind:literal) => {
        File { name: $name, kind: $kind, bytes: include_bytes!(concat!("../../../examples/chat/", $name)) }
    };
}

const FILES: &[File] = &[
    file!("index.html", "text/html; charset=utf-8"),
    file!("chat.css", "text/css; charset=utf-8"),
    file!("chat.js", "text/javascript; charset=utf-8"),
    file!("wscluster.js", "text/javascript; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/demo", get(root))
        .route("/demo/", get(index))
        .route("/demo/{file}", get(file))
        .with_state(shared)
}

type Gateway = State<Arc<Shared>>;

async fn root(State(shared): Gateway) -> Response {
    if shared.serves_demo() { Redirect::temporary("/demo/").into_response() } else { not_found() }
}

async fn index(state: Gateway, headers: HeaderMap) -> Response {
    file(state, Path("index.html".into()), headers).await
}

async fn file(State(shared): Gateway, Path(name): Path<String>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) if shared.serves_demo() => serve(file, &headers),
        _ => not_found(),
    }
}

fn serve(file: &File, headers: &HeaderMap) -> Response {
    let digest = Sha256::digest(file.bytes);
    let tag = format!("\"{}\"", digest.iter().take(12).fold(String::new(), |text, byte| text + &format!("{byte:02x}")));
    let common = [
        // Asked for again each time, answered with 304: a new gateway may bring a new page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|shown| shown.as_bytes() == tag.as_bytes());
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, file.kind)], file.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.extend(common.map(|(name, value)| (name, value.parse().expect("a header's value"))));
    headers.insert(header::ETAG, tag.parse().expect("hexadecimal digits in quotes"));
    response
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "nothing here\n").into_response()
}
