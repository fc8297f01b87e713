//! The wire protocol: every frame, parsed and written. Knows nothing of sockets or sessions.
//! `docs/protocol.md` is its prose.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Millis;
use crate::entry::{Entry, EntryId, Text};
use crate::room::RoomId;

/// Name of the JSON protocol in `Sec-WebSocket-Protocol`.
pub const V1: &str = "wscluster.v1.json";

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Payloads verbatim; no control frames but the drain notice.
    Raw,
    /// `wscluster.v1.json`.
    V1,
}

/// Codes of `error` frames: stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The frame cannot be understood. Don't repeat it.
    BadRequest,
    /// The session may not do this.
    Forbidden,
    /// Too many requests: slow down, then repeat.
    RateLimited,
    /// The session has as many rooms as it may have.
    TooManyRooms,
    /// A message over `maxMessageBytes`.
    TooLarge,
    /// The log cannot be reached: repeat later.
    Unavailable,
    /// The session is not in this room.
    NotSubscribed,
    /// Not in this version.
    NotImplemented,
}

impl Code {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::TooManyRooms => "too_many_rooms",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::NotSubscribed => "not_subscribed",
            Self::NotImplemented => "not_implemented",
        }
    }
}

/// Close codes that the gateway sends (RFC 6455 section 7.4, and our own above 3000).
pub mod close {
    /// The client said good-bye.
    pub const NORMAL: u16 = 1000;
    /// The gateway stops at once.
    pub const GOING_AWAY: u16 = 1001;
    /// Not text, or not what the protocol allows.
    pub const UNSUPPORTED: u16 = 1003;
    /// A message over `maxMessageBytes`.
    pub const TOO_BIG: u16 = 1009;
    /// The gateway was drained: come back at once.
    pub const SERVICE_RESTART: u16 = 1012;
    /// The client did not keep up: come back with backoff, and resume.
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// Not allowed: don't come back with the same credentials.
    pub const FORBIDDEN: u16 = 3003;
    /// No pong in time.
    pub const HEARTBEAT_MISSED: u16 = 4408;
}

/// A client's request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Follow a room, from a cursor or from now.
    Subscribe {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Replay what came after this entry.
        since: Option<EntryId>,
    },
    /// Leave a room.
    Unsubscribe {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
    },
    /// Write to a room.
    Publish {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// JSON, as the client wrote it.
        payload: Text,
    },
    /// Read back.
    History {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Entries before this one; absent: the newest.
        before: Option<EntryId>,
        /// At most so many.
        limit: usize,
    },
    /// Are you there.
    Ping {
        /// The client's number.
        reference: Option<u64>,
    },
}

/// A request that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The client's number, where it could be read.
    pub reference: Option<u64>,
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal.
    pub fn new(reference: Option<u64>, code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reference, code, message: message.into() }
    }
}

/// Most entries that one `history` returns.
pub const HISTORY_LIMIT: usize = 200;
const HISTORY_DEFAULT: usize = 50;

/// Everything that any request may carry; unknown fields are ignored, so that clients can be newer than gateways.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(rename = "ref")]
    reference: Option<u64>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    since: Option<Cow<'a, str>>,
    #[serde(borrow)]
    before: Option<Cow<'a, str>>,
    limit: Option<usize>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow, rename = "idempotencyKey")]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(default)]
    presence: bool,
}

/// `null` is a payload, too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Understands a client's frame.
pub fn parse(text: &str) -> Result<Request, Refusal> {
    let frame: Incoming<'_> = serde_json::from_str(text)
        .map_err(|error| Refusal::new(reference_of(text), Code::BadRequest, format!("not a valid frame: {error}")))?;
    let reference = frame.reference;
    match &*frame.kind {
        "subscribe" if frame.presence => {
            Err(Refusal::new(reference, Code::NotImplemented, "presence is not available"))
        }
        "subscribe" => {
            Ok(Request::Subscribe { reference, room: frame.room()?, since: frame.id("since", frame.since.as_deref())? })
        }
        "unsubscribe" => Ok(Request::Unsubscribe { reference, room: frame.room()? }),
        "publish" => frame.publish(),
        "history" => frame.history(),
        "ping" => Ok(Request::Ping { reference }),
        "auth" | "presence" => {
            Err(Refusal::new(reference, Code::NotImplemented, format!("{} is not available", frame.kind)))
        }
        _ => Err(Refusal::new(
            reference,
            Code::BadRequest,
            "unknown type: use subscribe, unsubscribe, publish, history or ping",
        )),
    }
}

/// The `ref` of a frame that is otherwise wrong, so that its sender can tell which one it was.
fn reference_of(text: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(text).ok()?.get("ref")?.as_u64()
}

