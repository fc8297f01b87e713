//! The pod template of the gateways. Everything here makes a revision; what may change without new pods belongs into
//! the settings file.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;
use wscluster_crds::spec::{PodTemplate, WsClusterSpec};

use crate::budget::READINESS_PERIOD_SECONDS;

use super::{ADMIN_PORT, PEER_PORT, PUBLIC_PORT, Wanted, config, secrets, some};

/// Name of the gateway's container.
pub const CONTAINER: &str = "gateway";
/// Name of the port for probes, metrics and the operator.
pub const ADMIN: &str = "admin";
/// Name of the port for other gateways of the cluster. Pods of operators before affinity have none.
pub const PEER: &str = "peer";

const PROGRAM: &str = "/usr/bin/wscluster-gateway";
const SETTINGS_DIRECTORY: &str = "/etc/wscluster/gateway";
/// Where the keys Secret is mounted.
pub(super) const KEYS_DIRECTORY: &str = "/etc/wscluster/keys";
/// Where the gateways' own certificate is mounted.
pub(super) const TLS_DIRECTORY: &str = "/etc/wscluster/tls";
/// Where the authority of Redis' certificate is mounted.
pub(super) const REDIS_AUTHORITY: &str = "/etc/wscluster/redis-ca";
/// Where the gateway's own certificate for Redis is mounted.
pub(super) const REDIS_CERTIFICATE: &str = "/etc/wscluster/redis-cert";
const RUN_DIRECTORY: &str = "/run/wscluster";
/// Environment variable that names the settings file.
const CONFIG: &str = "WSCLUSTER_CONFIG";
/// User and group of the image.
const USER: i64 = 65_532;

/// The pod template.
pub fn template(wanted: &Wanted<'_>) -> Value {
    let extra = wanted.spec.gateway.pod_template.clone().unwrap_or_default();
    json!({
        "metadata": {"labels": pod_labels(wanted, &extra), "annotations": annotations(&extra)},
        "spec": pod_spec(wanted, &extra),
    })
}

/// The ServiceAccount that the user named, if any.
pub fn service_account(spec: &WsClusterSpec) -> Option<&str> {
    spec.gateway.pod_template.as_ref()?.service_account_name.as_deref()
}

/// Whether gateways of a pod template listen for other gateways.
pub fn has_peer_port(template: &Value) -> bool {
    let ports = container_of(template).and_then(|container| container["ports"].as_array());
    ports.is_some_and(|ports| ports.iter().any(|port| port["name"] == PEER))
}

/// Name of the settings file that gateways of a pod template read.
pub fn settings_file(template: &Value) -> Option<&str> {
    let variables = container_of(template)?["env"].as_array()?;
    let path = variables.iter().find(|variable| variable["name"] == CONFIG)?["value"].as_str()?;
    path.rsplit('/').next()
}

fn container_of(template: &Value) -> Option<&Value> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    containers.iter().find(|container| container["name"] == CONTAINER)
}

fn pod_labels(wanted: &Wanted<'_>, extra: &PodTemplate) -> BTreeMap<String, String> {
    let mut all = extra.labels.clone();
    all.extend(labels::common(wanted.name.as_str()));
    all.insert(labels::REVISION.to_owned(), wanted.revision.clone());
    all.insert(labels::SERVING.to_owned(), "true".to_owned());
    all
}

fn annotations(extra: &PodTemplate) -> BTreeMap<String, String> {
    let own = [
        ("kubectl.kubernetes.io/default-container".to_owned(), CONTAINER.to_owned()),
        ("prometheus.io/scrape".to_owned(), "true".to_owned()),
        ("prometheus.io/port".to_owned(), ADMIN_PORT.to_string()),
    ];
    own.into_iter().chain(extra.annotations.clone()).collect()
}

fn pod_spec(wanted: &Wanted<'_>, extra: &PodTemplate) -> Value {
    let gateway = &wanted.spec.gateway;
    let account = service_account(wanted.spec).map_or_else(|| wanted.name.gateway(), str::to_owned);
    json!({
        "serviceAccountName": account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": wanted.budget.grace_seconds,
        "imagePullSecrets": some(&gateway.image_pull_secrets),
        "nodeSelector": (!extra.node_selector.is_empty()).then_some(&extra.node_selector),
        "tolerations": some(&extra.tolerations),
        "affinity": extra.affinity.as_ref().map_or_else(|| apart(wanted), |affinity| json!(affinity)),
        "topologySpreadConstraints": spread(wanted, extra),
        "priorityClassName": extra.priority_class_name,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(wanted)],
        "volumes": volumes(wanted),
    })
}

