//! The affinity cookie's value: which pod a client was on, signed. Writes it, and reads it back from a `Cookie` header.
//! Knows nothing of HTTP beyond that header, of pods that are still there, or of where keys come from.
//!
//! `v1.<key id>.<base64url of "expiry revision pod">.<base64url of HMAC-SHA256 over all before the last dot>`

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::Millis;

/// Longest value that is looked at.
pub const LONGEST: usize = 640;
/// Cookies of our name that one request may carry (paths and domains make several); the rest is not looked at.
const MOST: usize = 4;
/// Shortest secret: the size of the hash (RFC 2104 section 3).
const SHORTEST_SECRET: usize = 32;
const FORMAT: &str = "v1";

/// Where a client was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Name of the pod.
    pub pod: String,
    /// The revision of the fleet that the pod was of.
    pub revision: String,
    /// From then on the cookie says nothing, in milliseconds since 1970.
    pub expires_at: Millis,
}

/// A secret and the name under which cookies refer to it.
#[derive(Clone)]
pub struct Key {
    id: String,
    mac: Hmac<Sha256>,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name would not survive in a cookie.
    #[error("a key's id must be 1 to 16 letters, digits, - or _")]
    Id,
    /// The secret could be guessed.
    #[error("a key's secret must have at least {SHORTEST_SECRET} bytes")]
    Secret,
}

impl Key {
    /// A key of 32 bytes or more.
    pub fn new(id: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if !is_word(id, 16) {
            return Err(KeyError::Id);
        }
        if secret.len() < SHORTEST_SECRET {
            return Err(KeyError::Secret);
        }
        let mac = Hmac::new_from_slice(secret).map_err(|_| KeyError::Secret)?;
        Ok(Self { id: id.into(), mac })
    }

    fn sign(&self, text: &str) -> String {
        let mac = self.mac.clone().chain_update(text);
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    /// In constant time.
    fn signed(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.mac.clone().chain_update(text).verify_slice(&signature).is_ok()
    }
}

/// No secret in a log.
impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys of a fleet. While they are rotated, every gateway first reads the new one, and only then writes with it.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs, and reads.
    pub current: Key,
    /// Read only.
    pub others: Vec<Key>,
}

impl Keys {
    /// The cookie's value. `None` if the pod or the revision has no name that a cookie can carry.
    pub fn write(&self, affinity: &Affinity) -> Option<String> {
        if !is_pod(&affinity.pod) || !is_word(&affinity.revision, 63) {
            return None;
        }
        let Affinity { pod, revision, expires_at } = affinity;
        let payload = URL_SAFE_NO_PAD.encode(format!("{expires_at} {revision} {pod}"));
        let signed = format!("{FORMAT}.{}.{payload}", self.current.id);
        let signature = self.current.sign(&signed);
        Some(format!("{signed}.{signature}"))
    }

    /// Where the client was; `None` if the value is forged, of a foreign key, expired, or no such value at all.
    pub fn read(&self, value: &str, now: Millis) -> Option<Affinity> {
        if value.len() > LONGEST {
            return None;
        }
        let (signed, signature) = value.rsplit_once('.')?;
        let (format_and_key, payload) = signed.rsplit_once('.')?;
        let (format, id) = format_and_key.split_once('.')?;
        let key = [&self.current].into_iter().chain(&self.others).find(|key| key.id == id)?;
        if format != FORMAT || !key.signed(signed, signature) {
            return None;
        }
        let affinity = understand(payload)?;
        (now < affinity.expires_at).then_some(affinity)
    }

    /// The same from a `Cookie` header (RFC 6265 section 4.2): the first value under `name` that holds.
    pub fn read_header(&self, header: &str, name: &str, now: Millis) -> Option<Affinity> {
        let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).take(MOST);
        values.find_map(|value| self.read(value, now))
    }
}

fn understand(payload: &str) -> Option<Affinity> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let mut words = text.splitn(3, ' ');
    let (expiry, revision, pod) = (words.next()?, words.next()?, words.next()?);
    let affinity = Affinity { pod: pod.into(), revision: revision.into(), expires_at: expiry.parse().ok()? };
    (is_pod(pod) && is_word(revision, 63)).then_some(affinity)
}

