//! The WebSocket handshake (RFC 6455 section 4): who may come in and how they will speak. Hands the socket on.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::affinity::choice::{self, Choice, Outcome};
use crate::affinity::forward::forward;
use crate::affinity::wire::Via;
use crate::auth::{self, Identity, SUBPROTOCOL_PREFIX, Token, Way};
use crate::clock;
use crate::config::InForce;
use crate::origin;
use crate::protocol::{self, Protocol};
use crate::room::RoomId;
use crate::session::Session;
use crate::shard::{Full, Place};
use crate::shared::Shared;
use crate::socket::{self, Opening, Stream, Withhold, Withholding};

/// Why a handshake was refused.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    reason: &'static str,
    message: String,
    retry_after_seconds: Option<u32>,
}

impl Refused {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), retry_after_seconds: None }
    }
    fn busy(reason: &'static str, message: &str) -> Self {
        // Spread, or all come back in the same second.
        let retry_after_seconds = Some(rand::random_range(1..=5));
        Self { retry_after_seconds, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, message) }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message + "\n").into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// What a handshake asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    accept: String,
    protocol: Protocol,
    /// The subprotocol that the answer names. A browser that offered any ends the connection when none is.
    named: Option<&'static str>,
    rooms: Vec<RoomId>,
}

/// Who asks.
enum Client {
    Unknown,
    /// Its token was checked.
    Known(Arc<Identity>),
    /// Its token is checked by the session: a browser sees nothing of this answer, but the close code of that.
    Shows(Token),
}

/// `GET /ws` on the public port.
pub async fn upgrade(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let wish = match screen(&shared, &request) {
        Ok(wish) => wish,
        Err(refused) => return refuse(&shared, peer, refused),
    };
    let draining = shared.drain.active();
    let chosen = shared.affinity.choose(request.headers(), &shared.config(), draining);
    let chosen = match chosen {
        Some(Choice::Forward { owner, set }) => {
            let pod = Arc::clone(&owner.name);
            match forward(&shared, peer, owner, &mut request).await {
                Ok((response, outcome)) => return came(&shared, response, outcome, set.then_some(&pod)),
                Err(missed) => Some(choice::instead(missed, draining)),
            }
        }
        chosen => chosen,
    };
    let response = answer(&shared, peer, None, wish, request).await;
    match chosen {
        Some(Choice::Serve { outcome, set }) => {
            let pod = Arc::clone(&shared.affinity.member.pod);
            came(&shared, response, outcome, set.then_some(&pod))
        }
        _ => response,
    }
}

/// `GET /ws` on the peer port: another gateway passes a client on that was here before. It is judged as if it had come
/// here, and is not passed on once more.
pub(crate) async fn take_over(shared: Arc<Shared>, client: SocketAddr, via: Via, request: Request) -> Response {
    match screen(&shared, &request) {
        Ok(wish) => answer(&shared, client, Some(via), wish, request).await,
        Err(refused) => refuse(&shared, client, refused),
    }
}

/// Counts what became of a client's affinity, and gives it a cookie for `pod` with its welcome.
fn came(shared: &Shared, mut response: Response, outcome: Outcome, pod: Option<&Arc<str>>) -> Response {
    shared.affinity.count(outcome);
    let welcome = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(pod) = pod.filter(|_| welcome)
        && let Some(cookie) = shared.affinity.set_cookie(pod, &shared.config())
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Serves a client here, or says why not.
async fn answer(
    shared: &Arc<Shared>,
    client: SocketAddr,
    via: Option<Via>,
    wish: Wish,
    mut request: Request,
) -> Response {
    let mut span = shared.metrics.traces.server(request.headers(), || "handshake".into());
    match admit(shared, client, request.headers(), &wish).await {
        Ok((known, place)) => {
            span.answered(StatusCode::SWITCHING_PROTOCOLS, "");
            let response = switching(&wish);
            let upgrade = hyper::upgrade::on(&mut request);
            if let Some(withhold) = request.extensions().get::<Withhold>() {
                withhold.answer();
            }
            tokio::spawn(serve(Arc::clone(shared), wish, known, place.through(via), upgrade));
            response
        }
        Err(refused) => {
            span.answered(refused.status, refused.reason);
            refuse(shared, client, refused)
        }
    }
}

fn refuse(shared: &Shared, peer: SocketAddr, refused: Refused) -> Response {
    shared.metrics.rejected(refused.reason);
    // Not the answer's text: it may repeat what the client sent.
    let status = refused.status.as_u16();
    tracing::info!(peer = %peer.ip(), reason = refused.reason, status, "handshake refused");
    refused.into_response()
}

/// What can be said of a handshake at once, whoever serves it.
fn screen(shared: &Shared, request: &Request) -> Result<Wish, Refused> {
    if request.version() < http::Version::HTTP_11 {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "bad_request", "WebSockets need HTTP/1.1"));
    }
    let config = shared.config();
    let wish = wish(request.headers(), request.uri().query(), &config)?;
    if shared.drain.refuses() {
        return Err(Refused::busy("draining", "this gateway is going away: try again"));
    }
    if !shared.handshake_in_time(&config) {
        return Err(Refused::busy("handshake_rate", "too many handshakes: try again"));
    }
    Ok(wish)
}

