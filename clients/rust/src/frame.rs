//! The JSON of `wscluster.v1.json`, read and written. It does not know what a frame leads to.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Member, MessageId};

/// Any frame that a gateway sends: one flat shape, so that a payload can stay unparsed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Incoming<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(rename = "ref")]
    pub(crate) reference: Option<u64>,
    #[serde(borrow)]
    pub(crate) room: Option<Cow<'a, str>>,
    pub(crate) id: Option<MessageId>,
    #[serde(borrow)]
    pub(crate) timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) payload: Option<&'a RawValue>,
    pub(crate) position: Option<MessageId>,
    pub(crate) recovered: Option<bool>,
    pub(crate) replayed: Option<u64>,
    pub(crate) session: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) heartbeat_ms: Option<u64>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) members: Option<Vec<Member>>,
    pub(crate) count: Option<u64>,
    #[serde(borrow)]
    pub(crate) messages: Option<Vec<Past<'a>>>,
    pub(crate) more: Option<bool>,
}

/// A message within `history`.
#[derive(Debug, Deserialize)]
pub(crate) struct Past<'a> {
    pub(crate) id: MessageId,
    #[serde(default)]
    pub(crate) timestamp: u64,
    #[serde(borrow)]
    pub(crate) payload: &'a RawValue,
}

impl Incoming<'_> {
    /// The timestamp in milliseconds, whether the gateway writes a number or the text that stands in the stream.
    pub(crate) fn timestamp(&self) -> u64 {
        self.timestamp.and_then(|raw| raw.get().trim_matches('"').parse().ok()).unwrap_or(0)
    }

    /// The payload as it was written, `null` when the entry has none.
    pub(crate) fn payload(&self) -> Box<RawValue> {
        self.payload.map_or_else(|| RawValue::NULL.to_owned(), ToOwned::to_owned)
    }
}

/// The frames that we send; `ref` is ours, and echoed in the answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum Outgoing<'a> {
    Auth {
        #[serde(rename = "ref")]
        reference: u64,
        token: &'a str,
    },
    Subscribe {
        #[serde(rename = "ref")]
        reference: u64,
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<MessageId>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        presence: bool,
    },
    Presence {
        #[serde(rename = "ref")]
        reference: u64,
        room: &'a str,
    },
    History {
        #[serde(rename = "ref")]
        reference: u64,
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<MessageId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
    Unsubscribe {
        #[serde(rename = "ref")]
        reference: u64,
        room: &'a str,
    },
    Publish {
        #[serde(rename = "ref")]
        reference: u64,
        room: &'a str,
        payload: &'a RawValue,
        #[serde(rename = "idempotencyKey")]
        key: &'a str,
    },
}

impl Outgoing<'_> {
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("frames are plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_payload_verbatim() {
        let text = r#"{"type":"message","room":"a\"b","id":"5-1","timestamp":7,"payload":{ "x": 1.50 },"new":[1]}"#;
        let frame: Incoming<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(frame.kind, "message");
        assert_eq!(frame.room.as_deref(), Some("a\"b"));
        assert_eq!(frame.id, Some(MessageId::new(5, 1)));
        assert_eq!(frame.timestamp(), 7);
        assert_eq!(frame.payload().get(), "{ \"x\": 1.50 }");
    }

    #[test]
    fn a_timestamp_may_be_a_text() {
        let frame: Incoming<'_> = serde_json::from_str(r#"{"type":"message","timestamp":"12"}"#).unwrap();
        assert_eq!((frame.timestamp(), frame.payload().get()), (12, "null"));
    }

    #[test]
    fn requests_are_written_as_the_protocol_says() {
        let since = Some(MessageId::new(1, 2));
        let payload = RawValue::from_string("{\"x\":1}".to_owned()).unwrap();
        let table = [
            (Outgoing::Auth { reference: 1, token: "t" }, r#"{"type":"auth","ref":1,"token":"t"}"#),
            (
                Outgoing::Subscribe { reference: 2, room: "lobby", since, presence: false },
                r#"{"type":"subscribe","ref":2,"room":"lobby","since":"1-2"}"#,
            ),
            (
                Outgoing::Subscribe { reference: 2, room: "lobby", since: None, presence: true },
                r#"{"type":"subscribe","ref":2,"room":"lobby","presence":true}"#,
            ),
            (Outgoing::Unsubscribe { reference: 3, room: "lobby" }, r#"{"type":"unsubscribe","ref":3,"room":"lobby"}"#),
            (
                Outgoing::Publish { reference: 4, room: "lobby", payload: &payload, key: "k" },
                r#"{"type":"publish","ref":4,"room":"lobby","payload":{"x":1},"idempotencyKey":"k"}"#,
            ),
            (
                Outgoing::History { reference: 5, room: "lobby", before: since, limit: Some(7) },
                r#"{"type":"history","ref":5,"room":"lobby","before":"1-2","limit":7}"#,
            ),
            (Outgoing::Presence { reference: 6, room: "lobby" }, r#"{"type":"presence","ref":6,"room":"lobby"}"#),
        ];
        for (frame, expected) in table {
            assert_eq!(frame.text(), expected);
        }
    }
}
