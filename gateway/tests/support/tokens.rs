//! Tokens and keys for tests, made by hand: the gateway's own code is not what makes what it checks.
//! The keys under `keys/` were made for these tests and protect nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

pub(crate) const RSA_PRIVATE: &str = include_str!("keys/rsa.pem");
pub(crate) const OTHER_RSA_PRIVATE: &str = include_str!("keys/other-rsa.pem");
const EC_PRIVATE: &str = include_str!("keys/ec.pem");
const ED_PRIVATE: &str = include_str!("keys/ed.pem");
pub(crate) const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");
pub(crate) const EC_PUBLIC: &str = include_str!("keys/ec.pub.pem");
pub(crate) const ED_PUBLIC: &str = include_str!("keys/ed.pub.pem");
pub(crate) const P384_PUBLIC: &str = include_str!("keys/p384.pub.pem");
pub(crate) const SECRET: &str = "a secret of thirty-two bytes, or more";

/// What a token is signed with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer<'a> {
    Hs256(&'a [u8]),
    Rs256(&'a str),
    Es256,
    EdDsa,
    /// Nobody: an empty signature.
    Nothing,
}

impl Signer<'_> {
    pub(crate) fn algorithm(self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Nothing => "none",
        }
    }

    fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hs256(secret) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Rs256(pem) => {
                let key = rsa(pem);
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Es256 => ec().sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa => ed().sign(message).as_ref().to_vec(),
            Self::Nothing => Vec::new(),
        }
    }
}

/// A token with this header and these claims.
pub(crate) fn token_with(header: &Value, claims: &Value, signer: Signer<'_>) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    format!("{message}.{}", encode(&signer.sign(message.as_bytes())))
}

/// A token with these claims.
pub(crate) fn token(claims: &Value, signer: Signer<'_>) -> String {
    token_with(&json!({"alg": signer.algorithm(), "typ": "JWT"}), claims, signer)
}

/// A token of HS256 for some rooms, that expires in so many seconds.
pub(crate) fn for_rooms(user: &str, seconds: i64, subscribe: &[&str], publish: &[&str]) -> String {
    let rooms = json!({"subscribe": subscribe, "publish": publish});
    let claims = json!({"sub": user, "exp": now() + seconds, "rooms": rooms});
    token(&claims, Signer::Hs256(SECRET.as_bytes()))
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// An entry for the subprotocols that a client offers.
pub(crate) fn subprotocol(token: &str) -> String {
    format!("wscluster.bearer.{}", URL_SAFE_NO_PAD.encode(token))
}

/// A key set.
pub(crate) fn jwks(keys: &[(&str, Value)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(id, key)| with(key.clone(), "kid", id)).collect();
    json!({"keys": keys}).to_string()
}

pub(crate) fn with(mut value: Value, field: &str, text: &str) -> Value {
    value[field] = json!(text);
    value
}

pub(crate) fn rsa_jwk() -> Value {
    rsa_jwk_of(RSA_PRIVATE)
}

pub(crate) fn rsa_jwk_of(pem: &str) -> Value {
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = rsa(pem).public().into();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)})
}

pub(crate) fn ec_jwk() -> Value {
    let key = ec();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

pub(crate) fn ed_jwk() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(ed().public_key().as_ref())})
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

fn rsa(pem: &str) -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(&der(pem)).unwrap()
}

fn ec() -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(EC_PRIVATE), &SystemRandom::new()).unwrap()
}

fn ed() -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED_PRIVATE)).unwrap()
}
