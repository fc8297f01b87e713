//! The keys of a cluster, in one Secret: generated ones, made once, never made anew, put back one by one where missing; and
//! the ring of keys of affinity cookies, which `ring` has change. Where the randomness comes from is the caller's business.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Wanted;
use super::ring::Ring;
use crate::kinds::Kind;

/// Key that state-changing calls on the admin port ask for.
pub const ADMIN_TOKEN: &str = "admin-token";
/// Key of the HTTP publish API.
pub const API_KEY: &str = "api-key";
/// Keys of affinity cookies, the one that signs first.
pub const COOKIE_KEYS: &str = "cookie-keys";
/// Annotation of the Secret: since when each key of affinity cookies is there, and until when it signed, as JSON.
pub const COOKIE_KEY_LIVES: &str = "wscluster.dev/cookie-keys";

const NAMES: [&str; 2] = [ADMIN_TOKEN, API_KEY];

/// Bytes of randomness: one key each, that of affinity cookies last.
pub type Entropy = [[u8; 32]; 3];

/// Contents of the keys Secret. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keys {
    generated: BTreeMap<String, Vec<u8>>,
    ring: Ring,
}

impl Keys {
    /// The keys that are there, and fresh ones for those that are missing or empty; and the keys of cookies.
    pub fn completed(existing: &BTreeMap<String, Vec<u8>>, entropy: &Entropy, ring: Ring) -> Self {
        let fresh = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode(bytes).into_bytes();
        let pick = |(name, bytes): (&&str, &[u8; 32])| {
            let value = existing.get(*name).filter(|value| !value.is_empty()).cloned();
            ((*name).to_owned(), value.unwrap_or_else(|| fresh(bytes)))
        };
        Self { generated: NAMES.iter().zip(entropy).map(pick).collect(), ring }
    }

    /// The token of the admin port.
    pub fn admin_token(&self) -> Option<String> {
        self.generated.get(ADMIN_TOKEN).and_then(|value| String::from_utf8(value.clone()).ok())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.generated.keys()).entry(&self.ring).finish()
    }
}

/// The keys Secret.
pub fn secret(wanted: &Wanted<'_>) -> Value {
    let Keys { generated, ring } = &wanted.keys;
    let mut data: BTreeMap<_, _> =
        generated.iter().map(|(name, value)| (name.as_str(), STANDARD.encode(value))).collect();
    data.insert(COOKIE_KEYS, STANDARD.encode(ring.text()));
    let lives = BTreeMap::from([(COOKIE_KEY_LIVES.to_owned(), ring.lives())]);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": wanted.metadata(Kind::Secret, &lives),
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
            (API_KEY.to_owned(), Vec::new()),
            ("other".to_owned(), b"x".to_vec()),
        ]);
        let keys = Keys::completed(&existing, &ENTROPY, Ring::default());
        assert_eq!(keys.admin_token().as_deref(), Some("mine"));
        assert_eq!(keys.generated[API_KEY], URL_SAFE_NO_PAD.encode([2; 32]).into_bytes());
        assert_eq!(keys.generated.len(), 2);
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = Keys::completed(&BTreeMap::new(), &ENTROPY, Ring::default());
        assert_eq!(format!("{keys:?}"), r#"{"admin-token", "api-key", []}"#);
    }
}