impl Incoming<'_> {
    fn room(&self) -> Result<RoomId, Refusal> {
        let text = self.room.as_deref().ok_or_else(|| self.bad("room is missing"))?;
        RoomId::parse(text).map_err(|error| self.bad(error.to_string()))
    }

    fn id(&self, field: &str, text: Option<&str>) -> Result<Option<EntryId>, Refusal> {
        text.map(|text| text.parse().map_err(|error| self.bad(format!("{field}: {error}")))).transpose()
    }

    fn publish(&self) -> Result<Request, Refusal> {
        if self.idempotency_key.is_some() {
            return Err(Refusal::new(self.reference, Code::NotImplemented, "idempotencyKey is not available"));
        }
        let payload = self.payload.ok_or_else(|| self.bad("payload is missing"))?;
        Ok(Request::Publish { reference: self.reference, room: self.room()?, payload: payload.get().into() })
    }

    fn history(&self) -> Result<Request, Refusal> {
        let limit = self.limit.unwrap_or(HISTORY_DEFAULT);
        if limit == 0 || limit > HISTORY_LIMIT {
            return Err(self.bad(format!("limit must be 1 to {HISTORY_LIMIT}")));
        }
        let before = self.id("before", self.before.as_deref())?;
        Ok(Request::History { reference: self.reference, room: self.room()?, before, limit })
    }

    fn bad(&self, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(self.reference, Code::BadRequest, message)
    }
}

/// What the gateway sends, but for `message` (see [`message`]).
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Frame<'a> {
    /// First frame of every connection.
    Welcome {
        /// Id of the session.
        session: &'a str,
        /// Name of the gateway.
        node: &'a str,
        /// Interval of the server's pings, in milliseconds.
        heartbeat_ms: u64,
        /// Longest message that is accepted, in bytes.
        max_message_bytes: usize,
        /// How long after a disconnect a resume is expected to find everything, in milliseconds.
        resume_window_ms: u64,
    },
    /// Answer to `subscribe`.
    Subscribed {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// The room.
        room: &'a RoomId,
        /// Cursor before the first message that follows.
        position: EntryId,
        /// Nothing is missing between `since` and what follows: proven.
        recovered: bool,
        /// Number of replayed messages that follow.
        replayed: usize,
    },
    /// Done.
    Ok {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// Id of the entry that was written.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<EntryId>,
    },
    /// Answer to `history`, oldest first.
    History {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// The room.
        room: &'a RoomId,
        /// The messages.
        messages: Vec<Past>,
        /// There are older ones.
        more: bool,
    },
    /// Answer to `ping`.
    Pong {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
    },
    /// What the client holds of this room may have a hole.
    Resync {
        /// The room.
        room: &'a RoomId,
        /// Why.
        reason: Reason,
        /// Where the subscription goes on.
        position: EntryId,
    },
    /// Move: connect anew after `retryAfterMs`, subscribe with your cursors, then leave here.
    Drain {
        /// Wait so long before connecting anew, in milliseconds.
        retry_after_ms: u64,
        /// The connection is closed in so many milliseconds. Raw connections are not told.
        #[serde(skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// A request failed.
    Error {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// For programs.
        code: Code,
        /// For people.
        message: &'a str,
    },
}

/// A message within `history`.
#[derive(Debug, Serialize)]
pub struct Past {
    id: EntryId,
    timestamp: Millis,
    payload: Box<RawValue>,
}

impl From<&Entry> for Past {
    fn from(entry: &Entry) -> Self {
        let payload = RawValue::from_string(entry.json().into_owned()).expect("an entry gives JSON");
        Self { id: entry.id, timestamp: entry.timestamp, payload }
    }
}

/// Why a room may have a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Entries were trimmed before they were read.
    Trimmed,
    /// The stream was removed and written anew.
    Vanished,
    /// Ids went back: the log is older than what was delivered (a failover, a restored backup).
    Reset,
}

impl Reason {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Vanished => "vanished",
            Self::Reset => "reset",
        }
    }
}

/// Writes a frame.
pub fn encode(frame: &Frame<'_>) -> Text {
    serde_json::to_string(frame).expect("frames have string keys only").into()
}

/// Writes an `error` frame.
pub fn encode_refusal(refusal: &Refusal) -> Text {
    encode(&Frame::Error { reference: refusal.reference, code: refusal.code, message: &refusal.message })
}

