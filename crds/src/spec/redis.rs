//! The Redis that joins the gateways, and how the streams of rooms are kept.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, SecretRef, rules};

/// The Redis that joins the gateways.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.urlSecretRef)")
        .message("spec.redis needs exactly one of url and urlSecretRef"),
    validation = Rule::new("!has(self.tls) || !has(self.url) || self.url.startsWith('rediss')")
        .message("spec.redis.tls has no effect on an address without TLS: write rediss:// in spec.redis.url, or remove tls"),
)]
pub struct Redis {
    /// Address: `redis://`, `rediss://` (TLS), `redis+sentinel://host:port,…/master` or `redis+cluster://host:port,…`.
    /// A URL with a password belongs into `urlSecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^(redis|rediss|redis\\\\+sentinel|rediss\\\\+sentinel|redis\\\\+cluster|rediss\\\\+cluster)://[^\\\\s/]+')")
        .message("spec.redis.url must begin with redis://, rediss://, redis+sentinel:// or redis+cluster:// and name a host"))]
    pub url: Option<String>,
    /// The same address, from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyRef>,
    /// Certificates for `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// How room streams are named, trimmed and expired. Hot-reloaded, but for `keyPrefix`.
    #[serde(default)]
    pub streams: Streams,
}

/// Certificates for a TLS connection to Redis.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RedisTls {
    /// Secret with the certificate authority under `ca.crt`. Absent: the public authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
    /// Secret of type `kubernetes.io/tls` with the client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretRef>,
}

/// How room streams are named, trimmed and expired.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::key_prefix_stays())]
pub struct Streams {
    /// The key of a room's stream is this prefix followed by the room's id. Cannot be changed: every room would be empty.
    #[serde(default = "default_key_prefix")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::no_control_characters("spec.redis.streams.keyPrefix"))]
    pub key_prefix: String,
    /// How much of a stream is kept. Applied on every publish of ours, and by a sweep of the operator's to streams that only others write.
    #[serde(default)]
    pub trim: Trim,
    /// Seconds after which a room that nobody writes to is removed.
    #[serde(default = "default_idle_ttl_seconds")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub idle_ttl_seconds: i64,
    /// Other settings for some rooms. The first whose `match` fits wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub overrides: Vec<StreamOverride>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            key_prefix: default_key_prefix(),
            trim: Trim::default(),
            idle_ttl_seconds: default_idle_ttl_seconds(),
            overrides: Vec::new(),
        }
    }
}

/// How much of a stream is kept: a number of entries, or a time.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.strategy != 'MinId' || has(self.maxAgeSeconds)")
        .message("trim.strategy MinId needs trim.maxAgeSeconds"),
    validation = Rule::new("self.strategy != 'MaxLen' || !has(self.maxAgeSeconds)")
        .message("trim.maxAgeSeconds goes with trim.strategy MinId; use maxLen with MaxLen"),
    // 1000 is the default that an earlier version of the object was given; a user need not know to take it away.
    validation = Rule::new("self.strategy != 'MinId' || !has(self.maxLen) || self.maxLen == 1000")
        .message("trim.maxLen goes with trim.strategy MaxLen; use maxAgeSeconds with MinId"),
)]
pub struct Trim {
    /// `MaxLen` keeps a number of entries, `MinId` keeps those younger than an age.
    #[serde(default)]
    pub strategy: TrimStrategy,
    /// Entries kept, with `MaxLen`. Absent: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_len: Option<i64>,
    /// Seconds that an entry is kept, with `MinId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_age_seconds: Option<i64>,
    /// Trim with `~`, by whole macro-nodes of the stream. Much cheaper, and keeps somewhat more than asked
    /// (`MAXLEN ~ 10` may keep 100). Source: <https://redis.io/docs/latest/commands/xtrim/>.
    #[serde(default = "default_true")]
    pub approximate: bool,
}

impl Trim {
    /// Entries kept where `maxLen` is absent.
    pub const DEFAULT_MAX_LEN: i64 = 1000;

    /// The one thing that the fields say together.
    pub fn policy(&self) -> TrimPolicy {
        match (self.strategy, self.max_age_seconds) {
            (TrimStrategy::MinId, Some(seconds)) => TrimPolicy::MaxAge { seconds },
            _ => TrimPolicy::MaxLen { entries: self.max_len.unwrap_or(Self::DEFAULT_MAX_LEN) },
        }
    }
}

impl Default for Trim {
    fn default() -> Self {
        Self {
            strategy: TrimStrategy::MaxLen,
            max_len: Some(Self::DEFAULT_MAX_LEN),
            max_age_seconds: None,
            approximate: true,
        }
    }
}

/// How `Trim` decides what to keep.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrimStrategy {
    /// Keep the newest entries, by number.
    #[default]
    MaxLen,
    /// Keep the newest entries, by age.
    MinId,
}

/// `Trim`, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimPolicy {
    /// Keep this number of entries.
    MaxLen {
        /// Entries kept.
        entries: i64,
    },
    /// Keep entries younger than this.
    MaxAge {
        /// Age in seconds.
        seconds: i64,
    },
}

/// Stream settings for the rooms that match a pattern.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StreamOverride {
    /// Glob over room ids: `*` any run of characters, `?` one, `[a-z]` a set.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = rules::glob("spec.redis.streams.overrides[].match"))]
    pub pattern: String,
    /// How much of the stream is kept. Absent: as for other rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim: Option<Trim>,
    /// Seconds after which a room that nobody writes to is removed. Absent: as for other rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub idle_ttl_seconds: Option<i64>,
}

fn default_key_prefix() -> String {
    "room:".to_owned()
}
fn default_idle_ttl_seconds() -> i64 {
    86_400
}
fn default_true() -> bool {
    true
}
