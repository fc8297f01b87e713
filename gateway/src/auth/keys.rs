//! Keys that tokens are checked with, each bound to the one algorithm that it is for. Understands shared secrets, PEM
//! and JSON Web Key Sets (RFC 7517); where they come from is `source`'s business.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::JwtAlgorithm;

/// Most keys of one set that are used.
const MOST_KEYS: usize = 100;
/// RFC 7518 section 3.2: an HS256 secret has at least as many bits as the hash.
const SHORTEST_SECRET: usize = 32;

/// A key and what it is for.
#[expect(clippy::struct_field_names)] // It is what it is.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: JwtAlgorithm,
    pub(super) key: DecodingKey,
}

/// Keys. Their contents are never printed.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// What fits a token.
pub(super) enum Found<'a> {
    /// Keys that may have signed it.
    Candidates(Vec<&'a DecodingKey>),
    /// The key that it names is for another algorithm.
    OtherAlgorithm,
    /// None.
    Nothing,
}

impl KeySet {
    /// Shared secrets: text of one a line, so that the old and the new one hold while they are rotated; or bytes.
    pub(super) fn from_secrets(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| !text.contains(|c: char| c.is_control() && !"\r\n".contains(c)));
        let secrets: Vec<&[u8]> = match text {
            Some(text) => text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::as_bytes).collect(),
            None => vec![bytes],
        };
        if secrets.is_empty() {
            return Err("is empty: write a secret into it".into());
        }
        if secrets.iter().any(|secret| secret.len() < SHORTEST_SECRET) {
            tracing::warn!(
                "a token secret is shorter than {SHORTEST_SECRET} bytes (RFC 7518 section 3.2): use a longer one"
            );
        }
        let key =
            |secret: &[u8]| Key { id: None, algorithm: JwtAlgorithm::HS256, key: DecodingKey::from_secret(secret) };
        Ok(Self(secrets.into_iter().map(key).collect()))
    }

    /// Public keys in PEM, one after another.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY") {
            return Err("holds a private key: gateways need the public one only (openssl pkey -pubout)".into());
        }
        let blocks = text.split_inclusive("-----END").zip(text.split("-----END").skip(1));
        let pems: Vec<String> = blocks
            .filter_map(|(before, after)| {
                let begin = before.rfind("-----BEGIN")?;
                Some(format!("{}{}", &before[begin..], after.lines().next().unwrap_or("")))
            })
            .collect();
        if pems.is_empty() {
            return Err("holds no public key in PEM (-----BEGIN PUBLIC KEY-----)".into());
        }
        Ok(Self(pems.iter().map(|pem| public_key(pem)).collect::<Result<_, _>>()?))
    }

    /// A JSON Web Key Set, and how many of its keys are of no use here: for encryption, say, or of another algorithm.
    pub(super) fn from_jwks(json: &[u8]) -> Result<(Self, usize), String> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let set: Set<'_> = serde_json::from_slice(json).map_err(|error| format!("is no JSON Web Key Set: {error}"))?;
        let all = set.keys.len();
        // One by one: an odd key does not spoil the others.
        let read = |raw: &&RawValue| web_key(&serde_json::from_str(raw.get()).ok()?);
        let keys: Vec<Key> = set.keys.iter().filter_map(read).take(MOST_KEYS).collect();
        if keys.is_empty() {
            return Err(format!("none of its {all} keys is of use: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA"));
        }
        let unused = all - keys.len();
        Ok((Self(keys), unused))
    }

    /// The keys that may have signed a token that says so.
    pub(super) fn find(&self, id: Option<&str>, algorithm: JwtAlgorithm) -> Found<'_> {
        let named = |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        let fit = |key: &&Key| named(key) && key.algorithm == algorithm;
        let candidates: Vec<_> = self.0.iter().filter(fit).map(|key| &key.key).collect();
        match candidates.is_empty() {
            false => Found::Candidates(candidates),
            true if self.0.iter().any(|key| named(&key)) => Found::OtherAlgorithm,
            true => Found::Nothing,
        }
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn public_key(pem: &str) -> Result<Key, String> {
    let bytes = pem.as_bytes();
    let (algorithm, key) = if let Ok(key) = DecodingKey::from_rsa_pem(bytes) {
        (JwtAlgorithm::RS256, key)
    } else if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
        (JwtAlgorithm::ES256, key)
    } else if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
        (JwtAlgorithm::EdDSA, key)
    } else {
        return Err("holds something that is no public key in PEM: RSA, P-256 or Ed25519".into());
    };
    if !usable(algorithm, &key) {
        return Err("holds an elliptic curve key that is not P-256: ES256 needs that curve".into());
    }
    Ok(Key { id: None, algorithm, key })
}