/// Writes a `message` frame. The payload passes through as it was written.
pub fn message(room: &RoomId, entry: &Entry) -> Text {
    let room = serde_json::to_string(room.as_str()).expect("a string is JSON");
    let Entry { id, timestamp, .. } = entry;
    let payload = entry.json();
    format!(r#"{{"type":"message","room":{room},"id":"{id}","timestamp":{timestamp},"payload":{payload}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(
            parse(r#"{"type":"subscribe","ref":2,"room":"lobby","since":"17-3"}"#),
            Ok(Request::Subscribe { reference: Some(2), room: room("lobby"), since: Some(EntryId { ms: 17, seq: 3 }) })
        );
        assert_eq!(
            parse(r#"{"room":"a\"b","payload":{"x": [1, 2.50]},"type":"publish","extra":1}"#),
            Ok(Request::Publish { reference: None, room: room("a\"b"), payload: r#"{"x": [1, 2.50]}"#.into() })
        );
        assert_eq!(
            parse(r#"{"type":"history","ref":5,"room":"r","before":"9-0"}"#),
            Ok(Request::History {
                reference: Some(5),
                room: room("r"),
                before: Some(EntryId { ms: 9, seq: 0 }),
                limit: 50
            })
        );
        assert_eq!(parse(r#"{"type":"ping"}"#), Ok(Request::Ping { reference: None }));
        assert_eq!(
            parse(r#"{"type":"publish","room":"r","payload":null}"#),
            Ok(Request::Publish { reference: None, room: room("r"), payload: "null".into() })
        );
    }

    #[test]
    fn refusals_name_the_frame_and_the_fault() {
        let cases = [
            (r#"{"type":"subscribe","ref":7}"#, Some(7), Code::BadRequest, "room is missing"),
            (r#"{"type":"subscribe","ref":7,"room":""}"#, Some(7), Code::BadRequest, "1 to 200 bytes"),
            (r#"{"type":"subscribe","ref":7,"room":"a","since":"x"}"#, Some(7), Code::BadRequest, "since"),
            (r#"{"type":"publish","ref":7,"room":"a"}"#, Some(7), Code::BadRequest, "payload is missing"),
            (r#"{"type":"history","ref":7,"room":"a","limit":0}"#, Some(7), Code::BadRequest, "limit"),
            (r#"{"type":"history","ref":7,"room":"a","limit":201}"#, Some(7), Code::BadRequest, "limit"),
            (r#"{"type":"auth","ref":7,"token":"x"}"#, Some(7), Code::NotImplemented, "auth"),
            (r#"{"type":"presence","ref":7,"room":"a"}"#, Some(7), Code::NotImplemented, "presence"),
            (
                r#"{"type":"publish","ref":7,"room":"a","payload":1,"idempotencyKey":"k"}"#,
                Some(7),
                Code::NotImplemented,
                "idempotencyKey",
            ),
            (r#"{"type":"dance","ref":7}"#, Some(7), Code::BadRequest, "unknown type"),
            (r#"{"type":5,"ref":7}"#, Some(7), Code::BadRequest, "not a valid frame"),
            (r#"{"ref":7}"#, Some(7), Code::BadRequest, "type"),
            ("[]", None, Code::BadRequest, "not a valid frame"),
            ("hello", None, Code::BadRequest, "not a valid frame"),
        ];
        for (text, reference, code, fault) in cases {
            let refusal = parse(text).unwrap_err();
            assert_eq!((refusal.reference, refusal.code), (reference, code), "{text}");
            assert!(refusal.message.contains(fault), "{text}: {}", refusal.message);
        }
    }

    #[test]
    fn payloads_pass_through_unchanged() {
        let payload = r#"{"big": 12345678901234567890.10, "a":  [ ]}"#;
        let entry = Entry::new(EntryId { ms: 1, seq: 2 }, 3, payload.into());
        assert_eq!(
            message(&room("lo\"bby"), &entry).as_str(),
            format!(r#"{{"type":"message","room":"lo\"bby","id":"1-2","timestamp":3,"payload":{payload}}}"#)
        );
    }

    #[test]
    fn frames_are_written_as_documented() {
        let lobby = room("lobby");
        let cases = [
            (
                Frame::Welcome {
                    session: "s",
                    node: "n",
                    heartbeat_ms: 25000,
                    max_message_bytes: 65536,
                    resume_window_ms: 120_000,
                },
                r#"{"type":"welcome","session":"s","node":"n","heartbeatMs":25000,"maxMessageBytes":65536,"resumeWindowMs":120000}"#,
            ),
            (
                Frame::Subscribed {
                    reference: Some(2),
                    room: &lobby,
                    position: EntryId { ms: 1, seq: 0 },
                    recovered: true,
                    replayed: 17,
                },
                r#"{"type":"subscribed","ref":2,"room":"lobby","position":"1-0","recovered":true,"replayed":17}"#,
            ),
            (Frame::Ok { reference: Some(3), id: None }, r#"{"type":"ok","ref":3}"#),
            (
                Frame::Drain { retry_after_ms: 5, deadline_ms: Some(9) },
                r#"{"type":"drain","retryAfterMs":5,"deadlineMs":9}"#,
            ),
            (Frame::Drain { retry_after_ms: 5, deadline_ms: None }, r#"{"type":"drain","retryAfterMs":5}"#),
            (
                Frame::Resync { room: &lobby, reason: Reason::Trimmed, position: EntryId::ZERO },
                r#"{"type":"resync","room":"lobby","reason":"trimmed","position":"0-0"}"#,
            ),
            (
                Frame::Error { reference: None, code: Code::TooManyRooms, message: "m" },
                r#"{"type":"error","code":"too_many_rooms","message":"m"}"#,
            ),
        ];
        for (frame, expect) in cases {
            assert_eq!(encode(&frame).as_str(), expect);
        }
    }
}