fn container(wanted: &Wanted<'_>) -> Value {
    let gateway = &wanted.spec.gateway;
    let admin = format!("0.0.0.0:{ADMIN_PORT}");
    json!({
        "name": CONTAINER,
        "image": gateway.image.as_ref().unwrap_or(&wanted.defaults.gateway_image),
        "imagePullPolicy": gateway.image_pull_policy,
        "command": [PROGRAM],
        "args": ["serve", "--listen", format!("0.0.0.0:{PUBLIC_PORT}"), "--admin-listen", admin],
        "env": environment(wanted),
        "ports": [
            {"name": "public", "containerPort": PUBLIC_PORT, "protocol": "TCP"},
            {"name": ADMIN, "containerPort": ADMIN_PORT, "protocol": "TCP"},
            {"name": PEER, "containerPort": PEER_PORT, "protocol": "TCP"},
        ],
        "resources": gateway.resources,
        "startupProbe": probe("/livez", 1, 2, 60),
        // Killing a gateway drops its sessions: it must be stuck for a minute first. One that answers late, because its
        // node has no CPU left, is not stuck.
        "livenessProbe": probe("/livez", 10, 10, 6),
        // Nor is it unready: others, on the same nodes, would be asked to take its sessions.
        "readinessProbe": probe("/readyz", READINESS_PERIOD_SECONDS, 5, 2),
        "lifecycle": {"preStop": {"exec": {"command": [PROGRAM, "drain"]}}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts(wanted),
    })
}

fn volumes(wanted: &Wanted<'_>) -> Vec<Value> {
    let own = [
        json!({"name": "settings", "configMap": {"name": wanted.name.config()}}),
        json!({"name": "keys", "secret": {"secretName": wanted.name.keys()}}),
        json!({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
    ];
    let secret = |(name, secret, _): (_, &String, _)| json!({"name": name, "secret": {"secretName": secret}});
    own.into_iter().chain(certificates(wanted).map(secret)).chain(secrets::volumes(wanted.spec)).collect()
}

fn mounts(wanted: &Wanted<'_>) -> Vec<Value> {
    let own = [
        json!({"name": "settings", "mountPath": SETTINGS_DIRECTORY, "readOnly": true}),
        json!({"name": "keys", "mountPath": KEYS_DIRECTORY, "readOnly": true}),
        json!({"name": "run", "mountPath": RUN_DIRECTORY}),
    ];
    let mount = |(name, _, path)| json!({"name": name, "mountPath": path, "readOnly": true});
    own.into_iter().chain(certificates(wanted).map(mount)).chain(secrets::mounts(wanted.spec)).collect()
}

/// Certificates, for Redis and for clients: volume, Secret, and where it is mounted.
fn certificates<'a>(wanted: &'a Wanted<'_>) -> impl Iterator<Item = (&'static str, &'a String, &'static str)> {
    let clients = wanted.spec.service.tls.as_ref().and_then(|tls| tls.secret_name.as_ref());
    let tls = wanted.spec.redis.tls.as_ref();
    let authority = tls.and_then(|tls| tls.ca_secret_ref.as_ref());
    let own = tls.and_then(|tls| tls.client_cert_secret_ref.as_ref());
    let authority = authority.map(|secret| ("redis-ca", &secret.name, REDIS_AUTHORITY));
    let own = own.map(|secret| ("redis-cert", &secret.name, REDIS_CERTIFICATE));
    authority.into_iter().chain(own).chain(clients.map(|secret| ("tls", secret, TLS_DIRECTORY)))
}

fn environment(wanted: &Wanted<'_>) -> Vec<Value> {
    let redis = &wanted.spec.redis;
    let url = match &redis.url_secret_ref {
        Some(secret) => json!({
            "name": "WSCLUSTER_REDIS_URL",
            "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}},
        }),
        None => json!({"name": "WSCLUSTER_REDIS_URL", "value": redis.url}),
    };
    let own = [
        json!({"name": "WSCLUSTER_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": CONFIG, "value": format!("{SETTINGS_DIRECTORY}/{}", config::FILE)}),
        json!({"name": "WSCLUSTER_SOCKET", "value": format!("{RUN_DIRECTORY}/gateway.sock")}),
        json!({"name": "WSCLUSTER_ADMIN_TOKEN_FILE", "value": format!("{KEYS_DIRECTORY}/admin-token")}),
        json!({"name": "WSCLUSTER_PEER_LISTEN", "value": format!("0.0.0.0:{PEER_PORT}")}),
        json!({"name": "WSCLUSTER_REVISION", "value": wanted.revision}),
        url,
    ];
    let api_keys = secrets::api_key_file(wanted.spec);
    let api_keys = api_keys.map(|path| json!({"name": "WSCLUSTER_API_KEY_FILE", "value": path}));
    own.into_iter().chain(api_keys).chain(wanted.spec.gateway.env.iter().map(|variable| json!(variable))).collect()
}

fn probe(path: &str, period_seconds: i32, timeout_seconds: i32, failure_threshold: i32) -> Value {
    json!({
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": timeout_seconds,
        "failureThreshold": failure_threshold,
    })
}

/// Rather not two gateways on one node.
fn apart(wanted: &Wanted<'_>) -> Value {
    json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": labels::selector(wanted.name.as_str())},
        },
    }]}})
}

/// Rather evenly over zones; per revision, so that a rollout does not count the pods that are about to go.
fn spread(wanted: &Wanted<'_>, extra: &PodTemplate) -> Value {
    if !extra.topology_spread_constraints.is_empty() {
        return json!(extra.topology_spread_constraints);
    }
    json!([{
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels::selector(wanted.name.as_str())},
        "matchLabelKeys": ["pod-template-hash"],
    }])
}
