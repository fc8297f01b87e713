//! The Pod that a probe runs in, and what its status says. Pure.

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use wscluster_crds::{WsCluster, WsClusterSpec};

use crate::arguments::{Format, ProbeArguments};

/// The user that the gateways run as.
const USER: i64 = 65_532;
/// Beyond the time of publishing: pulling the image, connecting, waiting for what is under way.
const SLACK_SECONDS: u64 = 600;
/// Reasons for which a kubelet waits in vain, until a person does something.
const HOPELESS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// The Pod.
pub fn manifest(cluster: &WsCluster, image: &str, arguments: &ProbeArguments) -> Result<Pod> {
    let spec = &cluster.spec;
    check(spec, arguments)?;
    let (redis, mut env) = redis(spec, arguments)?;
    env.extend(arguments.token_secret.as_ref().map(|secret| from_secret("WSCLUSTER_TOKEN", &secret.name, &secret.key)));
    let mut args = vec![
        format!("--url={}", arguments.url.clone().unwrap_or_else(|| inside(cluster))),
        format!("--key-prefix={}", spec.redis.streams.key_prefix),
        format!("--sessions={}", arguments.sessions),
        format!("--rooms={}", arguments.rooms),
        format!("--rate={}", arguments.rate),
        format!("--duration={}ms", arguments.duration.as_millis()),
    ];
    args.extend(redis);
    if arguments.output == Format::Json {
        // The kubelet passes on what is written here with the status, apart from the words of the log.
        args.push("--json=/dev/termination-log".to_owned());
    }
    Ok(serde_json::from_value(json!({
        "metadata": {
            "generateName": format!("{}-probe-", cluster.name_any()),
            "labels": {"app.kubernetes.io/name": "wscluster-probe", "app.kubernetes.io/instance": cluster.name_any()},
            "ownerReferences": cluster.owner_ref(&()).map(|owner| vec![owner]).unwrap_or_default(),
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": arguments.duration.as_secs() + SLACK_SECONDS,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "imagePullSecrets": spec.gateway.image_pull_secrets,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "probe",
                "image": image,
                "imagePullPolicy": spec.gateway.image_pull_policy,
                "command": ["/usr/bin/wscluster-probe"],
                "args": args,
                "env": env,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    }))?)
}

/// How far a probe's Pod is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Not yet; with the reason, if there is one.
    Waiting(String),
    /// It will never run.
    Impossible(String),
    /// It runs.
    Running,
    /// It has ended.
    Ended(ContainerStateTerminated),
    /// There is no such Pod.
    Gone,
}

/// How far it is.
pub fn stage(pod: Option<&Pod>) -> Stage {
    let Some(pod) = pod else { return Stage::Gone };
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let state = container.and_then(|container| container.state).unwrap_or_default();
    if let Some(ended) = state.terminated {
        return Stage::Ended(ended);
    }
    if status.phase.as_deref() == Some("Failed") {
        let why = status.message.or(status.reason).unwrap_or_else(|| "its node gave it up".to_owned());
        return Stage::Impossible(why);
    }
    if state.running.is_some() {
        return Stage::Running;
    }
    if let Some(waiting) = state.waiting {
        let reason = waiting.reason.unwrap_or_default();
        let why = waiting.message.map_or_else(|| reason.clone(), |message| format!("{reason}: {message}"));
        return if HOPELESS.contains(&reason.as_str()) { Stage::Impossible(why) } else { Stage::Waiting(why) };
    }
    let unscheduled = status.conditions.unwrap_or_default().into_iter().find(|found| found.status == "False");
    Stage::Waiting(unscheduled.and_then(|found| found.message).unwrap_or_default())
}

/// What the sessions are allowed without a token, where they have none.
fn check(spec: &WsClusterSpec, arguments: &ProbeArguments) -> Result<()> {
    if arguments.token_secret.is_none() && spec.auth.effective_anonymous().subscribe.is_empty() {
        bail!(
            "the probe's sessions have no token, and spec.auth lets nobody without one subscribe: name a Secret that holds one with --token-secret SECRET/KEY, or allow the probe's rooms with spec.auth.anonymous: {{subscribe: [\"probe-*\"]}}"
        );
    }
    Ok(())
}

/// A variable whose value only the kubelet reads.
fn from_secret(variable: &str, name: &str, key: &str) -> Value {
    json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}})
}

/// The Service by its name within the cluster. TLS, where there is any, is ended before it by the load balancer.
fn inside(cluster: &WsCluster) -> String {
    let namespace = cluster.namespace().unwrap_or_default();
    let port = match cluster.spec.service.effective_port() {
        80 => String::new(),
        port => format!(":{port}"),
    };
    format!("ws://{}.{namespace}.svc{port}/ws", cluster.name_any())
}

