//! The gateway's settings: the file's format, its defaults, and what makes a value bad. Reading and watching the file
//! is `watch`'s; flags and environment are `cli`'s.

mod affinity;
mod auth;
mod changes;
mod check;
mod in_force;
pub mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use affinity::{Affinity, Cookie, SameSite};
pub use auth::{Access, Auth, Jwt, JwtAlgorithm};
pub use in_force::{InForce, Retention};

use crate::clock::Millis;
use crate::entry::EntryId;

/// Settings that may change while the gateway runs.
pub type Shared = Arc<ArcSwap<InForce>>;

/// Makes settings shareable.
pub fn share(config: Config) -> Shared {
    Arc::new(ArcSwap::from_pointee(config.into()))
}

/// Why settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No valid YAML, an unknown key, or a value of the wrong type: the text names key and line.
    #[error("{0}")]
    Format(String),
    /// A value that cannot be.
    #[error("{key}: {remedy}")]
    Value {
        /// The key, from the root: `limits.burst`.
        key: String,
        /// What to write instead.
        remedy: String,
    },
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// The settings of the file `gateway.yaml`. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Connections beyond this are refused with 503.
    pub max_connections: usize,
    /// Clients come through a load balancer that sends the PROXY protocol, version 2, first. Connections without it are
    /// closed.
    pub proxy_protocol: bool,
    /// Networks of proxies whose `X-Forwarded-For` and `Forwarded` are believed, in CIDR notation. Empty: nobody's.
    pub trusted_proxies: Vec<String>,
    /// TLS on the public port. Absent: plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Certificates for Redis with TLS. Read once, at the start; the files anew with every connection.
    pub redis: Redis,
    /// How streams of rooms are named, trimmed and expired.
    pub streams: Streams,
    /// What one client may do.
    pub limits: Limits,
    /// What happens to a client that does not keep up.
    pub backpressure: Backpressure,
    /// The server's pings.
    pub heartbeat: Heartbeat,
    /// How the gateway is emptied.
    pub drain: Drain,
    /// How it is kept who is in which room.
    pub presence: Presence,
    /// Who may do what.
    pub auth: Auth,
    /// How a client that comes back finds the gateway that it was on. Absent: it is served wherever it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Where traces go.
    pub observability: Observability,
    /// Serve an example chat page under `/demo/`.
    pub demo: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 50_000,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            tls: None,
            redis: Redis::default(),
            streams: Streams::default(),
            limits: Limits::default(),
            backpressure: Backpressure::default(),
            heartbeat: Heartbeat::default(),
            drain: Drain::default(),
            presence: Presence::default(),
            auth: Auth::default(),
            affinity: None,
            observability: Observability::default(),
            demo: false,
        }
    }
}

/// What the public port shows clients, as PEM files that are followed while running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// The gateway's certificate, and what links it to an authority.
    pub cert_file: PathBuf,
    /// The key of `certFile`.
    pub key_file: PathBuf,
}

/// Certificates for Redis with TLS, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redis {
    /// The authority that signed the server's certificate. Absent: the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The gateway's own certificate; goes with `keyFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The key of `certFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// How streams of rooms are named, trimmed and expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Streams {
    /// The key of a room's stream is this prefix followed by the room's id. Read once, at the start.
    pub key_prefix: String,
    /// How much is kept, applied on every publish.
    pub trim: Trim,
    /// A room that nobody writes to for so many seconds is removed.
    pub idle_ttl_seconds: u64,
    /// Other settings for some rooms: the first whose `match` fits wins.
    pub overrides: Vec<StreamOverride>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { key_prefix: "room:".into(), trim: Trim::default(), idle_ttl_seconds: 86_400, overrides: Vec::new() }
    }
}

/// How much of a stream is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Trim {
    /// By number or by age.
    pub strategy: TrimStrategy,
    /// Entries kept, with `MaxLen`.
    pub max_len: u64,
    /// Seconds that an entry is kept, with `MinId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// Trim by whole macro-nodes of the stream: much cheaper, and keeps somewhat more.
    pub approximate: bool,
}

impl Default for Trim {
    fn default() -> Self {
        Self { strategy: TrimStrategy::MaxLen, max_len: 1000, max_age_seconds: None, approximate: true }
    }
}

impl Trim {
    /// The oldest id kept at `now`, with `MinId`.
    pub fn oldest_kept(&self, now: Millis) -> Option<EntryId> {
        let age = self.max_age_seconds.filter(|_| self.strategy == TrimStrategy::MinId)?;
        Some(EntryId { ms: now.saturating_sub(age * 1000), seq: 0 })
    }
}

