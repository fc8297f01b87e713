//! Entries of a room's log: their ids, and the frames they become, encoded once however many connections get them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
pub use tokio_tungstenite::tungstenite::Utf8Bytes as Text;

use crate::clock::Millis;
pub use crate::codec::frame_cost;
use crate::codec::text_frame;
use crate::protocol::{self, Protocol};
use crate::room::RoomId;

/// Id of an entry, and the only cursor: `<milliseconds>-<sequence>`, as in Redis Streams
/// (<https://redis.io/docs/latest/develop/data-types/streams/#entry-ids>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId {
    /// Milliseconds since the Unix epoch, by the clock of the log.
    pub ms: Millis,
    /// Distinguishes entries of one millisecond.
    pub seq: u64,
}

/// Text that is no entry id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry id looks like 1764000000000-0")]
pub struct InvalidEntryId;

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// After every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The least id above this one; `MAX` stays.
    #[must_use]
    pub fn next(self) -> Self {
        match (self.ms, self.seq) {
            (u64::MAX, u64::MAX) => self,
            (ms, u64::MAX) => Self { ms: ms + 1, seq: 0 },
            (ms, seq) => Self { ms, seq: seq + 1 },
        }
    }

    /// The greatest id below this one; `ZERO` stays.
    #[must_use]
    pub fn previous(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = InvalidEntryId;
    fn from_str(text: &str) -> Result<Self, InvalidEntryId> {
        // `u64` itself would accept a sign.
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| if digits(text) { text.parse::<u64>().ok() } else { None };
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self { ms: number(ms).ok_or(InvalidEntryId)?, seq: number(seq).ok_or(InvalidEntryId)? })
    }
}

impl TryFrom<String> for EntryId {
    type Error = InvalidEntryId;
    fn try_from(text: String) -> Result<Self, InvalidEntryId> {
        text.parse()
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

/// One entry of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// When the writer says it was written.
    pub timestamp: Millis,
    /// The payload as it was written, JSON or not.
    pub payload: Text,
    is_json: bool,
}

impl Entry {
    /// An entry. Looks once whether the payload is JSON.
    pub fn new(id: EntryId, timestamp: Millis, payload: Text) -> Self {
        let is_json = serde_json::from_str::<&RawValue>(payload.as_str()).is_ok();
        Self { id, timestamp, payload, is_json }
    }

    /// Whether the payload is JSON.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// The payload as JSON: itself, or as a JSON string where a foreign writer's is none.
    pub fn json(&self) -> Cow<'_, str> {
        if self.is_json {
            // White space around it is no part of the value.
            return Cow::Borrowed(self.payload.as_str().trim_ascii());
        }
        Cow::Owned(serde_json::to_string(self.payload.as_str()).expect("a string is JSON"))
    }
}

/// An entry on its way to subscribers.
#[derive(Debug)]
pub struct Delivery {
    /// The room.
    pub room: RoomId,
    /// The entry.
    pub entry: Entry,
    raw: OnceLock<Bytes>,
    v1: OnceLock<Bytes>,
}

impl Delivery {
    /// An entry of `room` to be delivered.
    pub fn new(room: RoomId, entry: Entry) -> Arc<Self> {
        Arc::new(Self { room, entry, raw: OnceLock::new(), v1: OnceLock::new() })
    }

    /// The WebSocket frame in `protocol`, header included: encoded at most once, and shared by all who get it.
    pub fn frame(&self, protocol: Protocol) -> Bytes {
        let frame = match protocol {
            Protocol::Raw => self.raw.get_or_init(|| text_frame(self.entry.payload.as_str())),
            Protocol::V1 => self.v1.get_or_init(|| text_frame(protocol::message(&self.room, &self.entry).as_str())),
        };
        frame.clone()
    }

    /// Bytes that the frame takes in a queue.
    pub fn cost(&self, protocol: Protocol) -> usize {
        self.frame(protocol).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_parse_as_redis_writes_them() {
        assert_eq!("5-3".parse(), Ok(EntryId { ms: 5, seq: 3 }));
        assert_eq!("5".parse(), Ok(EntryId { ms: 5, seq: 0 }));
        for bad in ["", "-", "1-", "-1", "+1-0", "1-2-3", "$", "*", "1 -0", "18446744073709551616-0"] {
            assert_eq!(bad.parse::<EntryId>(), Err(InvalidEntryId), "{bad:?}");
        }
    }

    #[test]
    fn a_payload_that_is_no_json_becomes_a_json_string() {
        let entry = |payload: &str| Entry::new(EntryId::ZERO, 0, payload.into());
        assert_eq!(entry("{\"x\": 1}").json(), "{\"x\": 1}");
        assert_eq!(entry("say \"hi\"").json(), "\"say \\\"hi\\\"\"");
        assert_eq!(entry("").json(), "\"\"");
        assert_eq!(entry("1 2").json(), "\"1 2\"");
    }

    proptest! {
        #[test]
        fn ids_order_as_their_numbers_and_survive_text(a: (u64, u64), b: (u64, u64)) {
            let (x, y) = (EntryId { ms: a.0, seq: a.1 }, EntryId { ms: b.0, seq: b.1 });
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.to_string().parse(), Ok(x));
            prop_assert!(x == EntryId::ZERO || (x.previous() < x && x.previous().next() == x));
        }
    }
}
