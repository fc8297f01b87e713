//! Takes a client's handshake to the gateway that the client was on, and its answer back. Until that answer is here the
//! client has got none: whatever goes wrong, it is served where it came.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ask::{Answer, Question};
use super::choice::{Missed, Outcome};
use super::forwards::{Forward, Forwards, Seat};
use super::peers::Peer;
use super::splice::Splice;
use super::wire;
use crate::clock;
use crate::shared::Shared;
use crate::socket::{Stream, Withholding};

/// Takes the handshake of a client to its owner. An error: it is to be served here.
pub async fn forward(
    shared: &Arc<Shared>,
    client: SocketAddr,
    owner: Peer,
    request: &mut Request,
) -> Result<(Response, Outcome), Missed> {
    let seat = shared.affinity.take_seat(&shared.config()).ok_or(Missed::Limit)?;
    let forward = Arc::new(Forwards::prepare(owner, clock::now()));
    let question = handshake(client, &forward, request);
    let answer = match shared.affinity.ask(&forward.owner, question).await {
        Err(missed @ (Missed::Timeout | Missed::Unreachable)) => {
            shared.affinity.peers.shun(&forward.owner, clock::now());
            return Err(missed);
        }
        answer => answer?,
    };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok((welcome(shared, forward, seat, request, answer), Outcome::Forwarded));
    }
    // What the client did wrong it did wrong everywhere; what the owner cannot do, we may.
    if answer.status.is_client_error() { Ok((refusal(answer), Outcome::Refused)) } else { Err(Missed::Busy) }
}

/// The handshake as the owner gets it.
fn handshake(client: SocketAddr, forward: &Forward, request: &Request) -> Question {
    let target = request.uri().path_and_query().map_or("/ws", http::uri::PathAndQuery::as_str).to_owned();
    let headers = wire::handshake(request.headers(), client, forward.id);
    Question { method: Method::GET, target, headers, body: Vec::new() }
}

fn welcome(shared: &Arc<Shared>, forward: Arc<Forward>, seat: Seat, request: &mut Request, answer: Answer) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status;
    response.headers_mut().clone_from(&answer.headers);
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(join(Arc::clone(shared), forward, seat, upgrade, answer));
    response
}

/// Joins the client's socket, once it has its answer, and the owner's.
async fn join(
    shared: Arc<Shared>,
    forward: Arc<Forward>,
    seat: Seat,
    upgrade: hyper::upgrade::OnUpgrade,
    answer: Answer,
) {
    let Some((owner, from_owner)) = answer.connection().await else { return };
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<Withholding<Stream<TcpStream>>>>() else { return };
    let to_mio = |socket: TcpStream| socket.into_std().map(mio::net::TcpStream::from_std);
    // Nothing was withheld: the answer is the owner's.
    let (client, _) = parts.io.into_inner().into_parts();
    let Ok(client) = client.try_map(to_mio) else { return };
    shared.affinity.forwards.add(&forward);
    let from_client = parts.read_buf.to_vec();
    shared.affinity.splicers.add(Splice { client, owner, from_client, from_owner, forward, seat });
}

fn refusal(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().remove(header::CONNECTION);
    response
}