/// By what a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrimStrategy {
    /// By number of entries.
    MaxLen,
    /// By age of entries.
    MinId,
}

/// Other settings for some rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamOverride {
    /// Glob over room ids.
    #[serde(rename = "match")]
    pub matching: String,
    /// How much is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim: Option<Trim>,
    /// A room that nobody writes to for so many seconds is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ttl_seconds: Option<u64>,
}

/// What one client may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Longest message, in bytes; a longer one closes the connection with 1009.
    pub max_message_bytes: usize,
    /// Rooms of one connection.
    pub max_rooms_per_connection: usize,
    /// Requests per second of one connection, in the long run.
    pub messages_per_second: u32,
    /// Requests that one connection may make at once.
    pub burst: u32,
    /// Connections from one address; 0 is no limit.
    pub connections_per_ip: u32,
    /// Handshakes per second; beyond it 503. Those of TLS are counted by themselves; beyond it they are closed. 0 is no
    /// limit.
    pub handshakes_per_second: u32,
    /// Seconds until a client must have shown its token.
    pub auth_timeout_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 65_536,
            max_rooms_per_connection: 100,
            messages_per_second: 50,
            burst: 100,
            connections_per_ip: 0,
            handshakes_per_second: 2000,
            auth_timeout_seconds: 10,
        }
    }
}

/// What happens to a client that does not keep up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backpressure {
    /// Bytes that may wait for one client.
    pub max_buffered_bytes: usize,
    /// Bytes that may wait for all clients together.
    pub total_buffer_bytes: usize,
    /// What to do beyond it.
    pub policy: Policy,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self { max_buffered_bytes: 1_000_000, total_buffer_bytes: 268_435_456, policy: Policy::Disconnect }
    }
}

/// What to do with a client that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// Close with 1013.
    Disconnect,
    /// Drop the messages that wait and tell the client of the hole with `resync`. Raw clients, which cannot be told, are
    /// closed with 1013.
    Resync,
}

/// The server's pings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Heartbeat {
    /// Seconds between pings.
    pub interval_seconds: u64,
    /// Seconds that the answer may take; then the connection is closed with 4408.
    pub timeout_seconds: u64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_seconds: 25, timeout_seconds: 10 }
    }
}

/// How the gateway is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// Seconds that clients have to move, after `minSeconds`; the rest is closed.
    pub timeout_seconds: u64,
    /// Clients told to move per second; 0: all within half of `timeoutSeconds`.
    pub connections_per_second: u32,
    /// Seconds of waiting until load balancers have let go, before the first client is told.
    pub min_seconds: u64,
    /// Seconds after a disconnect during which a resume is expected to find everything.
    pub resume_window_seconds: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: 300, connections_per_second: 0, min_seconds: 0, resume_window_seconds: 120 }
    }
}

/// How it is kept who is in which room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Presence {
    /// Seconds after which the members of a gateway that was killed have left.
    pub lease_seconds: u64,
    /// Members of a room that are named; of a larger room it is told how many there are.
    pub max_listed: usize,
}

impl Default for Presence {
    fn default() -> Self {
        Self { lease_seconds: 30, max_listed: 1000 }
    }
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Observability {
    /// The base URL of an OTLP receiver that takes HTTP with protobuf. Absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Of so many things that nobody else traces one is traced. A request with a sampled `traceparent` always is.
    pub sample_one_in: u32,
}

impl Default for Observability {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample_one_in: 100 }
    }
}

impl Config {
    /// Reads the settings from YAML and checks them.
    pub fn parse(yaml: &str) -> Result<Self, ConfigError> {
        let config: Option<Self> =
            serde_yaml::from_str(yaml).map_err(|error| ConfigError::Format(error.to_string()))?;
        let config = config.unwrap_or_default();
        config.check()?;
        Ok(config)
    }

    /// A short digest of the settings, to see from outside which ones are in force.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(serde_json::to_vec(self).expect("settings have string keys only"));
        digest.iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults() {
        for empty in ["", "{}", "# nothing\n"] {
            assert_eq!(Config::parse(empty), Ok(Config::default()), "{empty:?}");
        }
    }

