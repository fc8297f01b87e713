//! Who a client is, and what it may do. Decisions are pure (`identity`, `patterns`); this file holds the keys that
//! credentials are checked with and follows their files.

mod api_keys;
mod identity;
mod patterns;
mod refused;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};

pub use api_keys::ApiKeys;
pub(crate) use identity::written;
pub use identity::{Caller, Identity, may_publish, may_subscribe};
pub use patterns::{InvalidPattern, Patterns};
pub use refused::Refused;

use crate::config;

/// Longest token, in bytes. It is checked before anything else is done with it.
pub const MAX_TOKEN_BYTES: usize = 8192;

const POLL: Duration = Duration::from_secs(1);

/// Checks credentials.
pub struct Authenticator {
    #[allow(dead_code)] // Read once tokens are.
    settings: config::Shared,
    api_key_file: Option<PathBuf>,
    api_keys: ArcSwap<ApiKeys>,
}

impl Authenticator {
    /// Checks credentials with the keys in `api_key_file`, if any, and follows that file.
    pub fn start(settings: config::Shared, api_key_file: Option<PathBuf>) -> Arc<Self> {
        let authenticator = Arc::new(Self::new(settings, api_key_file));
        tokio::spawn(follow(Arc::downgrade(&authenticator)));
        authenticator
    }

    fn new(settings: config::Shared, api_key_file: Option<PathBuf>) -> Self {
        let authenticator = Self { settings, api_key_file, api_keys: ArcSwap::default() };
        authenticator.reload();
        authenticator
    }

    /// Who makes an HTTP call: `Authorization: Bearer <API key or token>`, or nobody in particular.
    #[allow(clippy::unused_async)] // A token's key may have to be fetched.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        match bearer(headers)? {
            None => Ok(Caller::Anonymous),
            Some(shown) if self.api_keys.load().contain(shown) => Ok(Caller::ApiKey),
            Some(token) => self.verify(token).await.map(|identity| Caller::Token(Arc::new(identity))),
        }
    }

    /// Checks a token.
    #[allow(clippy::unused_async)] // Its key may have to be fetched.
    pub async fn verify(&self, _token: &str) -> Result<Identity, Refused> {
        Err(Refused::NotConfigured)
    }

    /// Reads the key file again. One that cannot be read leaves the keys as they were.
    pub fn reload(&self) {
        let Some(path) = &self.api_key_file else { return };
        match ApiKeys::read(path) {
            Ok(keys) if keys == **self.api_keys.load() => {}
            Ok(keys) => {
                tracing::info!(path = %path.display(), ?keys, "API keys loaded");
                self.api_keys.store(Arc::new(keys));
            }
            Err(reason) => refused_file(path, &reason),
        }
    }
}

/// Looks at the files as long as somebody needs them. They are small, so they are read and compared each time: a
/// Secret's volume swaps a symbolic link, which a stamp of the file could miss.
async fn follow(authenticator: Weak<Authenticator>) {
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        let Some(authenticator) = authenticator.upgrade() else { return };
        authenticator.reload();
    }
}

fn refused_file(path: &Path, reason: &str) {
    tracing::error!(path = %path.display(), reason, "the key file was refused; the keys stay as they were");
}

/// The credentials of `Authorization: Bearer` (RFC 6750 section 2.1). Other schemes are not ours to judge.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let Some((scheme, rest)) = value.as_bytes().split_at_checked(7) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Ok(None);
    }
    std::str::from_utf8(rest).map(|token| Some(token.trim())).map_err(|_| Refused::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, share};

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_caller_is_known_by_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-key");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let auth = Authenticator::new(share(Config::default()), Some(path.clone()));
        assert_eq!(auth.caller(&HeaderMap::new()).await, Ok(Caller::Anonymous));
        assert_eq!(auth.caller(&headers("Bearer one")).await, Ok(Caller::ApiKey));
        assert_eq!(auth.caller(&headers("bearer two")).await, Ok(Caller::ApiKey));
        assert_eq!(auth.caller(&headers("Basic b25l")).await, Ok(Caller::Anonymous));
        for wrong in ["Bearer three", "Bearer ", "Bearer on", "Bearer one two"] {
            assert!(auth.caller(&headers(wrong)).await.is_err(), "{wrong}");
        }
        std::fs::write(&path, "three").unwrap();
        auth.reload();
        assert_eq!(auth.caller(&headers("Bearer three")).await, Ok(Caller::ApiKey));
        assert!(auth.caller(&headers("Bearer one")).await.is_err());
        std::fs::remove_file(&path).unwrap();
        auth.reload();
        assert_eq!(auth.caller(&headers("Bearer three")).await, Ok(Caller::ApiKey), "the keys stay as they were");
    }

    #[tokio::test]
    async fn without_keys_nothing_passes_for_one() {
        let auth = Authenticator::new(share(Config::default()), None);
        for wrong in ["Bearer ", "Bearer x"] {
            assert!(auth.caller(&headers(wrong)).await.is_err(), "{wrong}");
        }
    }
}
