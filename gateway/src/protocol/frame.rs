//! What the gateway sends, written.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Code, Reason, Refusal};
use crate::clock::Millis;
use crate::entry::{Entry, EntryId, Text};
use crate::presence::Member;
use crate::room::RoomId;

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
    /// Answer to `presence`; without a number: the members as they are now, whatever was told before.
    Presence {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// The room.
        room: &'a RoomId,
        /// Members; not all of them in a large room.
        members: &'a [Member],
        /// How many there are.
        count: usize,
    },
    /// Members came.
    Join {
        /// The room.
        room: &'a RoomId,
        /// Who; nobody is named in a large room.
        members: &'a [Member],
        /// How many there are now.
        count: usize,
    },
    /// Members left.
    Leave {
        /// The room.
        room: &'a RoomId,
        /// Who; nobody is named in a large room.
        members: &'a [Member],
        /// How many there are now.
        count: usize,
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
    /// Stay: the drain was cancelled.
    DrainCancelled {},
    /// A request failed.
    Error {
        /// The client's number.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// For programs.
        code: Code,
        /// The room that was left; only where nothing was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a RoomId>,
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

/// Writes a frame.
pub fn encode(frame: &Frame<'_>) -> Text {
    serde_json::to_string(frame).expect("frames have string keys only").into()
}

/// Writes an `error` frame.
pub fn encode_refusal(refusal: &Refusal) -> Text {
    let Refusal { reference, code, message } = refusal;
    encode(&Frame::Error { reference: *reference, code: *code, room: None, message })
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
        let members = [("a", None), ("b", Some("u".to_owned()))];
        let members = members.map(|(session, user)| Member { session: session.into(), user });
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
                Frame::Presence { reference: Some(6), room: &lobby, members: &members, count: 2 },
                r#"{"type":"presence","ref":6,"room":"lobby","members":[{"session":"a"},{"session":"b","user":"u"}],"count":2}"#,
            ),
            (
                Frame::Join { room: &lobby, members: &members[..1], count: 5 },
                r#"{"type":"join","room":"lobby","members":[{"session":"a"}],"count":5}"#,
            ),
            (
                Frame::Leave { room: &lobby, members: &[], count: 5000 },
                r#"{"type":"leave","room":"lobby","members":[],"count":5000}"#,
            ),
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
                Frame::Error { reference: None, code: Code::TooManyRooms, room: None, message: "m" },
                r#"{"type":"error","code":"too_many_rooms","message":"m"}"#,
            ),
        ];
        for (frame, expect) in cases {
            assert_eq!(encode(&frame).as_str(), expect);
        }
    }
}
