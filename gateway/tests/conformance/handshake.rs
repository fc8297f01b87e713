//! The opening handshake (RFC 6455 section 4): requests as bytes, and the answer that each must get.

use std::net::SocketAddr;

use crate::frame::{Received, text};
use crate::judge::soon;
use crate::wire::{self, ACCEPT, Came};

/// A request and its answer.
pub(crate) struct Handshake {
    pub(crate) name: &'static str,
    /// Section of RFC 6455.
    pub(crate) rfc: &'static str,
    change: Change,
    pub(crate) status: u16,
    /// What the head of the response must hold, in lower case.
    holds: &'static [&'static str],
    /// What it must not hold.
    lacks: &'static [&'static str],
}

/// How a request differs from a good one.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    /// This line in place of that one; an empty one is left out.
    Line(&'static str, &'static str),
    /// One more header.
    Add(&'static str),
    /// Written byte by byte.
    ByteByByte,
    /// A text in the same segment, which must come back.
    WithText,
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";

const fn new(name: &'static str, rfc: &'static str, change: Change, status: u16) -> Handshake {
    Handshake { name, rfc, change, status, holds: &[], lacks: &[] }
}

const fn line(name: &'static str, rfc: &'static str, from: &'static str, to: &'static str, status: u16) -> Handshake {
    new(name, rfc, Change::Line(from, to), status)
}

const fn add(name: &'static str, rfc: &'static str, header: &'static str, status: u16) -> Handshake {
    new(name, rfc, Change::Add(header), status)
}

impl Handshake {
    const fn holds(mut self, parts: &'static [&'static str]) -> Self {
        self.holds = parts;
        self
    }

    const fn lacks(mut self, parts: &'static [&'static str]) -> Self {
        self.lacks = parts;
        self
    }
}