fn web_key(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => JwtAlgorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => JwtAlgorithm::ES256,
        AlgorithmParameters::OctetKeyPair(curve) if curve.curve == EllipticCurve::Ed25519 => JwtAlgorithm::EdDSA,
        // A secret in a public document is none.
        _ => return None,
    };
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|wanted| *wanted == PublicKeyUse::Signature);
    let same = common.key_algorithm.is_none_or(|named| named == named_as(algorithm));
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (signs && same && usable(algorithm, &key)).then(|| Key { id: common.key_id.clone(), algorithm, key })
}

fn named_as(algorithm: JwtAlgorithm) -> KeyAlgorithm {
    match algorithm {
        JwtAlgorithm::HS256 => KeyAlgorithm::HS256,
        JwtAlgorithm::RS256 => KeyAlgorithm::RS256,
        JwtAlgorithm::ES256 => KeyAlgorithm::ES256,
        JwtAlgorithm::EdDSA => KeyAlgorithm::EdDSA,
    }
}

/// Whether a key has the length of its kind: an uncompressed point on P-256, 32 bytes of Ed25519.
fn usable(algorithm: JwtAlgorithm, key: &DecodingKey) -> bool {
    match (algorithm, key.try_get_as_bytes()) {
        (JwtAlgorithm::ES256, Ok(bytes)) => bytes.len() == 65 && bytes[0] == 4,
        (JwtAlgorithm::EdDSA, Ok(bytes)) => bytes.len() == 32,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens;

    fn error(result: Result<KeySet, String>) -> String {
        result.err().expect("it is refused")
    }

    #[test]
    fn secrets_are_lines_of_text_or_bytes() {
        let secrets = |bytes: &[u8]| KeySet::from_secrets(bytes).map(|set| set.len());
        assert_eq!(secrets(b"one\n\ntwo\r\n"), Ok(2));
        assert_eq!(secrets(b"one"), Ok(1));
        assert_eq!(secrets(b"\x00\xff\nbinary"), Ok(1));
        assert_eq!(secrets(b"\x01a\nb"), Ok(1));
        assert!(secrets(b" \n").is_err());
    }

    #[test]
    fn public_keys_are_read_from_pem_and_bound_to_their_algorithm() {
        let all = [tokens::RSA_PUBLIC, tokens::EC_PUBLIC, tokens::ED_PUBLIC].join("\n");
        let algorithms = KeySet::from_pem(&all).unwrap().0.iter().map(|key| key.algorithm).collect::<Vec<_>>();
        assert_eq!(algorithms, [JwtAlgorithm::RS256, JwtAlgorithm::ES256, JwtAlgorithm::EdDSA]);
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_its_remedy() {
        for (pem, remedy) in [
            ("", "no public key"),
            ("s3cret", "no public key"),
            (tokens::RSA_PRIVATE, "private key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key in PEM"),
            (tokens::P384_PUBLIC, "P-256"),
        ] {
            assert!(error(KeySet::from_pem(pem)).contains(remedy), "{pem}");
        }
    }

    #[test]
    fn of_a_key_set_only_what_signs_is_used() {
        let set = tokens::jwks(&[
            ("rs", tokens::rsa_jwk()),
            ("es", tokens::ec_jwk()),
            ("ed", tokens::ed_jwk()),
            ("enc", tokens::with(tokens::rsa_jwk(), "use", "enc")),
            ("ps", tokens::with(tokens::rsa_jwk(), "alg", "PS256")),
            ("hs", serde_json::json!({"kty": "oct", "k": "c2VjcmV0"})),
            ("odd", serde_json::json!({"kty": "quantum"})),
        ]);
        let (keys, unused) = KeySet::from_jwks(set.as_bytes()).unwrap();
        let ids: Vec<_> = keys.0.iter().map(|key| key.id.as_deref().unwrap()).collect();
        assert_eq!((ids, unused), (vec!["rs", "es", "ed"], 4));
        for bad in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[5]}"#] {
            assert!(KeySet::from_jwks(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_name_and_algorithm() {
        let set = tokens::jwks(&[("rs", tokens::rsa_jwk()), ("es", tokens::ec_jwk())]);
        let (keys, _) = KeySet::from_jwks(set.as_bytes()).unwrap();
        let found = |id, algorithm| match keys.find(id, algorithm) {
            Found::Candidates(keys) => keys.len(),
            Found::OtherAlgorithm => 100,
            Found::Nothing => 0,
        };
        assert_eq!(found(Some("rs"), JwtAlgorithm::RS256), 1);
        assert_eq!(found(None, JwtAlgorithm::RS256), 1);
        assert_eq!(found(Some("rs"), JwtAlgorithm::ES256), 100);
        assert_eq!(found(Some("gone"), JwtAlgorithm::RS256), 0);
    }
}
