//! The gateways' settings files, in a ConfigMap. Everything in them is taken by a running gateway: a change moves no session.
//!
//! A gateway refuses keys that it does not know, and a fleet may run gateways of an earlier version whose pods nobody has
//! replaced since. So each generation of pod templates reads a file of its own, and the file of an earlier one has what it
//! knew then. A key that a later version adds is written only where the user set it, or begins another generation.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};
use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{
    Anonymous, BackpressurePolicy, Heartbeat, JwtAlgorithm, Limits, SameSite, StickinessMode, StreamOverride, Trim,
    TrimStrategy,
};

use super::{Wanted, pod, secrets};
use crate::kinds::Kind;
use crate::quantity;

/// Key of the ConfigMap, and name of the mounted file.
pub const FILE: &str = "gateway.v2.yaml";
/// The same for pods without a peer port, whose gateways know nothing of affinity, TLS and trusted proxies.
pub const FIRST_FILE: &str = "gateway.yaml";

/// Bytes that may wait in one pod where nothing says how much memory it has.
const TOTAL_BUFFER_BYTES: i64 = 268_435_456;

/// The ConfigMap.
pub fn config_map(wanted: &Wanted<'_>) -> Value {
    let text = |settings: &Settings<'_>| serde_yaml::to_string(settings).expect("plain data serialises");
    let mut data = BTreeMap::from([(FILE, text(&Settings::of(wanted)))]);
    if wanted.templates().any(|template| pod::settings_file(template).is_some_and(|file| file == FIRST_FILE)) {
        data.insert(FIRST_FILE, text(&Settings::of_the_first_generation(wanted)));
    }
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": wanted.metadata(Kind::ConfigMap, &BTreeMap::new()),
        "data": data,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    max_connections: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<RedisFiles>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    proxy_protocol: bool,
    streams: Streams<'a>,
    limits: &'a Limits,
    backpressure: Backpressure,
    heartbeat: &'a Heartbeat,
    drain: Drain,
    auth: Auth<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observability: Option<Observability<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    affinity: Option<Affinity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsFiles>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    trusted_proxies: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Observability<'a> {
    otlp_endpoint: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Affinity<'a> {
    cookie: Cookie<'a>,
    keys_file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cookie<'a> {
    name: &'a str,
    max_age_seconds: i64,
    same_site: SameSite,
    secure: bool,
}

/// The certificate that the gateways themselves show, and its key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TlsFiles {
    cert_file: String,
    key_file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names)] // As the gateway's settings name them.
struct RedisFiles {
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Streams<'a> {
    key_prefix: &'a str,
    trim: Trim,
    idle_ttl_seconds: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<StreamOverride>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Backpressure {
    max_buffered_bytes: i64,
    total_buffer_bytes: i64,
    policy: BackpressurePolicy,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Drain {
    timeout_seconds: i64,
    connections_per_second: i64,
    min_seconds: i64,
    resume_window_seconds: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Auth<'a> {
    allowed_origins: &'a [String],
    anonymous: Anonymous,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<Jwt<'a>>,
}

/// Secrets are named by their files.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Jwt<'a> {
    algorithms: &'a [JwtAlgorithm],
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
    leeway_seconds: i64,
}

impl<'a> Settings<'a> {
    fn of(wanted: &'a Wanted<'_>) -> Self {
        let (spec, budget) = (wanted.spec, &wanted.budget);
        Self {
            max_connections: spec.gateway.max_connections,
            redis: redis_files(spec),
            proxy_protocol: spec.service.proxy_protocol,
            streams: streams(spec),
            limits: &spec.limits,
            backpressure: Backpressure {
                max_buffered_bytes: spec.backpressure.max_buffered_bytes,
                total_buffer_bytes: total_buffer_bytes(spec),
                policy: spec.backpressure.policy,
            },
            heartbeat: &spec.heartbeat,
            drain: Drain {
                timeout_seconds: budget.timeout_seconds,
                connections_per_second: budget.connections_per_second,
                min_seconds: budget.min_seconds,
                resume_window_seconds: spec.drain.resume_window_seconds,
            },
            auth: auth(spec),
            observability: spec
                .observability
                .otlp_endpoint
                .as_deref()
                .map(|otlp_endpoint| Observability { otlp_endpoint }),
            affinity: affinity(spec),
            tls: tls(spec),
            trusted_proxies: &spec.service.trusted_proxies,
        }
    }

