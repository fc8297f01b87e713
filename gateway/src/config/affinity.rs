//! The section `affinity`: the cookie by which a client that comes back finds the gateway that it was on. The keys are
//! not in it: it names their file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::check::{bad, within};
use crate::clock::Millis;

/// How a client that comes back finds the gateway that it was on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Affinity {
    /// The cookie that says where a client was.
    #[serde(default)]
    pub cookie: Cookie,
    /// File with the keys that sign it, one a line: `ID SECRET`, the secret in base64url. Followed while running.
    pub keys_file: PathBuf,
    /// Connections that may be forwarded to other gateways at once, in percent of `maxConnections`. They do not count
    /// among those; beyond it clients are served where they came.
    #[serde(default = "default_percent")]
    pub max_forwarded_percent: usize,
}

/// How the cookie is set (RFC 6265 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Seconds that it holds. It is renewed when half of them are over.
    pub max_age_seconds: u64,
    /// With which requests of other sites' pages browsers send it.
    pub same_site: SameSite,
    /// Browsers send it over TLS only.
    pub secure: bool,
}

/// With which requests of other sites' pages browsers send a cookie (RFC 6265bis section 5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameSite {
    /// Links that are followed, and no WebSockets of other sites.
    Lax,
    /// None.
    Strict,
    /// All. Browsers take it with `secure` only.
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Self { name: "wscluster".into(), max_age_seconds: 86_400, same_site: SameSite::Lax, secure: false }
    }
}

fn default_percent() -> usize {
    100
}

impl Affinity {
    /// Connections that may be forwarded at once, of a gateway that may hold so many of its own.
    pub fn most_forwarded(&self, max_connections: usize) -> usize {
        max_connections * self.max_forwarded_percent / 100
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.keys_file.as_os_str().is_empty() {
            return Err(bad("affinity.keysFile", "is empty: name the file with the keys"));
        }
        within("affinity.maxForwardedPercent", self.max_forwarded_percent as u64, 0, 100)?;
        self.cookie.check()
    }
}

impl Cookie {
    /// How long it holds, in milliseconds.
    pub fn max_age(&self) -> Millis {
        self.max_age_seconds * 1000
    }

    fn check(&self) -> Result<(), ConfigError> {
        // What is a token in HTTP (RFC 9110 section 5.6.2) but for what nobody needs.
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(sound) {
            return Err(bad("affinity.cookie.name", "must be 1 to 64 letters, digits, -, _ or ."));
        }
        within("affinity.cookie.maxAgeSeconds", self.max_age_seconds, 1, 31_536_000)?;
        let prefixed = self.name.starts_with("__Host-") || self.name.starts_with("__Secure-");
        if !self.secure && (self.same_site == SameSite::None || prefixed) {
            let remedy = "must be true with sameSite None, or a name that begins with __Host- or __Secure-: browsers drop the cookie otherwise";
            return Err(bad("affinity.cookie.secure", remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_file_of_keys_is_all_that_it_takes() {
        assert_eq!(Config::parse("").unwrap().affinity, None);
        let affinity = Config::parse("affinity: {keysFile: /k}").unwrap().affinity.unwrap();
        assert_eq!(affinity.cookie, Cookie::default());
        assert_eq!(affinity.keys_file, PathBuf::from("/k"));
        assert_eq!([0, 1, 7].map(|most| affinity.most_forwarded(most)), [0, 1, 7]);
        let half = Affinity { max_forwarded_percent: 50, ..affinity };
        assert_eq!([1, 2, 7].map(|most| half.most_forwarded(most)), [0, 1, 3]);
    }

    #[test]
    fn affinity_is_configured_or_named_with_a_remedy() {
        let parse = |fields: &str| Config::parse(&format!("affinity: {{{fields}}}"));
        for good in [
            "keysFile: /k, cookie: {name: wscluster, maxAgeSeconds: 86400, sameSite: Lax, secure: false}",
            "keysFile: /k, cookie: {name: __Host-ws, maxAgeSeconds: 1, sameSite: None, secure: true}",
            "keysFile: /k, cookie: {sameSite: Strict}, maxForwardedPercent: 0",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
        for (wrong, fault) in [
            ("cookie: {}", "keysFile"),
            ("keysFile: ''", "affinity.keysFile: is empty"),
            ("keysFile: /k, keyFile: /k", "keyFile"),
            ("keysFile: /k, cookie: {maxAge: 5}", "maxAge"),
            ("keysFile: /k, cookie: {name: ''}", "affinity.cookie.name"),
            ("keysFile: /k, cookie: {name: 'a;b'}", "affinity.cookie.name"),
            ("keysFile: /k, cookie: {name: 'a=b'}", "affinity.cookie.name"),
            ("keysFile: /k, cookie: {maxAgeSeconds: 0}", "affinity.cookie.maxAgeSeconds: 0 is out of range"),
            ("keysFile: /k, cookie: {sameSite: lax}", "Strict"),
            ("keysFile: /k, cookie: {sameSite: None}", "affinity.cookie.secure: must be true"),
            ("keysFile: /k, cookie: {name: __Secure-a}", "affinity.cookie.secure: must be true"),
            ("keysFile: /k, maxForwardedPercent: 101", "affinity.maxForwardedPercent: 101 is out of range"),
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(fault), "{wrong}: {error}");
        }
    }
}
