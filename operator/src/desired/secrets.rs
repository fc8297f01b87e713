//! Secrets of the user's that gateways read as files: where they are mounted, and what the settings call them. Their
//! contents are followed by a running gateway; only another Secret needs new pods.

use serde_json::{Value, json};
use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{Jwt, SecretKeyRef};

/// Keys that tokens are checked with.
const JWT_DIRECTORY: &str = "/etc/wscluster/jwt";
/// Keys of the HTTP API.
const API_KEY_DIRECTORY: &str = "/etc/wscluster/api-key";
/// Name of the one file in each: so the name of the Secret's key makes no difference to the settings.
const FILE: &str = "key";

/// File with the keys that tokens are checked with, where there is one.
pub fn jwt_file() -> String {
    format!("{JWT_DIRECTORY}/{FILE}")
}

/// File with the keys of the HTTP API, where they are the user's own.
pub fn api_key_file(spec: &WsClusterSpec) -> Option<String> {
    spec.auth.api_key_secret_ref.as_ref().map(|_| format!("{API_KEY_DIRECTORY}/{FILE}"))
}

/// The Secret with the keys that tokens are checked with.
pub fn jwt_secret(spec: &WsClusterSpec) -> Option<&SecretKeyRef> {
    let Jwt { secret_ref, public_key_secret_ref, .. } = spec.auth.jwt.as_ref()?;
    secret_ref.as_ref().or(public_key_secret_ref.as_ref())
}

/// Volumes of the pod.
pub fn volumes(spec: &WsClusterSpec) -> Vec<Value> {
    mounted(spec).map(|(name, _, secret)| volume(name, secret)).collect()
}

/// Where the container sees them.
pub fn mounts(spec: &WsClusterSpec) -> Vec<Value> {
    mounted(spec).map(|(name, path, _)| json!({"name": name, "mountPath": path, "readOnly": true})).collect()
}

fn mounted(spec: &WsClusterSpec) -> impl Iterator<Item = (&'static str, &'static str, &SecretKeyRef)> {
    let jwt = jwt_secret(spec).map(|secret| ("jwt", JWT_DIRECTORY, secret));
    let api_key = spec.auth.api_key_secret_ref.as_ref().map(|secret| ("api-key", API_KEY_DIRECTORY, secret));
    jwt.into_iter().chain(api_key)
}

fn volume(name: &str, secret: &SecretKeyRef) -> Value {
    let items = [json!({"key": secret.key, "path": FILE})];
    json!({"name": name, "secret": {"secretName": secret.name, "items": items}})
}
