//! A room's name, valid by type.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A valid room id: 1 to 200 bytes, no control characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(Arc<str>);

/// Why a room id was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoom {
    /// Empty, or more than 200 bytes.
    #[error("a room id has 1 to {} bytes", RoomId::MAX_BYTES)]
    Length,
    /// A control character (U+0000–U+001F, U+007F–U+009F).
    #[error("a room id has no control characters")]
    Control,
}

impl RoomId {
    /// Longest room id, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// Checks a room id.
    pub fn parse(text: &str) -> Result<Self, InvalidRoom> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidRoom::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidRoom::Control);
        }
        Ok(Self(text.into()))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RoomId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomId {
    type Error = InvalidRoom;
    fn try_from(text: String) -> Result<Self, InvalidRoom> {
        Self::parse(&text)
    }
}

impl From<RoomId> for String {
    fn from(room: RoomId) -> Self {
        room.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_checked_at_below_and_above() {
        assert!(RoomId::parse("").is_err());
        assert!(RoomId::parse("a").is_ok());
        assert!(RoomId::parse(&"a".repeat(200)).is_ok());
        assert_eq!(RoomId::parse(&"a".repeat(201)), Err(InvalidRoom::Length));
        assert!(RoomId::parse(&"é".repeat(100)).is_ok());
        assert!(RoomId::parse(&"é".repeat(101)).is_err());
    }

    #[test]
    fn control_characters_are_refused() {
        for text in ["a\nb", "\0", "tab\t", "\u{7f}", "\u{85}"] {
            assert_eq!(RoomId::parse(text), Err(InvalidRoom::Control), "{text:?}");
        }
        assert!(RoomId::parse("zürich: 日本 *?[").is_ok());
    }
}
