//! Which revision of the pod template a spec asks for. Pure.
//!
//! The hash covers what a *user* can see in the spec and what needs new pods. It knows nothing of the operator's own
//! version, so upgrading the operator restarts nothing.

use k8s_openapi::api::core::v1::{EnvVar, LocalObjectReference, ResourceRequirements};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{PodTemplate, RedisTls, SecretKeyRef};

use crate::budget::behind_aws;
use crate::compare::hex;
use crate::desired::secrets;

/// Hash of a revision: ten hexadecimal digits, a valid label value.
pub fn hash(spec: &WsClusterSpec) -> String {
    let visible = serde_json::to_vec(&Visible::of(spec)).expect("plain data serialises");
    hex(&Sha256::digest(visible)[..5])
}

/// The fields of a spec that make its revision, for undo. A field that is not set is null.
pub fn fields(spec: &WsClusterSpec) -> Value {
    let whole = serde_json::to_value(spec).expect("plain data serialises");
    let mut part = json!({});
    for path in FIELDS {
        let value = path.iter().try_fold(&whole, |value, key| value.get(key)).cloned().unwrap_or_default();
        let mut place = &mut part;
        for key in path {
            place = &mut place[*key];
        }
        *place = value;
    }
    part
}

/// Paths of the fields that make a revision, but for those that can never change.
const FIELDS: [&[&str]; 14] = [
    &["gateway", "image"],
    &["gateway", "imagePullPolicy"],
    &["gateway", "imagePullSecrets"],
    &["gateway", "resources"],
    &["gateway", "env"],
    &["gateway", "podTemplate"],
    &["redis", "url"],
    &["redis", "urlSecretRef"],
    &["redis", "tls"],
    &["auth", "jwt"],
    &["auth", "apiKeySecretRef"],
    // As a whole: one of its two fields alone would make a spec that is refused.
    &["service", "tls"],
    &["drain", "timeoutSeconds"],
    &["drain", "minSeconds"],
];

/// Everything that needs new pods. A field added later must be left out where it has its default, or every fleet would
/// roll when the operator that knows it comes in.
#[derive(Serialize)]
struct Visible<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_pull_policy: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    image_pull_secrets: &'a [LocalObjectReference],
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a ResourceRequirements>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [EnvVar],
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_template: Option<&'a PodTemplate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_secret: Option<&'a SecretKeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_tls: Option<&'a RedisTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_secret: Option<&'a SecretKeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_secret: Option<&'a SecretKeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_secret: Option<&'a str>,
    key_prefix: &'a str,
    drain_timeout_seconds: i64,
    drain_min_seconds: String,
    behind_aws: bool,
}

impl<'a> Visible<'a> {
    fn of(spec: &'a WsClusterSpec) -> Self {
        let min_seconds = serde_json::to_string(&spec.drain.min_seconds).expect("plain data serialises");
        Self {
            image: spec.gateway.image.as_deref(),
            image_pull_policy: spec.gateway.image_pull_policy.as_deref(),
            image_pull_secrets: &spec.gateway.image_pull_secrets,
            resources: spec.gateway.resources.as_ref(),
            env: &spec.gateway.env,
            pod_template: spec.gateway.pod_template.as_ref(),
            redis_url: spec.redis.url.as_deref(),
            redis_secret: spec.redis.url_secret_ref.as_ref(),
            redis_tls: spec.redis.tls.as_ref(),
            jwt_secret: secrets::jwt_secret(spec),
            api_key_secret: spec.auth.api_key_secret_ref.as_ref(),
            tls_secret: spec.service.tls.as_ref().and_then(|tls| tls.secret_name.as_deref()),
            key_prefix: &spec.redis.streams.key_prefix,
            drain_timeout_seconds: spec.drain.timeout_seconds,
            // Only where the grace period depends on it does the way in make a revision.
            behind_aws: min_seconds == "\"auto\"" && behind_aws(spec),
            drain_min_seconds: min_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> String {
        hash(&serde_yaml::from_str(&format!("redis: {{url: redis://r:6379}}\n{yaml}")).unwrap())
    }

    #[test]
    fn hash_of_a_plain_spec_stays_what_released_operators_computed() {
        assert_eq!(of(""), "e98e0ae075");
    }

    #[test]
    fn fields_of_a_revision_make_the_same_revision_again() {
        let spec: WsClusterSpec = serde_yaml::from_str(
            "{redis: {url: 'redis://r:6379'}, replicas: 7, gateway: {image: 'x:1', env: [{name: A, value: b}]}, drain: {timeoutSeconds: 60}}",
        )
        .unwrap();
        let fields = fields(&spec);
        assert_eq!(fields["gateway"]["podTemplate"], Value::Null);
        assert!(fields.get("replicas").is_none(), "the size of the fleet is no part of a revision");
        let other: WsClusterSpec = serde_json::from_value(crate::desired::prune(fields)).unwrap();
        assert_eq!(hash(&other), hash(&spec));
    }

    #[test]
    fn settings_that_gateways_take_while_running_make_no_revision() {
        for yaml in [
            "replicas: 9",
            "limits: {maxMessageBytes: 1000}",
            "backpressure: {policy: Resync}",
            "drain: {connectionsPerSecond: 7}",
            "heartbeat: {intervalSeconds: 30}",
            "gateway: {maxConnections: 10}",
            "auth: {allowedOrigins: ['https://a.example']}",
            "auth: {jwt: {algorithms: [RS256], jwksUrl: 'https://a.example/jwks'}}",
            "service: {port: 9000}",
            "service: {tls: {certificateArn: 'arn:x'}}",
            "service: {trustedProxies: [10.0.0.0/8]}",
            "service: {stickiness: {mode: None}}",
            "service: {stickiness: {cookie: {name: a, signingKeySecretRef: {name: a, key: b}}}}",
            "route: {ingress: {host: a.example}}",
            "disruption: {maxUnavailable: 2}",
        ] {
            assert_eq!(of(yaml), of(""), "{yaml}");
        }
    }

    #[test]
    fn what_needs_new_pods_makes_a_revision() {
        for yaml in [
            "gateway: {image: 'x:1'}",
            "gateway: {env: [{name: A, value: b}]}",
            "gateway: {resources: {limits: {memory: 1Gi}}}",
            "gateway: {podTemplate: {nodeSelector: {a: b}}}",
            "drain: {timeoutSeconds: 60}",
            "drain: {minSeconds: 0}",
            "service: {provider: none}",
            "auth: {jwt: {algorithms: [HS256], secretRef: {name: a, key: b}}}",
            "auth: {jwt: {algorithms: [ES256], publicKeySecretRef: {name: a, key: b}}}",
            "auth: {apiKeySecretRef: {name: a, key: b}}",
            "service: {tls: {secretName: a}}",
        ] {
            assert_ne!(of(yaml), of(""), "{yaml}");
        }
        assert_ne!(hash(&serde_yaml::from_str("redis: {url: redis://other:6379}").unwrap()), of(""));
    }
}