pub(crate) fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A pod's name: a DNS subdomain (Kubernetes, "Object Names and IDs").
pub(crate) fn is_pod(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(sound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: &str) -> Key {
        Key::new(id, id.repeat(40).as_bytes()).unwrap()
    }

    fn keys(current: &str, others: &[&str]) -> Keys {
        Keys { current: key(current), others: others.iter().map(|id| key(id)).collect() }
    }

    fn affinity() -> Affinity {
        Affinity { pod: "chat-7d9f-x2x".into(), revision: "7d9f".into(), expires_at: 1000 }
    }

    #[test]
    fn what_was_written_is_read_until_it_expires() {
        let keys = keys("a", &[]);
        let value = keys.write(&affinity()).unwrap();
        assert_eq!(keys.read(&value, 999), Some(affinity()));
        assert_eq!(keys.read(&value, 1000), None);
        assert_eq!(keys.read(&value, 1001), None);
    }

    #[test]
    fn the_format_is_what_other_versions_expect() {
        // Computed with another implementation of HMAC.
        let value = "v1.a.MTAwMCA3ZDlmIGNoYXQtN2Q5Zi14Mng.ILM4-tE5p4760YxWmI9b1PsvXnroPbXK5OM1zzix4e4";
        assert_eq!(keys("a", &[]).write(&affinity()).as_deref(), Some(value));
        // RFC 4231, test case 6: a secret longer than the block.
        let long = Key::new("k", &[0xaa; 131]).unwrap();
        let signature = long.sign("Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(signature, "YOQxWR7gtn8Niiaqy_W3f44LxiE3KMUUBUYEDw7jf1Q");
    }

    #[test]
    fn a_rotated_key_is_read_as_long_as_it_is_kept() {
        let value = keys("old", &[]).write(&affinity()).unwrap();
        assert_eq!(keys("new", &["older", "old"]).read(&value, 0), Some(affinity()));
        assert_eq!(keys("new", &["older"]).read(&value, 0), None);
    }

    #[test]
    fn a_key_of_the_same_name_and_another_secret_is_foreign() {
        let value = keys("a", &[]).write(&affinity()).unwrap();
        let foreign = Keys { current: Key::new("a", &[7; 32]).unwrap(), others: Vec::new() };
        assert_eq!(foreign.read(&value, 0), None);
    }

    #[test]
    fn what_no_cookie_can_carry_is_not_written() {
        let keys = keys("a", &[]);
        for (pod, revision) in [("", "r"), ("p", ""), ("p q", "r"), ("p", "r s"), ("P", "r"), (&"p".repeat(254), "r")] {
            let affinity = Affinity { pod: pod.into(), revision: revision.into(), expires_at: 1 };
            assert_eq!(keys.write(&affinity), None, "{affinity:?}");
        }
        let longest = Affinity { pod: "p".repeat(253), revision: "r".repeat(63), expires_at: Millis::MAX };
        let value = Keys { current: key("abcdefghijklmnop"), others: Vec::new() }.write(&longest).unwrap();
        assert!(value.len() <= LONGEST, "{}", value.len());
    }

    #[test]
    fn a_value_is_read_up_to_the_longest_and_not_beyond() {
        let keys = keys("a", &[]);
        // Leading zeros make a sound value as long as one likes.
        let value = |zeros: usize| {
            let payload = URL_SAFE_NO_PAD.encode(format!("{}1000 r p", "0".repeat(zeros)));
            let signed = format!("v1.a.{payload}");
            format!("{signed}.{}", keys.current.sign(&signed))
        };
        let values: Vec<_> = (0..500).map(value).collect();
        for length in [LONGEST - 1, LONGEST, LONGEST + 1] {
            for value in values.iter().filter(|value| value.len() == length) {
                assert_eq!(keys.read(value, 0).is_some(), length <= LONGEST, "{length}");
            }
        }
        let lengths: Vec<_> = values.iter().map(String::len).collect();
        assert!(lengths.contains(&LONGEST) && lengths.iter().any(|length| *length > LONGEST));
    }

    #[test]
    fn a_key_must_be_hard_to_guess_and_have_a_name() {
        assert_eq!(Key::new("a", &[0; 31]).unwrap_err(), KeyError::Secret);
        assert!(Key::new("a", &[0; 32]).is_ok());
        assert!(Key::new("a", &[0; 33]).is_ok());
        for id in ["", "a.b", "ä", "abcdefghijklmnopq"] {
            assert_eq!(Key::new(id, &[0; 32]).unwrap_err(), KeyError::Id, "{id}");
        }
        assert!(!format!("{:?}", Key::new("a", &[42; 32]).unwrap()).contains("42"));
    }

    #[test]
    fn the_header_is_searched_for_the_first_value_that_holds() {
        let keys = keys("a", &[]);
        let value = keys.write(&affinity()).unwrap();
        let read = |header: &str| keys.read_header(header, "wscluster", 0);
        assert_eq!(read(&format!("theme=dark; wscluster={value}")), Some(affinity()));
        assert_eq!(read(&format!("wscluster=stale; wscluster={value};x=y")), Some(affinity()));
        assert_eq!(read(&format!("other={value}; wscluster=")), None);
        assert_eq!(read(""), None);
        let many = format!("{}wscluster={value}", "wscluster=x; ".repeat(MOST));
        assert_eq!(read(&many), None);
        assert_eq!(read(&many.replacen("wscluster=x; ", "", 1)), Some(affinity()));
    }

    proptest! {
        #[test]
        fn every_pod_comes_back(pod in "[a-z0-9.-]{1,253}", revision in "[A-Za-z0-9_-]{1,63}", expires_at in 1_u64..) {
            let (keys, affinity) = (keys("a", &["b"]), Affinity { pod, revision, expires_at });
            let value = keys.write(&affinity).unwrap();
            prop_assert_eq!(keys.read(&value, expires_at - 1), Some(affinity));
        }

        #[test]
        fn a_changed_value_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._-]") {
            let keys = keys("a", &[]);
            let value = keys.write(&affinity()).unwrap();
            let at = at.index(value.len());
            let mut changed = value.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(keys.read(&changed, 0).is_some(), changed == value);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            prop_assert_eq!(keys("a", &[]).read(&text, 0), None);
            prop_assert_eq!(keys("a", &[]).read_header(&text, "wscluster", 0), None);
        }
    }
}