    #[test]
    fn the_documented_file_is_accepted() {
        let yaml = r#"
maxConnections: 50000
proxyProtocol: false
trustedProxies: ["10.0.0.0/8", "fd00::/8"]
tls: {certFile: /etc/wscluster/tls/tls.crt, keyFile: /etc/wscluster/tls/tls.key}
streams: {keyPrefix: "room:", trim: {strategy: MaxLen, maxLen: 1000, approximate: true}, idleTtlSeconds: 86400, overrides: [{match: "news:*", trim: {strategy: MinId, maxAgeSeconds: 60}, idleTtlSeconds: 60}]}
limits: {maxMessageBytes: 65536, maxRoomsPerConnection: 100, messagesPerSecond: 50, burst: 100, connectionsPerIp: 0, handshakesPerSecond: 2000, authTimeoutSeconds: 10}
backpressure: {maxBufferedBytes: 1000000, totalBufferBytes: 268435456, policy: Disconnect}
heartbeat: {intervalSeconds: 25, timeoutSeconds: 10}
drain: {timeoutSeconds: 300, connectionsPerSecond: 0, minSeconds: 5, resumeWindowSeconds: 120}
presence: {leaseSeconds: 30, maxListed: 1000}
auth: {allowedOrigins: [], anonymous: {subscribe: ["*"], publish: ["*"]}, jwt: {algorithms: [RS256], jwksUrl: "https://id.example.com/jwks.json", issuer: "https://id.example.com", audience: chat, leewaySeconds: 30}}
observability: {sampleOneIn: 100}
"#;
        let config = Config::parse(yaml).unwrap();
        assert_eq!(config.drain.min_seconds, 5);
        assert_eq!(config.streams.overrides[0].trim.as_ref().unwrap().max_age_seconds, Some(60));
        assert_eq!(config.auth.jwt.as_ref().unwrap().audience.as_deref(), Some("chat"));
        assert_eq!(config.tls.as_ref().unwrap().key_file, PathBuf::from("/etc/wscluster/tls/tls.key"));
        let (trusted_proxies, tls) = (Vec::new(), None);
        assert_eq!(
            Config {
                drain: Drain::default(),
                streams: Streams::default(),
                auth: Auth::default(),
                trusted_proxies,
                tls,
                ..config
            },
            Config::default()
        );
    }

    #[test]
    fn a_bad_setting_is_named_with_its_remedy() {
        let cases = [
            ("maxConections: 5", "maxConections"),
            ("limits: {bust: 5}", "bust"),
            ("limits: {burst: many}", "limits.burst"),
            ("limits: {burst: 0}", "limits.burst: 0 is out of range: use 1 to 1000000"),
            ("maxConnections: -1", "maxConnections"),
            ("streams: {trim: {strategy: Newest}}", "MaxLen"),
            ("streams: {trim: {strategy: MinId}}", "streams.trim.maxAgeSeconds: is missing"),
            ("streams: {trim: {maxAgeSeconds: 5}}", "streams.trim.maxAgeSeconds: goes with strategy MinId"),
            ("streams: {overrides: [{match: \"[\"}]}", "streams.overrides[0].match"),
            ("streams: {overrides: [{}]}", "match"),
            ("streams: {keyPrefix: \"\"}", "streams.keyPrefix"),
            ("auth: {allowedOrigins: [example.com]}", "auth.allowedOrigins[0]"),
            ("auth: {anonymous: {publish: [\"{a\"]}}", "auth.anonymous.publish[0]"),
            ("redis: {certFile: a}", "redis.keyFile"),
            ("redis: {keyFile: a}", "redis.certFile"),
            ("trustedProxies: [10.0.0.0/8, 10.0.0.1]", "trustedProxies[1]: \"10.0.0.1\" is no network"),
            ("trustedProxies: 10.0.0.0/8", "trustedProxies"),
            ("tls: {certFile: a}", "keyFile"),
            ("tls: {keyFile: a}", "certFile"),
            ("tls: {certFile: a, keyFile: b, caFile: c}", "caFile"),
            ("tls: {certFile: a, keyFile: \"\"}", "tls.keyFile: is empty"),
            ("observability: {otlpEndpoint: \"collector:4317\"}", "observability.otlpEndpoint"),
            ("observability: {otlpEndpoint: \"http://u:p@c\"}", "observability.otlpEndpoint: must not hold a user"),
            ("observability: {sampleOneIn: 0}", "observability.sampleOneIn"),
            ("- 1", "invalid type"),
        ];
        for (yaml, fault) in cases {
            let error = Config::parse(yaml).unwrap_err().to_string();
            assert!(error.contains(fault), "{yaml}: {error}");
        }
    }

    #[test]
    fn the_digest_follows_the_settings() {
        let other = Config { max_connections: 7, ..Config::default() };
        assert_eq!(Config::default().hash(), Config::default().hash());
        assert_ne!(Config::default().hash(), other.hash());
    }
}