/// Whether a client is taken in, who it is, and its place.
async fn admit(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    headers: &HeaderMap,
    wish: &Wish,
) -> Result<(Client, Place), Refused> {
    let config = shared.config();
    let place = shared.connections.admit(peer.ip(), config.max_connections, config.limits.connections_per_ip);
    let place = match place {
        Ok(place) => place,
        Err(Full::Gateway) => return Err(Refused::busy("max_connections", "this gateway is full: try again")),
        Err(Full::Address) => {
            return Err(Refused::busy("connections_per_ip", "too many connections from your address"));
        }
    };
    // Last: it costs most.
    let client = client(shared, headers).await?;
    permitted(&wish.rooms, &client, &config)?;
    Ok((client, place))
}

async fn client(shared: &Shared, headers: &HeaderMap) -> Result<Client, Refused> {
    match auth::in_handshake(headers, values(headers, &header::SEC_WEBSOCKET_PROTOCOL)) {
        None => Ok(Client::Unknown),
        Some((Way::Subprotocol, token)) => {
            // What cannot be read is told like what is not accepted: after the upgrade.
            Ok(Client::Shows(Token(token.map_or_else(|_| String::new(), Into::into))))
        }
        Some((Way::Header, token)) => match token {
            Ok(token) => shared.auth.verify(&token).await.map(|identity| Client::Known(Arc::new(identity))),
            Err(refused) => Err(refused),
        }
        .map_err(unauthorized),
    }
}

fn unauthorized(refused: auth::Refused) -> Refused {
    if refused.is_temporary() {
        return Refused::busy("unavailable", &refused.to_string());
    }
    Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", refused.to_string())
}

/// A raw client can be told at the handshake only. One whose token is yet to be checked is judged then.
fn permitted(rooms: &[RoomId], client: &Client, config: &InForce) -> Result<(), Refused> {
    let identity = match client {
        Client::Shows(_) => return Ok(()),
        Client::Known(identity) => Some(&**identity),
        Client::Unknown => None,
    };
    let Some(room) = rooms.iter().find(|room| !auth::may_subscribe(identity, room, config)) else { return Ok(()) };
    if identity.is_none() && config.auth.jwt.is_some() {
        let message = format!("room {room} needs a token: Authorization: Bearer, or a subprotocol entry");
        return Err(Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
    }
    Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", format!("not allowed in room {room}")))
}

/// Understands and judges a handshake.
fn wish(headers: &HeaderMap, query: Option<&str>, config: &InForce) -> Result<Wish, Refused> {
    let accept = websocket_key(headers)?;
    if !origin::allowed(headers, &config.auth.allowed_origins) {
        return Err(Refused::new(StatusCode::FORBIDDEN, "origin", "this origin is not allowed"));
    }
    let (protocol, named) = negotiate(headers)?;
    let rooms = if protocol == Protocol::Raw { raw_rooms(query.unwrap_or(""), config)? } else { Vec::new() };
    Ok(Wish { accept, protocol, named, rooms })
}

fn websocket_key(headers: &HeaderMap) -> Result<String, Refused> {
    if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
        let message = "this is a WebSocket endpoint: connect with a WebSocket client";
        return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, "bad_request", message));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, "bad_request", "WebSocket version 13 is spoken here"));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).into_iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(derive_accept_key(key.as_bytes())),
        _ => {
            let message = "Sec-WebSocket-Key must be there once: 16 bytes in base64";
            Err(Refused::new(StatusCode::BAD_REQUEST, "bad_request", message))
        }
    }
}

