//! The probe as a pod in the cluster, driven through the API server's pod proxy: works on any cluster, needs no route to it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde::Deserialize;
use serde_json::json;
use wscluster_probe::Report;
use wscluster_probe::breaks::Breaks;

use super::{Deadline, until, wait_for};

/// The control port of the probe.
pub(super) const CONTROL_PORT: u16 = 9095;

/// What the probe is to do.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// Image that holds `/usr/bin/wscluster-probe`.
    pub image: String,
    /// Where the sessions connect, as `ws://host:port/ws`.
    pub url: String,
    /// Where messages are published with plain `XADD`.
    pub redis: String,
    /// Sessions that are held.
    pub sessions: u32,
    /// Rooms that the sessions spread over.
    pub rooms: u32,
    /// Messages per second, over all rooms.
    pub rate: u32,
    /// New sessions per second.
    pub connect_rate: u32,
    /// How long all sessions may take to subscribe, beyond what their pace takes, and at the end what is still under way.
    pub patience: Duration,
    /// Whether rooms are of mixed size.
    pub mixed: bool,
    /// Whether the report says what it is made of, so that it can be merged with others.
    pub detail: bool,
    /// The node that it is to run on, where that matters.
    pub node: Option<String>,
}

impl ProbePlan {
    /// What is enough where nothing is overloaded.
    pub const PATIENCE: Duration = Duration::from_secs(30);
}

/// What a running probe says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// `connecting`, `running`, `settling` or `done`.
    pub phase: String,
    /// Sessions that are connected and subscribed.
    #[serde(default)]
    pub connected: u64,
    /// Messages published so far.
    #[serde(default)]
    pub published: u64,
    /// Messages that sessions received so far.
    #[serde(default)]
    pub received: u64,
    /// Moves so far.
    #[serde(default)]
    pub moves: u64,
    /// Connections that ended while they served their session, by the close code.
    #[serde(default)]
    pub breaks: Breaks,
    /// The last error of a connection or of publishing.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// A probe that runs in the cluster.
pub struct ProbePod {
    client: Client,
    namespace: String,
    name: String,
    sessions: u64,
}

impl ProbePod {
    /// Starts the probe and waits until its pod runs.
    pub async fn start(client: &Client, namespace: &str, name: &str, plan: &ProbePlan) -> Result<Self> {
        if plan.sessions == 0 || plan.rooms == 0 {
            bail!("a probe needs at least one session and one room");
        }
        let pod = manifest(name, &plan.image, plan.node.as_deref(), &arguments(plan))?;
        Self::run(client, namespace, name, &pod, plan.sessions).await
    }

    pub(super) async fn run(client: &Client, namespace: &str, name: &str, pod: &Pod, sessions: u32) -> Result<Self> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        pods.create(&PostParams::default(), pod).await?;
        wait_for(pods, name, Duration::from_mins(1), "to run", |pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        })
        .await?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Self { client: client.clone(), namespace, name, sessions: u64::from(sessions) })
    }

    /// What the probe is doing.
    pub async fn status(&self) -> Result<ProbeStatus> {
        let body = self.call(Method::GET, "status").await?;
        serde_json::from_str(&body).with_context(|| format!("the probe answered {body}"))
    }

    /// Waits until every session is connected and messages flow.
    pub async fn wait_running(&self, within: Duration) -> Result<ProbeStatus> {
        self.wait_status(within, "every session is connected and messages flow", |status| {
            status.phase == "running" && status.connected == self.sessions && status.received > 0
        })
        .await
    }

    /// Waits until the probe's status satisfies `holds`.
    pub async fn wait_status(
        &self,
        within: Duration,
        what: &str,
        holds: impl Fn(&ProbeStatus) -> bool,
    ) -> Result<ProbeStatus> {
        let last = std::sync::Mutex::new(None);
        let found = until(Deadline::after(within), what, || async {
            let status = self.status().await?;
            let done = holds(&status).then(|| status.clone());
            *last.lock().expect("not poisoned") = Some(status);
            Ok(done)
        })
        .await;
        found.with_context(|| format!("the probe last said {:?}", last.lock().expect("not poisoned")))
    }

    /// Stops publishing, waits until everything has arrived, and returns the verdict.
    pub async fn finish(&self) -> Result<Report> {
        let body = self.call(Method::POST, "finish").await?;
        serde_json::from_str(&body).with_context(|| format!("the probe answered {body}"))
    }

    /// Removes the pod, and waits until its name is free again.
    pub async fn delete(self, within: Duration) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client, &self.namespace);
        pods.delete(&self.name, &DeleteParams::default().grace_period(0)).await?;
        until(Deadline::after(within), "the probe's pod is gone", || async {
            Ok(pods.get_opt(&self.name).await?.is_none().then_some(()))
        })
        .await
    }

    pub(super) async fn call(&self, method: Method, path: &str) -> Result<String> {
        let Self { namespace, name, .. } = self;
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}:{CONTROL_PORT}/proxy/{path}");
        let request = Request::builder().method(method).uri(uri).body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }
}

fn arguments(plan: &ProbePlan) -> Vec<String> {
    let mut arguments = vec![
        format!("--url={}", plan.url),
        format!("--redis={}", plan.redis),
        format!("--sessions={}", plan.sessions),
        format!("--rooms={}", plan.rooms),
        format!("--rate={}", plan.rate),
        format!("--connect-rate={}", plan.connect_rate),
        format!("--connect-timeout={}s", plan.patience.as_secs()),
        format!("--settle={}s", plan.patience.as_secs()),
        format!("--control=0.0.0.0:{CONTROL_PORT}"),
    ];
    let flags = [("--mixed-rooms", plan.mixed), ("--detail", plan.detail)];
    arguments.extend(flags.into_iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| flag.to_owned()));
    arguments
}

/// A pod that runs the probe with these arguments.
pub(super) fn manifest(name: &str, image: &str, node: Option<&str>, args: &[String]) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "wscluster-probe"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": node.map(|node| json!({"kubernetes.io/hostname": node})),
            "containers": [{
                "name": "probe",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/usr/bin/wscluster-probe"],
                "args": args,
                // Without a request a pod gets next to nothing where others with one are busy: a probe that is starved does
                // not answer its heartbeats, and measures itself.
                "resources": {"requests": {"cpu": "100m"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "runAsNonRoot": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    }))?)
}