/// The cases.
pub(crate) const HANDSHAKES: [Handshake; 29] = [
    new("a_good_request_is_upgraded", "4.2.2", Change::Nothing, 101)
        .holds(&["upgrade: websocket\r\n", "connection: upgrade\r\n"])
        .lacks(&["sec-websocket-protocol", "sec-websocket-extensions"]),
    new("a_request_byte_by_byte_is_upgraded", "4.2.2", Change::ByteByByte, 101),
    new("a_text_in_the_same_segment_comes_back", "4.1", Change::WithText, 101),
    line("header_names_and_values_in_any_case_are_understood", "4.2.1", UPGRADE, "UPGRADE: WebSocket", 101),
    line("a_list_of_connection_options_is_understood", "4.2.1", CONNECTION, "Connection: keep-alive, Upgrade", 101),
    line("a_request_without_upgrade_is_told_426", "4.2.1", UPGRADE, "", 426).holds(&["upgrade: websocket\r\n"]),
    line("an_upgrade_to_something_else_is_told_426", "4.2.1", UPGRADE, "Upgrade: h2c", 426),
    line("a_request_without_connection_is_told_426", "4.2.1", CONNECTION, "", 426),
    line("a_connection_without_upgrade_is_told_426", "4.2.1", CONNECTION, "Connection: keep-alive", 426),
    line("a_request_without_a_version_is_told_which", "4.4", VERSION, "", 426)
        .holds(&["sec-websocket-version: 13\r\n"]),
    line("version_8_is_told_which", "4.4", VERSION, "Sec-WebSocket-Version: 8", 426)
        .holds(&["sec-websocket-version: 13\r\n"]),
    line("version_14_is_told_which", "4.4", VERSION, "Sec-WebSocket-Version: 14", 426)
        .holds(&["sec-websocket-version: 13\r\n"]),
    line("a_request_without_a_key_is_refused", "4.2.1", KEY, "", 400),
    line("an_empty_key_is_refused", "4.2.1", KEY, "Sec-WebSocket-Key:", 400),
    line("a_key_that_is_no_base64_is_refused", "4.2.1", KEY, "Sec-WebSocket-Key: not base64 at all!!", 400),
    line("a_key_of_15_bytes_is_refused", "4.2.1", KEY, "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0O", 400),
    line("a_key_of_17_bytes_is_refused", "4.2.1", KEY, "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODxA=", 400),
    add("two_keys_are_refused", "11.3.1", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", 400),
    line("a_post_is_refused", "4.2.1", "GET ", "POST ", 405),
    line("http_1_0_is_refused", "4.2.1", "HTTP/1.1", "HTTP/1.0", 400),
    add("an_offered_extension_is_not_taken", "9.1", "Sec-WebSocket-Extensions: permessage-deflate", 101)
        .lacks(&["sec-websocket-extensions"]),
    add("a_known_subprotocol_is_named_in_the_answer", "4.2.2", "Sec-WebSocket-Protocol: wscluster.v1.json", 101)
        .holds(&["sec-websocket-protocol: wscluster.v1.json\r\n"]),
    add("the_known_one_of_many_subprotocols_is_taken", "4.2.2", "Sec-WebSocket-Protocol: soap, wscluster.v1.json", 101)
        .holds(&["sec-websocket-protocol: wscluster.v1.json\r\n"]),
    add("raw_by_its_name_is_named_in_the_answer", "4.2.2", "Sec-WebSocket-Protocol: wscluster.raw", 101)
        .holds(&["sec-websocket-protocol: wscluster.raw\r\n"]),
    add(
        "a_token_beside_the_name_of_raw_is_not_named",
        "4.2.2",
        "Sec-WebSocket-Protocol: wscluster.bearer.YQ, wscluster.raw",
        101,
    )
    .holds(&["sec-websocket-protocol: wscluster.raw\r\n"])
    .lacks(&["bearer"]),
    add("only_unknown_subprotocols_are_refused", "4.2.2", "Sec-WebSocket-Protocol: soap, wamp", 400),
    add("a_strange_origin_is_refused", "10.2", "Origin: https://elsewhere.example", 403),
    add("the_own_origin_is_accepted", "10.2", "Origin: http://gateway", 101),
    line("a_path_that_is_none_is_not_found", "4.2.1", "GET /ws", "GET /wss", 404),
];

/// Plays a case; an error says what was wrong. `room` is the case's own.
pub(crate) async fn play(case: &Handshake, gateway: SocketAddr, room: &str) -> Result<(), String> {
    let request = case.change.apply(&wire::handshake(room));
    let (mut reader, mut writer) = wire::open(gateway).await;
    match case.change {
        Change::ByteByByte => writer.perform(&crate::case::Step::Chop(request.into_bytes(), 1)).await,
        Change::WithText => writer.write(&[request.as_bytes(), &text("at once").bytes()].concat()).await,
        _ => writer.write(request.as_bytes()).await,
    }
    let head = soon(reader.head()).await?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap_or("none");
    if status != case.status.to_string() {
        return Err(format!("status {status}, not {}", case.status));
    }
    if case.status == 101 && !head.contains(&format!("sec-websocket-accept: {}\r\n", ACCEPT.to_ascii_lowercase())) {
        return Err(format!("the wrong answer to the key: {head}"));
    }
    if let Some(part) = case.holds.iter().find(|part| !head.contains(*part)) {
        return Err(format!("no {part:?} in {head}"));
    }
    if let Some(part) = case.lacks.iter().find(|part| head.contains(*part)) {
        return Err(format!("{part:?} in {head}"));
    }
    if matches!(case.change, Change::WithText) {
        let echo = soon(reader.next()).await?;
        if echo != Came::Frame(Received::Text(b"at once".to_vec())) {
            return Err(format!("{echo:?}"));
        }
    }
    Ok(())
}

impl Change {
    fn apply(self, good: &str) -> String {
        match self {
            Self::Line(from, "") => good.replace(&format!("{from}\r\n"), ""),
            Self::Line(from, to) => good.replacen(from, to, 1),
            Self::Add(header) => good.replacen("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"), 1),
            Self::Nothing | Self::ByteByByte | Self::WithText => good.to_owned(),
        }
    }
}
