//! What each server speaks: how a session begins, joins a room, publishes and answers heartbeats. Knows nothing of
//! sockets or of time. Deliveries are not understood here: every subject passes a payload through as JSON, and
//! `payload` finds it in the frame.

use std::borrow::Cow;

use clap::ValueEnum;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The gateway of this project.
    Wscluster,
    /// The reference design in Node; it speaks as the gateway does, without a subprotocol.
    Node,
    /// Socket.IO, protocol 5 over WebSocket only (<https://socket.io/docs/v4/socket-io-protocol/>).
    Socketio,
    /// Centrifuge's JSON protocol (<https://centrifugal.dev/docs/transports/client_protocol>).
    Centrifuge,
    /// nginx with nchan: the room is in the address, a message is published by HTTP, and what is delivered is the payload itself
    /// (<https://nchan.io/>).
    Nchan,
    /// Bun's own `publish`; it speaks as the reference design does.
    Bun,
}

/// What a frame means to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Nothing to do.
    Nothing,
    /// This is to be sent.
    Answer(Cow<'static, str>),
    /// The session is where it is to be: greeted, and in its room if it has one.
    Live,
    /// The server refused something.
    Refused,
}

impl Subject {
    /// The handshake's request. With `echo` the session is to publish to its room, too.
    pub(crate) fn request(self, host: &str, room: Option<u32>, echo: bool) -> String {
        let (path, more) = match self {
            Self::Wscluster => ("/ws".into(), "Sec-WebSocket-Protocol: wscluster.v1.json\r\n"),
            Self::Node | Self::Bun => ("/ws".into(), ""),
            Self::Socketio => ("/socket.io/?EIO=4&transport=websocket".into(), ""),
            Self::Centrifuge => ("/connection/websocket".into(), ""),
            Self::Nchan => (nchan_path(room, echo), ""),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    }

    /// What a session says first; it need not wait for the server's greeting.
    pub(crate) fn greeting(self, room: Option<u32>) -> Option<String> {
        match (self, room) {
            (Self::Wscluster | Self::Node | Self::Bun, room) => {
                room.map(|room| format!(r#"{{"type":"subscribe","ref":1,"room":"r{room}"}}"#))
            }
            (Self::Socketio | Self::Nchan, _) => None,
            (Self::Centrifuge, None) => Some(r#"{"id":1,"connect":{}}"#.into()),
            (Self::Centrifuge, Some(room)) => {
                Some(format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"r{room}\"}}}}"))
            }
        }
    }

    /// Understands a frame that is not a delivery.
    pub(crate) fn understand(self, text: &str, room: Option<u32>) -> Meaning {
        match self {
            Self::Wscluster | Self::Node | Self::Bun => own(text, room),
            Self::Socketio => socketio(text, room),
            Self::Centrifuge => centrifuge(text, room),
            Self::Nchan => Meaning::Nothing,
        }
    }

    /// Whether a session is where it is to be as soon as it is a WebSocket.
    pub(crate) fn is_live_at_once(self) -> bool {
        self == Self::Nchan
    }

    /// Whether a connection that only publishes does so by HTTP requests, one after another.
    pub(crate) fn publishes_by_http(self) -> bool {
        self == Self::Nchan
    }

    /// A publish over a session's WebSocket.
    pub(crate) fn publish(self, number: u64, room: u32, payload: &str) -> String {
        match self {
            Self::Wscluster | Self::Node | Self::Bun => {
                format!(r#"{{"type":"publish","ref":{number},"room":"r{room}","payload":{payload}}}"#)
            }
            Self::Socketio => format!(r#"42["publish","r{room}",{payload}]"#),
            // Answers to `connect` and `subscribe` have the ids 1 and 2.
            Self::Centrifuge => {
                format!(r#"{{"id":{},"publish":{{"channel":"r{room}","data":{payload}}}}}"#, number + 3)
            }
            Self::Nchan => payload.to_owned(),
        }
    }
}

fn nchan_path(room: Option<u32>, echo: bool) -> String {
    format!("/{}/r{}", if echo { "echo" } else { "sub" }, room.unwrap_or(0))
}

/// A publish by HTTP.
pub(crate) fn post(host: &str, room: u32, payload: &str) -> String {
    let length = payload.len();
    format!(
        "POST /pub/r{room} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{payload}"
    )
}

/// How many of the answers in a piece of what was received are refusals.
pub(crate) fn refusals(bytes: &[u8]) -> u64 {
    let statuses = memchr::memmem::find_iter(bytes, b"HTTP/1.1 ").filter_map(|at| bytes.get(at + 9));
    statuses.filter(|digit| matches!(digit, b'4' | b'5')).count() as u64
}

fn own(text: &str, room: Option<u32>) -> Meaning {
    let is = |kind: &str| text.strip_prefix(r#"{"type":""#).is_some_and(|rest| rest.starts_with(kind));
    if is("subscribed\"") || (room.is_none() && is("welcome\"")) {
        Meaning::Live
    } else if is("error\"") || is("resync\"") || is("drain\"") {
        Meaning::Refused
    } else {
        Meaning::Nothing
    }
}

fn socketio(text: &str, room: Option<u32>) -> Meaning {
    match (text.as_bytes(), room) {
        ([b'0', ..], _) => Meaning::Answer("40".into()),
        ([b'2'], _) => Meaning::Answer("3".into()),
        // Connected; the room is joined with an acknowledgement asked for, under the number 1.
        ([b'4', b'0', ..], Some(room)) => Meaning::Answer(format!(r#"421["subscribe","r{room}"]"#).into()),
        ([b'4', b'0', ..], None) | ([b'4', b'3', b'1', ..], _) => Meaning::Live,
        ([b'1', ..] | [b'4', b'1' | b'4', ..], _) => Meaning::Refused,
        _ => Meaning::Nothing,
    }
}

/// One frame may hold several answers, a line each. The one that matters most is the meaning.
fn centrifuge(text: &str, room: Option<u32>) -> Meaning {
    let last = if room.is_some() { r#"{"id":2,"subscribe""# } else { r#"{"id":1,"connect""# };
    let mut meaning = Meaning::Nothing;
    for line in text.lines() {
        if line == "{}" {
            meaning = Meaning::Answer("{}".into());
        } else if line.contains(r#""error":"#) || line.starts_with(r#"{"push":{"disconnect""#) {
            return Meaning::Refused;
        } else if line.starts_with(last) {
            meaning = Meaning::Live;
        }
    }
    meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_publishes_are_told_from_others() {
        let answers =
            b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 202 Accepted\r\n\r\nHTTP/1.1 404 Not";
        assert_eq!(refusals(answers), 1);
        assert!(post("h", 7, "{}").starts_with("POST /pub/r7 HTTP/1.1\r\nHost: h\r\n"));
        assert!(Subject::Nchan.request("h", Some(3), true).starts_with("GET /echo/r3 "));
    }

    #[test]
    fn a_session_is_led_into_its_room() {
        use Meaning::{Answer, Live, Nothing, Refused};
        let cases = [
            (Subject::Wscluster, Some(1), r#"{"type":"welcome","session":"a"}"#, Nothing),
            (Subject::Wscluster, None, r#"{"type":"welcome","session":"a"}"#, Live),
            (Subject::Wscluster, Some(1), r#"{"type":"subscribed","ref":1,"room":"r1"}"#, Live),
            (Subject::Wscluster, None, r#"{"type":"ok","ref":5,"id":"1-0"}"#, Nothing),
            (Subject::Wscluster, None, r#"{"type":"error","ref":5}"#, Refused),
            (Subject::Socketio, Some(1), r#"0{"sid":"a"}"#, Answer("40".into())),
            (Subject::Socketio, Some(1), r#"40{"sid":"a"}"#, Answer(r#"421["subscribe","r1"]"#.into())),
            (Subject::Socketio, None, r#"40{"sid":"a"}"#, Live),
            (Subject::Socketio, Some(1), "431[]", Live),
            (Subject::Socketio, Some(1), "2", Answer("3".into())),
            (Subject::Socketio, Some(1), r#"44{"message":"no"}"#, Refused),
            (Subject::Centrifuge, Some(1), "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}", Live),
            (Subject::Centrifuge, Some(1), r#"{"id":1,"connect":{}}"#, Nothing),
            (Subject::Centrifuge, None, r#"{"id":1,"connect":{}}"#, Live),
            (Subject::Centrifuge, None, "{}", Answer("{}".into())),
            (Subject::Centrifuge, None, r#"{"id":4,"error":{"code":103}}"#, Refused),
        ];
        for (subject, room, text, meaning) in cases {
            assert_eq!(subject.understand(text, room), meaning, "{text}");
        }
    }
}
