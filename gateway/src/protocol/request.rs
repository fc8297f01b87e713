//! What clients send, understood.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Code;
use crate::auth::Token;
use crate::entry::{EntryId, Text};
use crate::idempotency::IdempotencyKey;
use crate::json;
use crate::room::RoomId;

/// A client's request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Say who one is, at first or anew.
    Auth {
        /// The client's number.
        reference: Option<u64>,
        /// The token.
        token: Token,
    },
    /// Follow a room, from a cursor or from now.
    Subscribe {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Replay what came after this entry.
        since: Option<EntryId>,
        /// Be listed among the room's members, and be told who joins and leaves.
        presence: bool,
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
        /// Write it once, however often it is asked for with this key.
        key: Option<IdempotencyKey>,
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
    /// Who is in a room.
    Presence {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
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
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
}

/// `null` is a payload, too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Understands a client's frame.
pub fn parse(text: &str) -> Result<Request, Refusal> {
    let frame: Incoming<'_> = json::object(text)
        .map_err(|error| Refusal::new(reference_of(text), Code::BadRequest, format!("not a valid frame: {error}")))?;
    let reference = frame.reference;
    match &*frame.kind {
        "subscribe" => frame.subscribe(),
        "unsubscribe" => Ok(Request::Unsubscribe { reference, room: frame.room()? }),
        "publish" => frame.publish(),
        "history" => frame.history(),
        "ping" => Ok(Request::Ping { reference }),
        "presence" => Ok(Request::Presence { reference, room: frame.room()? }),
        "auth" => frame.auth(),
        _ => Err(Refusal::new(
            reference,
            Code::BadRequest,
            "unknown type: use auth, subscribe, unsubscribe, publish, history, presence or ping",
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

    fn auth(&self) -> Result<Request, Refusal> {
        let token = self.token.as_deref().ok_or_else(|| self.bad("token is missing"))?;
        Ok(Request::Auth { reference: self.reference, token: Token(token.into()) })
    }

    fn subscribe(&self) -> Result<Request, Refusal> {
        let since = self.id("since", self.since.as_deref())?;
        Ok(Request::Subscribe { reference: self.reference, room: self.room()?, since, presence: self.presence })
    }

    fn publish(&self) -> Result<Request, Refusal> {
        let payload = self.payload.ok_or_else(|| self.bad("payload is missing"))?;
        let parse = |key: &Cow<'_, str>| {
            IdempotencyKey::parse(key).map_err(|error| self.bad(format!("idempotencyKey: {error}")))
        };
        let key = self.idempotency_key.as_ref().map(parse).transpose()?;
        Ok(Request::Publish { reference: self.reference, room: self.room()?, payload: payload.get().into(), key })
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
            Ok(Request::Subscribe {
                reference: Some(2),
                room: room("lobby"),
                since: Some(EntryId { ms: 17, seq: 3 }),
                presence: false
            })
        );
        assert_eq!(
            parse(r#"{"type":"subscribe","room":"lobby","presence":true}"#),
            Ok(Request::Subscribe { reference: None, room: room("lobby"), since: None, presence: true })
        );
        assert_eq!(
            parse(r#"{"type":"presence","ref":6,"room":"lobby"}"#),
            Ok(Request::Presence { reference: Some(6), room: room("lobby") })
        );
        assert_eq!(
            parse(r#"{"room":"a\"b","payload":{"x": [1, 2.50]},"type":"publish","extra":1}"#),
            Ok(Request::Publish {
                reference: None,
                room: room("a\"b"),
                payload: r#"{"x": [1, 2.50]}"#.into(),
                key: None
            })
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
        assert_eq!(
            parse(r#"{"type":"auth","ref":1,"token":"a.b.c"}"#),
            Ok(Request::Auth { reference: Some(1), token: Token("a.b.c".into()) })
        );
        assert_eq!(parse(r#"{"type":"ping"}"#), Ok(Request::Ping { reference: None }));
        assert_eq!(
            parse(r#"{"type":"publish","room":"r","payload":null}"#),
            Ok(Request::Publish { reference: None, room: room("r"), payload: "null".into(), key: None })
        );
        assert_eq!(
            parse(r#"{"type":"publish","room":"r","payload":1,"idempotencyKey":"k"}"#),
            Ok(Request::Publish {
                reference: None,
                room: room("r"),
                payload: "1".into(),
                key: IdempotencyKey::parse("k").ok()
            })
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
            (r#"{"type":"auth","ref":7}"#, Some(7), Code::BadRequest, "token is missing"),
            (r#"{"type":"auth","ref":7,"token":5}"#, Some(7), Code::BadRequest, "not a valid frame"),
            (r#"{"type":"presence","ref":7}"#, Some(7), Code::BadRequest, "room is missing"),
            (r#"{"type":"subscribe","ref":7,"room":"a","presence":1}"#, Some(7), Code::BadRequest, "not a valid frame"),
            (
                r#"{"type":"publish","ref":7,"room":"a","payload":1,"idempotencyKey":""}"#,
                Some(7),
                Code::BadRequest,
                "idempotencyKey: an idempotency key has 1 to 200 bytes",
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
}