    /// What gateways without a peer port know.
    fn of_the_first_generation(wanted: &'a Wanted<'_>) -> Self {
        Self { observability: None, affinity: None, tls: None, trusted_proxies: &[], ..Self::of(wanted) }
    }
}

fn affinity(spec: &WsClusterSpec) -> Option<Affinity<'_>> {
    let stickiness = &spec.service.stickiness;
    let cookie = &stickiness.cookie;
    (stickiness.mode == StickinessMode::Cookie).then(|| Affinity {
        cookie: Cookie {
            name: &cookie.name,
            max_age_seconds: cookie.max_age_seconds,
            same_site: cookie.same_site,
            secure: cookie.secure.unwrap_or(spec.service.tls.is_some()),
        },
        keys_file: format!("{}/{}", pod::KEYS_DIRECTORY, super::keys::COOKIE_KEYS),
    })
}

fn tls(spec: &WsClusterSpec) -> Option<TlsFiles> {
    let file = |name| format!("{}/{name}", pod::TLS_DIRECTORY);
    spec.service.tls.as_ref()?.secret_name.as_ref()?;
    Some(TlsFiles { cert_file: file("tls.crt"), key_file: file("tls.key") })
}

/// Where the certificates for Redis are mounted.
fn redis_files(spec: &WsClusterSpec) -> Option<RedisFiles> {
    let tls = spec.redis.tls.as_ref()?;
    let own = |file| tls.client_cert_secret_ref.as_ref().map(|_| format!("{}/{file}", super::pod::REDIS_CERTIFICATE));
    Some(RedisFiles {
        ca_file: tls.ca_secret_ref.as_ref().map(|_| format!("{}/ca.crt", super::pod::REDIS_AUTHORITY)),
        cert_file: own("tls.crt"),
        key_file: own("tls.key"),
    })
}

fn auth(spec: &WsClusterSpec) -> Auth<'_> {
    let file = secrets::jwt_file;
    let jwt = spec.auth.jwt.as_ref().map(|jwt| Jwt {
        algorithms: &jwt.algorithms,
        secret_file: jwt.secret_ref.as_ref().map(|_| file()),
        public_key_file: jwt.public_key_secret_ref.as_ref().map(|_| file()),
        jwks_url: jwt.jwks_url.as_deref(),
        issuer: jwt.issuer.as_deref(),
        audience: jwt.audience.as_deref(),
        leeway_seconds: jwt.leeway_seconds,
    });
    Auth { allowed_origins: &spec.auth.allowed_origins, anonymous: spec.auth.effective_anonymous(), jwt }
}

fn streams(spec: &WsClusterSpec) -> Streams<'_> {
    let streams = &spec.redis.streams;
    let resolve = |entry: &StreamOverride| StreamOverride { trim: entry.trim.clone().map(resolved), ..entry.clone() };
    Streams {
        key_prefix: &streams.key_prefix,
        trim: resolved(streams.trim.clone()),
        idle_ttl_seconds: streams.idle_ttl_seconds,
        overrides: streams.overrides.iter().map(resolve).collect(),
    }
}

/// A trim policy with its default number written out.
fn resolved(trim: Trim) -> Trim {
    match trim.strategy {
        TrimStrategy::MaxLen => Trim { max_len: trim.max_len.or(Some(Trim::DEFAULT_MAX_LEN)), ..trim },
        TrimStrategy::MinId => trim,
    }
}

fn total_buffer_bytes(spec: &WsClusterSpec) -> i64 {
    match &spec.backpressure.total_buffer_bytes {
        IntOrString::Int(bytes) => i64::from(*bytes),
        IntOrString::String(text) => {
            let percent = text.trim_end_matches('%').parse().unwrap_or(25_i64);
            memory_limit(spec).map_or(TOTAL_BUFFER_BYTES, |limit| limit / 100 * percent)
        }
    }
}

fn memory_limit(spec: &WsClusterSpec) -> Option<i64> {
    let limits = spec.gateway.resources.as_ref()?.limits.as_ref()?;
    quantity::units(&limits.get("memory")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(yaml: &str) -> i64 {
        total_buffer_bytes(&serde_yaml::from_str(&format!("redis: {{url: redis://r:6379}}\n{yaml}")).unwrap())
    }

    #[test]
    fn a_percentage_of_buffer_is_of_the_memory_limit() {
        let limit = "gateway: {resources: {limits: {memory: 1000Mi}}}";
        assert_eq!(total(limit), 250 * 1_048_576 / 100 * 100);
        assert_eq!(total(&format!("{limit}\nbackpressure: {{totalBufferBytes: 50%}}")), 500 * 1_048_576);
    }

    #[test]
    fn without_a_memory_limit_the_gateways_own_default_holds() {
        assert_eq!(total(""), TOTAL_BUFFER_BYTES);
        assert_eq!(total("backpressure: {totalBufferBytes: 4096}"), 4096);
    }
}
