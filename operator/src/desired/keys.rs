//! The generated keys of a cluster: made once, never made anew, put back one by one where missing.
//! Where the randomness comes from is the caller's business.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Wanted;
use crate::kinds::Kind;

/// Key that state-changing calls on the admin port ask for.
pub const ADMIN_TOKEN: &str = "admin-token";
/// Key of the HTTP publish API.
pub const API_KEY: &str = "api-key";
/// Key that signs affinity cookies.
pub const COOKIE_KEY: &str = "cookie-key";

const NAMES: [&str; 3] = [ADMIN_TOKEN, API_KEY, COOKIE_KEY];

/// Bytes of randomness: one key each.
pub type Entropy = [[u8; 32]; 3];

/// Contents of the keys Secret, by name. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

impl Keys {
    /// The keys that are there, and fresh ones for those that are missing or empty.
    pub fn completed(existing: &BTreeMap<String, Vec<u8>>, entropy: &Entropy) -> Self {
        let fresh = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode(bytes).into_bytes();
        let pick = |(name, bytes): (&&str, &[u8; 32])| {
            let value = existing.get(*name).filter(|value| !value.is_empty()).cloned();
            ((*name).to_owned(), value.unwrap_or_else(|| fresh(bytes)))
        };
        Self(NAMES.iter().zip(entropy).map(pick).collect())
    }

    /// The token of the admin port.
    pub fn admin_token(&self) -> Option<String> {
        self.0.get(ADMIN_TOKEN).and_then(|value| String::from_utf8(value.clone()).ok())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The keys Secret.
pub fn secret(wanted: &Wanted<'_>) -> Value {
    let data: BTreeMap<_, _> = wanted.keys.0.iter().map(|(name, value)| (name, STANDARD.encode(value))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": wanted.metadata(Kind::Secret, &BTreeMap::new()),
        "type": "Opaque",
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTROPY: Entropy = [[1; 32], [2; 32], [3; 32]];

    #[test]
    fn a_missing_key_is_made_and_the_others_stay() {
        let existing = BTreeMap::from([
            (ADMIN_TOKEN.to_owned(), b"mine".to_vec()),
            (COOKIE_KEY.to_owned(), Vec::new()),
            ("other".to_owned(), b"x".to_vec()),
        ]);
        let keys = Keys::completed(&existing, &ENTROPY);
        assert_eq!(keys.admin_token().as_deref(), Some("mine"));
        assert_eq!(keys.0[API_KEY], URL_SAFE_NO_PAD.encode([2; 32]).into_bytes());
        assert_eq!(keys.0[COOKIE_KEY], URL_SAFE_NO_PAD.encode([3; 32]).into_bytes());
        assert_eq!(keys.0.len(), 3);
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = Keys::completed(&BTreeMap::new(), &ENTROPY);
        assert_eq!(format!("{keys:?}"), r#"{"admin-token", "api-key", "cookie-key"}"#);
    }
}
