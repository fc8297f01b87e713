//! What makes a setting bad that its type cannot tell.

use globset::GlobBuilder;

use super::{Config, ConfigError, Observability, Redis, Streams, Tls, Trim, TrimStrategy};
use crate::client_address::Proxies;

impl Config {
    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("maxConnections", self.max_connections as u64, 1, 1_000_000)?;
        for (index, network) in self.trusted_proxies.iter().enumerate() {
            let is_bad = |error| bad(&format!("trustedProxies[{index}]"), &format!("{network:?} {error}"));
            Proxies::parse([network]).map_err(is_bad)?;
        }
        self.tls.as_ref().map_or(Ok(()), Tls::check)?;
        self.redis.check()?;
        self.streams.check()?;
        let limits = &self.limits;
        within("limits.maxMessageBytes", limits.max_message_bytes as u64, 1, 64 << 20)?;
        within("limits.maxRoomsPerConnection", limits.max_rooms_per_connection as u64, 1, 1_000_000)?;
        within("limits.messagesPerSecond", limits.messages_per_second.into(), 1, 1_000_000)?;
        within("limits.burst", limits.burst.into(), 1, 1_000_000)?;
        within("limits.authTimeoutSeconds", limits.auth_timeout_seconds, 1, 3600)?;
        within("backpressure.maxBufferedBytes", self.backpressure.max_buffered_bytes as u64, 1024, 1 << 40)?;
        within("backpressure.totalBufferBytes", self.backpressure.total_buffer_bytes as u64, 1024, 1 << 50)?;
        within("heartbeat.intervalSeconds", self.heartbeat.interval_seconds, 1, 3600)?;
        within("heartbeat.timeoutSeconds", self.heartbeat.timeout_seconds, 1, 3600)?;
        within("drain.timeoutSeconds", self.drain.timeout_seconds, 1, 86_400)?;
        within("drain.minSeconds", self.drain.min_seconds, 0, 86_400)?;
        within("drain.resumeWindowSeconds", self.drain.resume_window_seconds, 0, 31_536_000)?;
        within("presence.leaseSeconds", self.presence.lease_seconds, 1, 3600)?;
        within("presence.maxListed", self.presence.max_listed as u64, 1, 10_000)?;
        self.affinity.as_ref().map_or(Ok(()), super::Affinity::check)?;
        self.observability.check()?;
        self.auth.check()
    }
}

impl Tls {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, file) in [("tls.certFile", &self.cert_file), ("tls.keyFile", &self.key_file)] {
            if file.as_os_str().is_empty() {
                return Err(bad(key, "is empty: name a file, such as /etc/wscluster/tls/tls.crt"));
            }
        }
        Ok(())
    }
}

impl Observability {
    fn check(&self) -> Result<(), ConfigError> {
        within("observability.sampleOneIn", self.sample_one_in.into(), 1, 1_000_000_000)?;
        let Some(url) = &self.otlp_endpoint else { return Ok(()) };
        let parsed = url.parse::<http::Uri>().ok();
        let address = parsed.filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
        match address.and_then(|url| url.authority().cloned()) {
            Some(authority) if authority.as_str().contains('@') => Err(bad(
                "observability.otlpEndpoint",
                "must not hold a user or a password: set OTEL_EXPORTER_OTLP_HEADERS in the environment",
            )),
            Some(_) => Ok(()),
            None => Err(bad("observability.otlpEndpoint", "must be an http or https URL")),
        }
    }
}

impl Redis {
    fn check(&self) -> Result<(), ConfigError> {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Err(bad("redis.keyFile", "is missing: redis.certFile needs it")),
            (None, Some(_)) => Err(bad("redis.certFile", "is missing: redis.keyFile needs it")),
            _ => Ok(()),
        }
    }
}

impl Streams {
    fn check(&self) -> Result<(), ConfigError> {
        if self.key_prefix.is_empty() || self.key_prefix.chars().any(char::is_control) {
            return Err(bad("streams.keyPrefix", "must be text without control characters, such as \"room:\""));
        }
        self.trim.check("streams.trim")?;
        within("streams.idleTtlSeconds", self.idle_ttl_seconds, 1, 31_536_000)?;
        for (index, each) in self.overrides.iter().enumerate() {
            let key = format!("streams.overrides[{index}]");
            check_glob(&format!("{key}.match"), &each.matching)?;
            each.trim.as_ref().map_or(Ok(()), |trim| trim.check(&format!("{key}.trim")))?;
            within(&format!("{key}.idleTtlSeconds"), each.idle_ttl_seconds.unwrap_or(1), 1, 31_536_000)?;
        }
        Ok(())
    }
}

impl Trim {
    fn check(&self, key: &str) -> Result<(), ConfigError> {
        within(&format!("{key}.maxLen"), self.max_len, 1, 100_000_000)?;
        match (self.strategy, self.max_age_seconds) {
            (TrimStrategy::MinId, None) => {
                Err(bad(&format!("{key}.maxAgeSeconds"), "is missing: strategy MinId needs it"))
            }
            (TrimStrategy::MaxLen, Some(_)) => {
                Err(bad(&format!("{key}.maxAgeSeconds"), "goes with strategy MinId; use maxLen with MaxLen"))
            }
            (_, age) => within(&format!("{key}.maxAgeSeconds"), age.unwrap_or(1), 1, 31_536_000),
        }
    }
}

pub(super) fn bad(key: &str, remedy: &str) -> ConfigError {
    ConfigError::Value { key: key.into(), remedy: remedy.into() }
}

pub(super) fn within(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad(key, &format!("{value} is out of range: use {least} to {most}")))
}

pub(super) fn check_glob(key: &str, glob: &str) -> Result<(), ConfigError> {
    GlobBuilder::new(glob).build().map(|_| ()).map_err(|error| bad(key, &format!("{error}: fix the pattern")))
}
