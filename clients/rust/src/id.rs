//! The id of a message, which is the id of its entry in the room's stream and the only cursor.
//!
//! It does not know who made it: ids are compared, never generated here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A stream entry id, `<milliseconds>-<sequence>`, ordered as two numbers (not as text).
///
/// Source of the order: <https://redis.io/docs/latest/develop/data-types/streams/#entry-ids>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessageId {
    /// Milliseconds since the Unix epoch by the server's clock.
    pub milliseconds: u64,
    /// Tells entries of one millisecond apart.
    pub sequence: u64,
}

/// A text that is not a stream entry id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a message id (expected <milliseconds>-<sequence>)")]
pub struct InvalidId(String);

impl MessageId {
    /// Before every entry.
    pub const MIN: Self = Self::new(0, 0);

    /// An id from its two numbers.
    pub const fn new(milliseconds: u64, sequence: u64) -> Self {
        Self { milliseconds, sequence }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (milliseconds, sequence) = text.split_once('-').unwrap_or((text, "0"));
        match (milliseconds.parse(), sequence.parse()) {
            (Ok(milliseconds), Ok(sequence)) => Ok(Self { milliseconds, sequence }),
            _ => Err(InvalidId(text.to_owned())),
        }
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_as_numbers_not_as_text() {
        let parse = |text: &str| text.parse::<MessageId>().unwrap();
        assert!(parse("9-1") < parse("10-0"));
        assert!(parse("10-9") < parse("10-10"));
        assert_eq!(parse("7"), MessageId::new(7, 0));
    }

    #[test]
    fn what_is_not_an_id_is_refused_with_its_text() {
        for text in ["", "-", "1-", "-1", "a-1", "1-2-3", "$", "18446744073709551616-0"] {
            assert_eq!(text.parse::<MessageId>(), Err(InvalidId(text.to_owned())));
        }
    }

    #[test]
    fn an_id_survives_json() {
        let id = MessageId::new(1_764_000_000_000, 3);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"1764000000000-3\"");
        assert_eq!(serde_json::from_str::<MessageId>("\"1764000000000-3\"").unwrap(), id);
    }
}