/// 16 bytes in base64 (RFC 6455 section 4.2.1).
fn is_key(key: &[u8]) -> bool {
    let of_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(of_base64))
}

fn values<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|value| !value.is_empty())
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    values(headers, name).any(|value| value.eq_ignore_ascii_case(token))
}

/// How both will speak, and by which name: the first of the client's that is known here. Raw without a name when nothing
/// was offered. A client that offers only what is not spoken here would misunderstand everything.
fn negotiate(headers: &HeaderMap) -> Result<(Protocol, Option<&'static str>), Refused> {
    // A token among the names is none of them, and never echoed.
    let names = values(headers, &header::SEC_WEBSOCKET_PROTOCOL).filter(|name| !name.starts_with(SUBPROTOCOL_PREFIX));
    let mut offered = names.peekable();
    if offered.peek().is_none() {
        return Ok((Protocol::Raw, None));
    }
    let known = [(Protocol::V1, protocol::V1), (Protocol::Raw, protocol::RAW)];
    if let Some((spoken, name)) = offered.find_map(|name| known.into_iter().find(|(_, known)| *known == name)) {
        return Ok((spoken, Some(name)));
    }
    let message = format!("no known subprotocol was offered: offer {}, {} or none", protocol::V1, protocol::RAW);
    Err(Refused::new(StatusCode::BAD_REQUEST, "bad_request", message))
}

fn raw_rooms(query: &str, config: &InForce) -> Result<Vec<RoomId>, Refused> {
    let bad = |message: String| Refused::new(StatusCode::BAD_REQUEST, "bad_request", message);
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|error| bad(format!("the query cannot be read: {error}")))?;
    let mut rooms: Vec<RoomId> = Vec::new();
    for (_, value) in pairs.iter().filter(|(key, _)| key == "room") {
        let room = RoomId::parse(value).map_err(|error| bad(error.to_string()))?;
        if !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    match rooms.len() {
        0 => Err(bad(format!("name a room: /ws?room=lobby, or offer the subprotocol {}", protocol::V1))),
        many if many > config.limits.max_rooms_per_connection => {
            Err(bad(format!("at most {} rooms per connection", config.limits.max_rooms_per_connection)))
        }
        _ => Ok(rooms),
    }
}

fn switching(wish: &Wish) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, &wish.accept);
    if let Some(name) = wish.named {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    response.body(Body::empty()).expect("the headers are valid")
}

