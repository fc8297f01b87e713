//! The JSON of `wscluster.v1.json`, read and written. It does not know what a frame leads to.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::MessageId;

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
                Outgoing::Subscribe { reference: 2, room: "lobby", since },
                r#"{"type":"subscribe","ref":2,"room":"lobby","since":"1-2"}"#,
            ),
            (
                Outgoing::Subscribe { reference: 2, room: "lobby", since: None },
                r#"{"type":"subscribe","ref":2,"room":"lobby"}"#,
            ),
            (Outgoing::Unsubscribe { reference: 3, room: "lobby" }, r#"{"type":"unsubscribe","ref":3,"room":"lobby"}"#),
            (
                Outgoing::Publish { reference: 4, room: "lobby", payload: &payload },
                r#"{"type":"publish","ref":4,"room":"lobby","payload":{"x":1}}"#,
            ),
        ];
        for (frame, expected) in table {
            assert_eq!(frame.text(), expected);
        }
    }
}