/// Where the probe publishes: Redis itself, as a backend does, or through gateways.
fn redis(spec: &WsClusterSpec, arguments: &ProbeArguments) -> Result<(Option<String>, Vec<Value>)> {
    if arguments.through_gateways {
        if arguments.token_secret.is_none() && spec.auth.effective_anonymous().publish.is_empty() {
            bail!(
                "spec.auth lets nobody without a token publish: leave --through-gateways out, name a Secret that holds a token with --token-secret SECRET/KEY, or allow it with spec.auth.anonymous: {{publish: [\"probe-*\"]}}"
            );
        }
        return Ok((None, Vec::new()));
    }
    if spec.redis.tls.is_some() {
        bail!("the probe cannot use the certificates of spec.redis.tls: let it publish with --through-gateways");
    }
    match (&spec.redis.url, &spec.redis.url_secret_ref) {
        (Some(url), _) if url.contains("+sentinel://") || url.contains("+cluster://") => {
            bail!(
                "the probe publishes to a single Redis only, and spec.redis.url is {url}: let it publish with --through-gateways"
            )
        }
        (Some(url), _) => Ok((Some(format!("--redis={url}")), Vec::new())),
        (None, Some(secret)) => Ok((None, vec![from_secret("WSCLUSTER_REDIS_URL", &secret.name, &secret.key)])),
        (None, None) => bail!("spec.redis names no address"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn probe(words: &str) -> ProbeArguments {
        let words = ["kubectl-wscluster", "probe", "chat"].into_iter().chain(words.split_whitespace());
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Probe(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    fn cluster(spec: &Value) -> WsCluster {
        let metadata = json!({"name": "chat", "namespace": "web", "uid": "u"});
        let object =
            json!({"apiVersion": "wscluster.dev/v1alpha1", "kind": "WsCluster", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn made(spec: &Value, words: &str) -> Result<Value> {
        manifest(&cluster(spec), "g:1", &probe(words)).map(|pod| serde_json::to_value(pod).unwrap())
    }

    fn args(pod: &Value) -> Vec<&str> {
        pod["spec"]["containers"][0]["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_token_comes_from_a_secret_and_is_nowhere_in_the_pod() {
        let jwt = json!({"algorithms": ["HS256"], "secretRef": {"name": "s", "key": "k"}});
        let spec = json!({"redis": {"url": "redis://r:6379"}, "auth": {"jwt": jwt}});
        let error = made(&spec, "").unwrap_err().to_string();
        assert!(error.contains("--token-secret"), "{error}");
        for words in ["--token-secret probe/token", "--token-secret probe/token --through-gateways"] {
            let pod = made(&spec, words).unwrap();
            let variable = from_secret("WSCLUSTER_TOKEN", "probe", "token");
            assert_eq!(pod["spec"]["containers"][0]["env"], json!([variable]), "{words}");
        }
    }

    #[test]
    fn a_probe_talks_to_the_service_and_to_redis_by_their_names() {
        let spec = json!({"redis": {"url": "redis://redis:6379"}, "service": {"port": 8080}});
        let pod = made(&spec, "--sessions 500 --rooms 50 --rate 100 --duration 5m").unwrap();
        let wanted = [
            "--url=ws://chat.web.svc:8080/ws",
            "--key-prefix=room:",
            "--sessions=500",
            "--rooms=50",
            "--rate=100",
            "--duration=300000ms",
            "--redis=redis://redis:6379",
        ];
        assert_eq!(args(&pod), wanted);
        assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "chat", "it goes with its cluster");
        assert_eq!(pod["spec"]["activeDeadlineSeconds"], 900, "and ends even where nobody takes it away");
        assert!(pod["metadata"]["labels"].get("wscluster.dev/cluster").is_none(), "it is no gateway");
    }

    #[test]
    fn an_address_in_a_secret_is_read_by_the_kubelet_and_not_by_us() {
        let pod = made(&json!({"redis": {"urlSecretRef": {"name": "s", "key": "url"}}}), "").unwrap();
        assert!(args(&pod).iter().all(|arg| !arg.starts_with("--redis")));
        let env = &pod["spec"]["containers"][0]["env"][0];
        assert_eq!(
            env,
            &json!({"name": "WSCLUSTER_REDIS_URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}})
        );
    }

    #[test]
    fn a_report_for_programs_comes_with_the_status_of_the_pod() {
        let pod = made(&json!({"redis": {"url": "redis://r"}}), "-o json").unwrap();
        assert!(args(&pod).contains(&"--json=/dev/termination-log"));
    }

    #[test]
    fn what_a_probe_cannot_do_is_said_before_it_is_made() {
        let jwt = json!({"algorithms": ["HS256"], "secretRef": {"name": "a", "key": "b"}});
        let table = [
            (json!({"redis": {"url": "redis://r"}, "auth": {"jwt": jwt}}), "", "subscribe: [\"probe-*\"]"),
            (json!({"redis": {"url": "redis+sentinel://r/m"}}), "", "--through-gateways"),
            (json!({"redis": {"url": "rediss://r", "tls": {}}}), "", "--through-gateways"),
            (
                json!({"redis": {"url": "redis://r"}, "auth": {"anonymous": {"subscribe": ["*"]}}}),
                "--through-gateways",
                "publish: [\"probe-*\"]",
            ),
        ];
        for (spec, words, remedy) in table {
            let error = made(&spec, words).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
        assert!(made(&json!({"redis": {"url": "redis+sentinel://r/m"}}), "--through-gateways").is_ok());
    }

    #[test]
    fn a_pod_that_will_never_run_is_told_from_one_that_does_not_run_yet() {
        let of =
            |status: Value| stage(Some(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()));
        let waiting = |reason: &str| {
            of(
                json!({"containerStatuses": [{"name": "probe", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": "m"}}}]}),
            )
        };
        assert_eq!(waiting("ContainerCreating"), Stage::Waiting("ContainerCreating: m".to_owned()));
        assert_eq!(waiting("ErrImagePull"), Stage::Impossible("ErrImagePull: m".to_owned()));
        let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]});
        assert_eq!(of(unscheduled), Stage::Waiting("no room".to_owned()));
        assert_eq!(of(json!({"phase": "Failed", "reason": "Evicted"})), Stage::Impossible("Evicted".to_owned()));
        assert_eq!(stage(None), Stage::Gone);
    }
}