/// Takes the socket out of HTTP and gives it to a shard.
async fn serve(shared: Arc<Shared>, wish: Wish, client: Client, place: Place, upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<Withholding<Stream<TcpStream>>>>() else { return };
    let (stream, answer) = parts.io.into_inner().into_parts();
    let Ok(stream) = stream.try_map(TcpStream::into_std) else { return };
    // 128 random bits: a session's id is not guessable.
    let session =
        Session::new(rand::random(), wish.protocol, wish.rooms, &shared.config(), clock::now(), rand::random());
    let session = match client {
        Client::Unknown => session,
        Client::Known(identity) => session.with_identity(identity),
        Client::Shows(token) => session.with_token(token),
    };
    socket::begin(&shared, stream, Opening { session, answer, read: parts.read_buf }, place);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (header::HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    const PLAIN: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn judge(extra: &[(&str, &str)], query: &str, config: Config) -> Result<Wish, Refused> {
        let all: Vec<_> = PLAIN.iter().chain(extra).copied().collect();
        wish(&headers(&all), Some(query), &config.into())
    }

    #[test]
    fn the_protocol_follows_the_offer() {
        let raw = judge(&[], "room=lobby&room=news&room=lobby", Config::default()).unwrap();
        assert_eq!(raw.protocol, Protocol::Raw);
        assert_eq!(raw.rooms.iter().map(RoomId::as_str).collect::<Vec<_>>(), ["lobby", "news"]);
        assert_eq!(raw.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the example of RFC 6455 section 1.3");
        let v1 = judge(&[("sec-websocket-protocol", "other, wscluster.v1.json")], "", Config::default()).unwrap();
        assert_eq!(v1.protocol, Protocol::V1);
        let protocol = |offer: &str| judge(&[("sec-websocket-protocol", offer)], "room=a", Config::default());
        assert_eq!(protocol("wscluster.bearer.YQ, wscluster.v1.json").unwrap().protocol, Protocol::V1);
        let answer = |offer: &str| protocol(offer).map(|wish| (wish.protocol, wish.named)).unwrap();
        assert_eq!(answer("wscluster.bearer.YQ"), (Protocol::Raw, None), "raw stays raw");
        assert_eq!(answer("wscluster.bearer.YQ, wscluster.raw"), (Protocol::Raw, Some(protocol::RAW)));
        assert_eq!(answer("wscluster.raw"), (Protocol::Raw, Some(protocol::RAW)));
        assert_eq!(
            answer("wscluster.raw, wscluster.v1.json"),
            (Protocol::Raw, Some(protocol::RAW)),
            "the client's order"
        );
        assert_eq!(answer("soap, wscluster.v1.json, wscluster.raw"), (Protocol::V1, Some(protocol::V1)));
        assert!(protocol("wscluster.bearer.YQ, other").is_err());
        let unknown = judge(&[("sec-websocket-protocol", "other")], "room=a", Config::default()).unwrap_err();
        assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn raw_handshakes_name_rooms_that_they_may_enter() {
        let status = |query: &str, config: Config| judge(&[], query, config).map_err(|refused| refused.status).err();
        assert_eq!(status("", Config::default()), Some(StatusCode::BAD_REQUEST));
        assert_eq!(status("room=", Config::default()), Some(StatusCode::BAD_REQUEST));
        assert_eq!(status("room=a%0ab", Config::default()), Some(StatusCode::BAD_REQUEST));
        assert_eq!(status("room=z%C3%BCrich", Config::default()), None);
        let judge = |room: &str, yaml: &str, client: Client| {
            let config = Config::parse(&format!("auth: {{anonymous: {{subscribe: [\"open:*\"]}}{yaml}}}")).unwrap();
            permitted(&[RoomId::parse(room).unwrap()], &client, &config.into()).map_err(|refused| refused.status).err()
        };
        let jwt = ", jwt: {algorithms: [HS256], secretFile: /s}";
        assert_eq!(judge("secret", "", Client::Unknown), Some(StatusCode::FORBIDDEN));
        assert_eq!(judge("secret", jwt, Client::Unknown), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(judge("open:1", jwt, Client::Unknown), None);
        let subscribe = auth::Patterns::parse(["mine"]).unwrap();
        let known = || Client::Known(Arc::new(Identity { subscribe: subscribe.clone(), ..Identity::default() }));
        assert_eq!(judge("mine", jwt, known()), None);
        assert_eq!(judge("secret", jwt, known()), Some(StatusCode::FORBIDDEN));
        assert_eq!(judge("secret", jwt, Client::Shows(Token(String::new()))), None, "it is judged later");
        let two = Config::parse("limits: {maxRoomsPerConnection: 2}").unwrap();
        assert_eq!(status("room=1", two.clone()), None);
        assert_eq!(status("room=1&room=2", two.clone()), None);
        assert_eq!(status("room=1&room=2&room=3", two), Some(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn what_is_no_websocket_handshake_is_told_so() {
        for (missing, (name, _)) in PLAIN.iter().enumerate() {
            let some: Vec<_> = PLAIN.iter().filter(|(other, _)| other != name).copied().collect();
            let refused = wish(&headers(&some), Some("room=a"), &Config::default().into()).unwrap_err();
            let expect = if missing == 3 { StatusCode::BAD_REQUEST } else { StatusCode::UPGRADE_REQUIRED };
            assert_eq!(refused.status, expect, "without {name}");
        }
    }
}
