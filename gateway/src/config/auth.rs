//! The section `auth`: origins, tokens, and what clients without a token may do. Secrets are not in it: it names files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::check::{bad, check_glob, within};

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auth {
    /// Origins that browsers may come from: exact, or `https://*.example.com`. Empty: the same host only.
    pub allowed_origins: Vec<String>,
    /// What a client without a token may do. Absent: nothing when `jwt` is set, else everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Access>,
    /// Tokens. Absent: none are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
}

/// Rooms that may be read and written, as globs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// Rooms that may be subscribed to.
    pub subscribe: Vec<String>,
    /// Rooms that may be published to.
    pub publish: Vec<String>,
}

/// Which JSON Web Tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwt {
    /// Signature algorithms that are accepted.
    pub algorithms: Vec<JwtAlgorithm>,
    /// File with the shared secret, for HS256; several lines are several secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// File with one or more public keys in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
    /// Address of a JSON Web Key Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Required `iss`. Absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Required `aud`. Absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Seconds of clock difference tolerated for `exp` and `nbf`.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u64,
}

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

fn default_leeway() -> u64 {
    30
}

impl Auth {
    /// What a client without a token may do, with the default resolved.
    pub fn effective_anonymous(&self) -> Access {
        let everything = || Access { subscribe: vec!["*".into()], publish: vec!["*".into()] };
        let default = || if self.jwt.is_some() { Access::default() } else { everything() };
        self.anonymous.clone().unwrap_or_else(default)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (index, origin) in self.allowed_origins.iter().enumerate() {
            if !origin.contains("://") || origin.ends_with('/') {
                let remedy =
                    format!("{origin:?} is no origin: write scheme://host[:port], such as https://example.com");
                return Err(bad(&format!("auth.allowedOrigins[{index}]"), &remedy));
            }
        }
        let Access { subscribe, publish } = self.effective_anonymous();
        for (name, globs) in [("subscribe", &subscribe), ("publish", &publish)] {
            for (index, glob) in globs.iter().enumerate() {
                check_glob(&format!("auth.anonymous.{name}[{index}]"), glob)?;
            }
        }
        self.jwt.as_ref().map_or(Ok(()), Jwt::check)
    }
}

impl Jwt {
    fn check(&self) -> Result<(), ConfigError> {
        if self.algorithms.is_empty() {
            return Err(bad("auth.jwt.algorithms", "is empty: name at least one of HS256, RS256, ES256, EdDSA"));
        }
        let sources = [self.secret_file.is_some(), self.public_key_file.is_some(), self.jwks_url.is_some()];
        if sources.iter().filter(|set| **set).count() != 1 {
            return Err(bad("auth.jwt", "set exactly one of secretFile, publicKeyFile and jwksUrl"));
        }
        // A public key must never serve as a secret (RFC 8725 section 2.1).
        if self.algorithms.iter().any(|each| (*each == JwtAlgorithm::HS256) != self.secret_file.is_some()) {
            let remedy = "HS256 goes with secretFile, all others with publicKeyFile or jwksUrl";
            return Err(bad("auth.jwt.algorithms", remedy));
        }
        self.jwks_url.as_deref().map_or(Ok(()), check_url)?;
        within("auth.jwt.leewaySeconds", self.leeway_seconds, 0, 300)
    }
}

fn check_url(url: &str) -> Result<(), ConfigError> {
    let bad = |remedy: &str| Err(bad("auth.jwt.jwksUrl", remedy));
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            bad("must not hold a user or a password: a key set is public")
        }
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() => Ok(()),
        _ => bad("is no http or https URL"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Access, Config, InForce};

    #[test]
    fn without_tokens_everybody_may_everything_and_with_tokens_nothing() {
        let anonymous = |yaml: &str| Config::parse(yaml).unwrap().auth.effective_anonymous();
        assert_eq!(anonymous("").subscribe, ["*"]);
        assert_eq!(anonymous("auth: {jwt: {algorithms: [HS256], secretFile: /s}}"), Access::default());
        let said = "auth: {jwt: {algorithms: [HS256], secretFile: /s}, anonymous: {subscribe: [a]}}";
        assert_eq!(anonymous(said), Access { subscribe: vec!["a".into()], publish: vec![] });
        let required = |yaml: &str| InForce::from(Config::parse(yaml).unwrap()).token_required();
        assert!(!required("") && !required(said));
        assert!(required("auth: {jwt: {algorithms: [HS256], secretFile: /s}}"));
    }

    #[test]
    fn tokens_are_configured_or_named_with_a_remedy() {
        let jwt = |fields: &str| Config::parse(&format!("auth: {{jwt: {{{fields}}}}}"));
        for good in [
            "algorithms: [HS256], secretFile: /s",
            "algorithms: [RS256, ES256, EdDSA], publicKeyFile: /k",
            "algorithms: [RS256], jwksUrl: 'https://id.example.com/jwks', issuer: i, audience: a, leewaySeconds: 0",
            "algorithms: [RS256], jwksUrl: 'http://id:8080/jwks', leewaySeconds: 300",
        ] {
            assert!(jwt(good).is_ok(), "{good}: {:?}", jwt(good));
        }
        for (wrong, fault) in [
            ("algorithms: [HS256]", "auth.jwt: set exactly one"),
            ("algorithms: [HS256], secretFile: /s, jwksUrl: 'http://a'", "auth.jwt: set exactly one"),
            ("algorithms: [], secretFile: /s", "auth.jwt.algorithms: is empty"),
            ("algorithms: [none], secretFile: /s", "auth.jwt.algorithms"),
            ("secretFile: /s", "algorithms"),
            ("algorithms: [HS256], publicKeyFile: /k", "auth.jwt.algorithms: HS256 goes with secretFile"),
            ("algorithms: [HS256, RS256], publicKeyFile: /k", "auth.jwt.algorithms: HS256 goes with secretFile"),
            ("algorithms: [RS256], secretFile: /s", "auth.jwt.algorithms: HS256 goes with secretFile"),
            ("algorithms: [RS256], jwksUrl: 'ftp://a/b'", "auth.jwt.jwksUrl: is no http"),
            ("algorithms: [RS256], jwksUrl: '/jwks'", "auth.jwt.jwksUrl: is no http"),
            ("algorithms: [RS256], jwksUrl: 'https://me:s3cret@a/b'", "auth.jwt.jwksUrl: must not hold a user"),
            ("algorithms: [HS256], secretFile: /s, leewaySeconds: 301", "auth.jwt.leewaySeconds: 301 is out of range"),
            ("algorithms: [HS256], secret: s3cret", "secret"),
        ] {
            let error = jwt(wrong).unwrap_err().to_string();
            assert!(error.contains(fault) && !error.contains("s3cret"), "{wrong}: {error}");
        }
    }
}
