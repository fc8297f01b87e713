//! A key that makes a publish happen once however often it is asked for, valid by type. Where keys are kept, and that
//! they are, is the log's business.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// How long a key is remembered: the same key for the same room within this time writes nothing.
pub const REMEMBERED: Millis = 5 * 60 * 1000;

/// A valid idempotency key: 1 to 200 bytes, no control characters. Counts within one room. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(Arc<str>);

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Empty, or more than 200 bytes.
    #[error("an idempotency key has 1 to {} bytes", IdempotencyKey::MAX_BYTES)]
    Length,
    /// A control character (U+0000–U+001F, U+007F–U+009F).
    #[error("an idempotency key has no control characters")]
    Control,
}

impl IdempotencyKey {
    /// Longest key, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// Checks a key.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidKey::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidKey::Control);
        }
        Ok(Self(text.into()))
    }

    /// The key itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        Self::parse(&text)
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_between_one_and_200_bytes_and_no_control_characters() {
        let check = |text: &str| IdempotencyKey::parse(text).map(String::from);
        assert_eq!(check(""), Err(InvalidKey::Length));
        assert_eq!(check("a"), Ok("a".into()));
        assert_eq!(check(&"a".repeat(200)), Ok("a".repeat(200)));
        assert_eq!(check(&"a".repeat(201)), Err(InvalidKey::Length));
        assert_eq!(check(&"ä".repeat(101)), Err(InvalidKey::Length), "bytes are counted");
        assert_eq!(check("a\nb"), Err(InvalidKey::Control));
    }
}
