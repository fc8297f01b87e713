//! The peer port: where other gateways of the cluster bring clients that were here before, and say what becomes of those.
//! Anybody in the pods' network may reach it, so whoever asks has to prove himself, and so does every answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};

use crate::affinity::orders;
use crate::affinity::proof::{self, ClusterKey, Tag};
use crate::affinity::wire::{self, Envelope, Order, Via};
use crate::clock;
use crate::handshake;
use crate::shared::Shared;

/// Longest order, and longest answer to a handshake.
const LONGEST: usize = 1 << 20;

type Gateway = State<Arc<Shared>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/ws", get(take_over)).route(wire::ORDERS, post(obey)).with_state(shared)
}

/// A request that has proved itself, and what its answer is proved with.
struct Proven {
    key: ClusterKey,
    tag: Tag,
    envelope: Envelope,
}

/// `GET /ws`: a client that was here before, as another gateway passes it on.
async fn take_over(State(shared): Gateway, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response {
    let Some(proven) = prove(&shared, peer, &request, b"") else { return unproven() };
    let Some((client, forward)) = wire::client(request.headers()) else { return unproven() };
    let response = if proven.is_for(&shared) && shared.accepts_forwarded() {
        let via = Via { gateway: proven.envelope.from.to_string(), forward };
        handshake::take_over(shared, client, via, request).await
    } else {
        elsewhere()
    };
    proven.answer(response).await
}

/// `POST /v1/orders`: what sessions are to be told that came through another gateway.
async fn obey(State(shared): Gateway, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST).await else { return unproven() };
    let request = Request::from_parts(parts, Body::empty());
    let Some(proven) = prove(&shared, peer, &request, &body) else { return unproven() };
    let response = match serde_json::from_slice::<Order>(&body) {
        _ if !proven.is_for(&shared) => elsewhere(),
        Ok(order) => {
            let from = &proven.envelope.from;
            axum::Json(orders::obey(&shared.connections, shared.drain.active(), from, &order)).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("not an order: {error}\n")).into_response(),
    };
    proven.answer(response).await
}

fn prove(shared: &Shared, peer: SocketAddr, request: &Request, body: &[u8]) -> Option<Proven> {
    let key = shared.affinity.member.key.clone()?;
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let asked = proof::Request { method: request.method().as_str(), target, headers: request.headers(), body };
    match key.check(&asked, &shared.affinity.seen, clock::now()) {
        Ok(tag) => Some(Proven { key, tag, envelope: Envelope::read(request.headers())? }),
        Err(doubt) => {
            shared.metrics.rejected("peer_proof");
            tracing::warn!(peer = %peer.ip(), %doubt, "a request on the peer port was not believed");
            None
        }
    }
}

impl Proven {
    /// Whether it is us who were meant: an address may have become another pod's.
    fn is_for(&self, shared: &Shared) -> bool {
        let member = &shared.affinity.member;
        self.envelope.to == member.pod && self.envelope.revision == member.revision
    }

    /// An answer that its reader can believe.
    async fn answer(self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let body = to_bytes(body, LONGEST).await.unwrap_or_else(|_| Bytes::new());
        let proof = self.key.prove_answer(&self.tag, parts.status, &parts.headers, &body);
        parts.headers.insert(proof::PROOF, proof);
        Response::from_parts(parts, if body.is_empty() { Body::empty() } else { Body::from(body) })
    }
}

/// No word of why: whoever asks is a stranger.
fn unproven() -> Response {
    (StatusCode::FORBIDDEN, [(header::CONNECTION, "close")]).into_response()
}

fn elsewhere() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}
