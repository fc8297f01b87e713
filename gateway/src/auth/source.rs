//! Where the keys of `auth.jwt` come from: a file or an address. Says whether what it holds is still what is configured.

use std::path::Path;
use std::sync::Arc;

use super::file::KeyFile;
use super::jwks::{Jwks, Timing};
use super::keys::KeySet;
use super::{Identity, Refused, token};
use crate::clock;
use crate::config::Jwt;
use crate::metrics::Metrics;

/// Keys that tokens are checked with.
pub(super) enum Source {
    Secrets(KeyFile<KeySet>),
    PublicKeys(KeyFile<KeySet>),
    Published { url: String, keys: Jwks },
}

impl Source {
    /// The source that is configured.
    pub(super) fn open(jwt: &Jwt, timing: Timing, metrics: &Arc<Metrics>) -> Option<Self> {
        let Jwt { secret_file, public_key_file, jwks_url, .. } = jwt;
        if let Some(path) = secret_file {
            return Some(Self::Secrets(KeyFile::open(path.clone(), KeySet::from_secrets, metrics)));
        }
        if let Some(path) = public_key_file {
            return Some(Self::PublicKeys(KeyFile::open(path.clone(), public_keys, metrics)));
        }
        let url = jwks_url.clone()?;
        let keys = Jwks::start(url.parse().ok()?, timing, Arc::clone(metrics));
        Some(Self::Published { url, keys })
    }

    /// Whether it is the one that is configured.
    pub(super) fn is_of(&self, jwt: &Jwt) -> bool {
        let same = |path: &Path, wanted: Option<&Path>| wanted == Some(path);
        match self {
            Self::Secrets(file) => same(file.path(), jwt.secret_file.as_deref()),
            Self::PublicKeys(file) => same(file.path(), jwt.public_key_file.as_deref()),
            Self::Published { url, .. } => jwt.jwks_url.as_ref() == Some(url),
        }
    }

    /// Checks a token.
    pub(super) async fn check(&self, token: &str, jwt: &Jwt) -> Result<Identity, Refused> {
        match self {
            Self::Published { keys, .. } => keys.check(token, jwt).await,
            Self::Secrets(file) | Self::PublicKeys(file) => {
                let keys = file.keys().ok_or(Refused::KeysUnavailable)?;
                token::check(token, jwt, &keys, clock::now())
            }
        }
    }

    /// Looks at the file, if there is one.
    pub(super) fn reload(&self, metrics: &Metrics) {
        if let Self::Secrets(file) | Self::PublicKeys(file) = self {
            file.reload(metrics);
        }
    }

    /// Seconds since a published set was last fetched.
    pub(super) fn age(&self) -> Option<f64> {
        if let Self::Published { keys, .. } = self { Some(keys.age()) } else { None }
    }
}

fn public_keys(bytes: &[u8]) -> Result<KeySet, String> {
    KeySet::from_pem(&String::from_utf8_lossy(bytes))
}
