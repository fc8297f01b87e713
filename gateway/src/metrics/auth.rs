//! What is measured of credentials: which were accepted, why others were not, and how it goes with the keys.

use super::names::{Counters, Float, Names};
use super::{Metrics, Snapshot};
use crate::auth::Refused;

pub(super) struct Auth {
    accepted: Counters,
    refused: Counters,
    key_files: Counters,
    key_set_fetches: Counters,
    key_set_age: Float,
}

impl Auth {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            accepted: new.counters("auth_accepted", "Credentials accepted", "credential", &["token", "api_key"]),
            refused: new.counters("auth_refused", "Credentials refused", "reason", &Refused::ALL.map(Refused::label)),
            key_files: new.counters(
                "auth_key_file_reads",
                "New contents of key files, by what became of them",
                "result",
                &["applied", "refused"],
            ),
            key_set_fetches: new.counters(
                "auth_jwks_fetches",
                "Attempts to fetch the key set",
                "result",
                &["fetched", "failed"],
            ),
            key_set_age: new.gauge(
                "auth_jwks_seconds_since_fetch",
                "Seconds since the key set was last fetched; 0 where none is used",
            ),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.key_set_age.set(now.key_set_age.unwrap_or(0.0));
    }
}

impl Metrics {
    pub(crate) fn credentials(&self, judged: Result<&'static str, Refused>) {
        match judged {
            Ok(credential) => self.auth.accepted.get_or_create(&[("credential", credential)]).inc(),
            Err(refused) => self.auth.refused.get_or_create(&[("reason", refused.label())]).inc(),
        };
    }

    pub(crate) fn key_file_read(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.auth.key_files.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn jwks_fetched(&self, fetched: bool) {
        let result = if fetched { "fetched" } else { "failed" };
        self.auth.key_set_fetches.get_or_create(&[("result", result)]).inc();
    }
}
