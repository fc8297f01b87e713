//! Who a client is, and what it may do. Decisions are pure (`identity`, `patterns`, `token`, `claims`); this file holds
//! the keys that credentials are checked with, as the settings name them.

mod api_keys;
mod claims;
mod crypto;
mod file;
mod identity;
mod jwks;
mod keys;
mod patterns;
mod refused;
mod shown;
mod source;
mod token;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use parking_lot::Mutex;

pub use api_keys::ApiKeys;
pub(crate) use identity::written;
pub use identity::{Caller, Identity, may_publish, may_subscribe};
pub use patterns::{InvalidPattern, Patterns};
pub use refused::Refused;
pub use shown::SUBPROTOCOL_PREFIX;
pub(crate) use shown::{Way, in_handshake};
pub use token::Token;

use crate::config::{self, Jwt};
use crate::metrics::Metrics;
pub(crate) use file::KeyFile;
use jwks::Timing;
use source::Source;

/// Longest token, in bytes. It is checked before anything else is done with it.
pub const MAX_TOKEN_BYTES: usize = 8192;

const POLL: Duration = Duration::from_secs(1);

/// Checks credentials.
pub struct Authenticator {
    settings: config::Shared,
    metrics: Arc<Metrics>,
    api_keys: Option<KeyFile<ApiKeys>>,
    source: ArcSwapOption<Source>,
    switching: Mutex<()>,
}

impl Authenticator {
    /// Checks credentials with the keys in `api_key_file`, if any, and with those that the settings name. Follows both.
    pub fn start(settings: config::Shared, api_key_file: Option<PathBuf>, metrics: Arc<Metrics>) -> Arc<Self> {
        let authenticator = Arc::new(Self::new(settings, api_key_file, metrics));
        authenticator.reload();
        tokio::spawn(follow(Arc::downgrade(&authenticator)));
        authenticator
    }

    fn new(settings: config::Shared, api_key_file: Option<PathBuf>, metrics: Arc<Metrics>) -> Self {
        let api_keys = api_key_file.map(|path| KeyFile::open(path, ApiKeys::understand, &metrics));
        Self { settings, metrics, api_keys, source: ArcSwapOption::empty(), switching: Mutex::new(()) }
    }

    /// Who makes an HTTP call: `Authorization: Bearer <API key or token>`, or nobody in particular.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let caller = self.judge_caller(headers).await;
        match &caller {
            Ok(Caller::Anonymous) => {}
            Ok(Caller::ApiKey) => self.metrics.credentials(Ok("api_key")),
            Ok(Caller::Token(_)) => self.metrics.credentials(Ok("token")),
            Err(refused) => self.metrics.credentials(Err(*refused)),
        }
        caller
    }

    async fn judge_caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let Some(shown) = shown::in_header(headers)? else { return Ok(Caller::Anonymous) };
        if self.api_keys.as_ref().and_then(KeyFile::keys).is_some_and(|keys| keys.contain(shown)) {
            return Ok(Caller::ApiKey);
        }
        match self.judge(shown).await {
            Ok(identity) => Ok(Caller::Token(Arc::new(identity))),
            Err(Refused::Malformed | Refused::NotConfigured) => Err(Refused::UnknownApiKey),
            Err(refused) => Err(refused),
        }
    }

    /// Checks a token.
    pub async fn verify(&self, token: &str) -> Result<Identity, Refused> {
        let judged = self.judge(token).await;
        self.metrics.credentials(judged.as_ref().map(|_| "token").map_err(|refused| *refused));
        judged
    }

    async fn judge(&self, token: &str) -> Result<Identity, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused::TooLarge);
        }
        let config = self.settings.load_full();
        let jwt = config.auth.jwt.as_ref().ok_or(Refused::NotConfigured)?;
        self.source(jwt).ok_or(Refused::KeysUnavailable)?.check(token, jwt).await
    }

    /// The keys that the settings name. Others are let go at once: keys of old settings prove nothing.
    fn source(&self, jwt: &Jwt) -> Option<Arc<Source>> {
        let current = || self.source.load_full().filter(|source| source.is_of(jwt));
        current().or_else(|| {
            let _one_at_a_time = self.switching.lock();
            current().or_else(|| {
                let new = Source::open(jwt, Timing::default(), &self.metrics).map(Arc::new);
                self.source.store(new.clone());
                new
            })
        })
    }

    /// Looks at the files, and at which of them the settings name.
    fn reload(&self) {
        if let Some(file) = &self.api_keys {
            file.reload(&self.metrics);
        }
        match &self.settings.load().auth.jwt {
            None => self.source.store(None),
            Some(jwt) => drop(self.source(jwt).map(|source| source.reload(&self.metrics))),
        }
    }

    /// Seconds since a published key set was last fetched, where one is used.
    pub fn key_set_age(&self) -> Option<f64> {
        self.source.load().as_ref()?.age()
    }
}

/// Looks at the files as long as somebody needs them.
async fn follow(authenticator: Weak<Authenticator>) {
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        let Some(authenticator) = authenticator.upgrade() else { return };
        authenticator.reload();
    }
}

#[cfg(test)]
mod tests;
