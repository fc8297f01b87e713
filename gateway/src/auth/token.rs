//! Whether a token is accepted, and what it says: a function of the token, the keys, the settings and the time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::crypto;
use super::keys::{Found, KeySet};
use super::{Identity, MAX_TOKEN_BYTES, Refused};
use crate::clock::Millis;
use crate::config::{Jwt, JwtAlgorithm};

/// A token as a client sent it. Not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Header parameters that matter here (RFC 7515 section 4.1). `jwk`, `jku`, `x5c` and `x5u` are not among them: a key
/// that comes along with a token proves nothing.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// Checks a token.
pub(super) fn check(token: &str, jwt: &Jwt, keys: &KeySet, now: Millis) -> Result<Identity, Refused> {
    // Before anything else is done with it.
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refused::TooLarge);
    }
    let header = header(token)?;
    let algorithm = JwtAlgorithm::named(&header.alg).filter(|algorithm| jwt.algorithms.contains(algorithm));
    let algorithm = algorithm.ok_or(Refused::Algorithm)?;
    let claims = match keys.find(header.kid.as_deref(), algorithm) {
        Found::Candidates(candidates) => signed_by_one_of(token, algorithm, &candidates)?,
        Found::OtherAlgorithm => return Err(Refused::Algorithm),
        Found::Nothing => return Err(Refused::UnknownKey),
    };
    claims.judge(jwt, now)
}

fn header(token: &str) -> Result<Header, Refused> {
    let mut parts = token.split('.');
    let (Some(first), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refused::Malformed);
    };
    let json = URL_SAFE_NO_PAD.decode(first).map_err(|_| Refused::Malformed)?;
    let header: Header = serde_json::from_slice(&json).map_err(|_| Refused::Malformed)?;
    // What is critical must be understood (RFC 7515 section 4.1.11), and nothing is.
    if header.crit.is_some() { Err(Refused::Malformed) } else { Ok(header) }
}

fn signed_by_one_of(token: &str, algorithm: JwtAlgorithm, keys: &[&DecodingKey]) -> Result<Claims, Refused> {
    crypto::install();
    let mut validation = Validation::new(Algorithm::from(algorithm));
    // Times and names are judged by `Claims::judge`, which is told the time.
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    let mut last = Refused::Signature;
    for key in keys {
        match jsonwebtoken::decode::<Claims>(token, key, &validation) {
            Ok(data) => return Ok(data.claims),
            Err(error) => last = reason(error.kind()),
        }
        if last != Refused::Signature {
            break;
        }
    }
    Err(last)
}

fn reason(kind: &ErrorKind) -> Refused {
    match kind {
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Refused::Algorithm,
        // The header was read before: what is no JSON now is the claims, and they were signed.
        ErrorKind::Json(_) | ErrorKind::Utf8(_) => Refused::Claims,
        ErrorKind::InvalidToken | ErrorKind::Base64(_) => Refused::Malformed,
        _ => Refused::Signature,
    }
}

impl JwtAlgorithm {
    fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::HS256),
            "RS256" => Some(Self::RS256),
            "ES256" => Some(Self::ES256),
            "EdDSA" => Some(Self::EdDSA),
            _ => None,
        }
    }
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::HS256 => Self::HS256,
            JwtAlgorithm::RS256 => Self::RS256,
            JwtAlgorithm::ES256 => Self::ES256,
            JwtAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
