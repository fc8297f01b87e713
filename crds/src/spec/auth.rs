//! Who may connect, subscribe and publish.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, rules};

/// Who may connect, subscribe and publish. Hot-reloaded: changing it moves no session, and neither does a change of a
/// Secret that it names. Naming another Secret makes a new revision, because pods have to mount it.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Browser origins that may connect: exact (`https://chat.example.com`) or any subdomain (`https://*.example.com`).
    /// Empty: the same host only. A client that sends no `Origin` header is not a browser and passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 300)))]
    #[x_kube(validation = Rule::new("self.all(o, o.matches('^https?://([*][.])?[A-Za-z0-9.-]+(:[0-9]+)?$'))")
        .message("spec.auth.allowedOrigins must look like https://chat.example.com or https://*.example.com, without a path"))]
    pub allowed_origins: Vec<String>,
    /// Tokens. Absent: clients are anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// What a client without a token may do. Absent: nothing when `jwt` is set, else everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Anonymous>,
    /// Key for the HTTP publish API. Absent: generated into the Secret `<name>-keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyRef>,
}

impl Auth {
    /// What a client without a token may do, with the default resolved.
    pub fn effective_anonymous(&self) -> Anonymous {
        match (&self.anonymous, &self.jwt) {
            (Some(anonymous), _) => anonymous.clone(),
            (None, Some(_)) => Anonymous::default(),
            (None, None) => Anonymous { subscribe: vec!["*".to_owned()], publish: vec!["*".to_owned()] },
        }
    }
}

/// JSON Web Tokens. Claims used: `sub`, `exp`, `rooms: {subscribe: [glob], publish: [glob]}`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.secretRef), has(self.publicKeySecretRef), has(self.jwksUrl)].filter(x, x).size() == 1")
        .message("spec.auth.jwt needs exactly one of secretRef, publicKeySecretRef and jwksUrl"),
    validation = Rule::new("has(self.secretRef) ? self.algorithms.all(a, a == 'HS256') : self.algorithms.all(a, a != 'HS256')")
        .message("spec.auth.jwt.algorithms: HS256 goes with secretRef, all others with publicKeySecretRef or jwksUrl"),
)]
pub struct Jwt {
    /// Signature algorithms that are accepted.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub algorithms: Vec<JwtAlgorithm>,
    /// Shared secret, for HS256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// Public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_secret_ref: Option<SecretKeyRef>,
    /// Address of a JSON Web Key Set, fetched, cached and rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(
        validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https']").message("spec.auth.jwt.jwksUrl must be an http or https URL"),
        validation = rules::no_credentials("spec.auth.jwt.jwksUrl must not hold a user or a password, for a key set is public: take them out, or name the key itself with spec.auth.jwt.publicKeySecretRef"),
    )]
    pub jwks_url: Option<String>,
    /// Required `iss`. Absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: Option<String>,
    /// Required `aud`. Absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub audience: Option<String>,
    /// Seconds of clock difference tolerated for `exp` and `nbf`.
    #[serde(default = "default_leeway_seconds")]
    #[schemars(range(min = 0, max = 300))]
    pub leeway_seconds: i64,
}

/// A signature algorithm. Source: RFC 7518 section 3.1, RFC 8037.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// Room patterns (globs) that a client without a token may use.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Anonymous {
    /// Rooms that may be subscribed to, as globs (`*`, `?`, `[a-z]`).
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 200)))]
    #[x_kube(validation = rules::globs("spec.auth.anonymous.subscribe"))]
    pub subscribe: Vec<String>,
    /// Rooms that may be published to, as globs.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 200)))]
    #[x_kube(validation = rules::globs("spec.auth.anonymous.publish"))]
    pub publish: Vec<String>,
}

fn default_leeway_seconds() -> i64 {
    30
}
