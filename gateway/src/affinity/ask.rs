//! Asks another gateway over its peer port, and believes only an answer that proves itself. Bounded in time: whoever
//! waits for the answer is a client in its handshake, or a drain with a deadline.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::choice::Missed;
use super::peers::Peer;
use super::proof::{ClusterKey, Request, Tag};
use crate::clock;

/// How long a connection may take to be made: it stays within the cluster.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the owner may take to answer, from the first try to connect on. It may have to check a token.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Longest body of an answer.
const LONGEST: usize = 1 << 20;
/// After so long without a sign of life the kernel asks whether the other gateway is still there: its node may be gone
/// without a word.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What is asked.
pub struct Question {
    /// `GET` a handshake, `POST` an order.
    pub method: Method,
    /// The path and the query.
    pub target: String,
    /// The headers, but for the proof.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer that has proved itself.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty with 101.
    pub body: Bytes,
    /// With 101, the connection.
    upgrade: Option<hyper::upgrade::OnUpgrade>,
}

impl Answer {
    /// The connection behind an answer of 101, and what came right behind it.
    pub async fn connection(self) -> Option<(std::net::TcpStream, Vec<u8>)> {
        let parts = self.upgrade?.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
        Some((parts.io.into_inner().into_std().ok()?, parts.read_buf.to_vec()))
    }
}

/// Asks.
pub async fn ask(key: &ClusterKey, peer: &Peer, question: Question) -> Result<Answer, Missed> {
    tokio::time::timeout(PATIENCE, ask_slowly(key, peer, question)).await.unwrap_or(Err(Missed::Timeout))
}

async fn ask_slowly(key: &ClusterKey, peer: &Peer, question: Question) -> Result<Answer, Missed> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(peer.address)).await;
    let stream = stream.map_err(|_| Missed::Timeout)?.map_err(|_| Missed::Unreachable)?;
    tune(&stream);
    let (request, tag) = prove(key, question).ok_or(Missed::Unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Missed::Unreachable)?;
    // Ends with the question, should its asker be gone: then nobody holds the sender any more.
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(|_| Missed::Unreachable)?;
    believe(key, &tag, response).await
}

fn prove(key: &ClusterKey, question: Question) -> Option<(http::Request<Full<Bytes>>, Tag)> {
    let Question { method, target, mut headers, body } = question;
    let proven = Request { method: method.as_str(), target: &target, headers: &headers, body: &body };
    let (proof, tag) = key.prove(&proven, clock::now());
    headers.insert(super::proof::PROOF, proof);
    let mut request = http::Request::builder().method(method).uri(target).body(Full::new(body.into())).ok()?;
    *request.headers_mut() = headers;
    Some((request, tag))
}

async fn believe(key: &ClusterKey, tag: &Tag, mut response: http::Response<Incoming>) -> Result<Answer, Missed> {
    let status = response.status();
    let upgrade = (status == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
    let (parts, body) = response.into_parts();
    let body = match upgrade {
        Some(_) => Bytes::new(),
        None => Limited::new(body, LONGEST).collect().await.map_err(|_| Missed::Unreachable)?.to_bytes(),
    };
    if !key.check_answer(tag, status, &parts.headers, &body) {
        return Err(Missed::Unproven);
    }
    let mut headers = parts.headers;
    headers.remove(super::proof::PROOF);
    for between in [header::DATE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(between);
    }
    Ok(Answer { status, headers, body, upgrade })
}

/// As small frames are sent at once to clients, so they are here; and the kernel keeps no more than for a client.
fn tune(stream: &TcpStream) {
    const SEND_BUFFER: usize = 128 * 1024;
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
}
