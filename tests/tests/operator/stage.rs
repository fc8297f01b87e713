//! What every test of the operator stands on: a namespace of its own, an operator on it whose writes are counted, and ways to
//! wait for what should happen.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;
use wscluster_crds::WsCluster;
use wscluster_operator::OperatorConfig;
use wscluster_operator::config::DEFAULT_IMAGE;
use wscluster_operator::controller::RunError;
use wscluster_operator::kinds::Kind;
use wscluster_operator::metrics_api::MetricsApiConfig;

use crate::shared::TestCluster;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Name of every test's WsCluster.
pub(crate) const NAME: &str = "chat";

/// A namespace to play in.
pub(crate) struct Stage {
    kubeconfig: PathBuf,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// An operator at work.
pub(crate) struct Operator {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
    writes: Arc<Mutex<Vec<String>>>,
    metrics: std::net::SocketAddr,
}

/// Installs the CustomResourceDefinition.
pub(crate) async fn install_crd(client: &Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = wscluster_crds::crd();
    let name = crd.name_any();
    api.patch(&name, &PatchParams::apply("operator-test").force(), &Patch::Apply(&crd)).await?;
    timeout(PATIENCE, await_condition(api, &name, conditions::is_crd_established())).await??;
    Ok(())
}

impl Stage {
    /// Makes the namespace.
    pub(crate) async fn set(cluster: &TestCluster, test: &str) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("operator-test-{}-{number}", std::process::id());
        let client = cluster.client().await?;
        let object = serde_json::from_value(json!({"metadata": {"name": namespace, "annotations": {"test": test}}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        Ok(Self { kubeconfig: cluster.kubeconfig().to_owned(), client, namespace })
    }

    /// Deletes the namespace, after showing what is in it where a test failed.
    pub(crate) async fn strike(&self, failed: bool) {
        if failed {
            self.show().await;
        }
        // Without an operator nobody takes the finalizer off.
        let merge = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let _ = self.clusters().patch(NAME, &PatchParams::default(), &merge).await;
        let _ = Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await;
    }

    async fn show(&self) {
        let cluster = self.clusters().get_opt(NAME).await;
        eprintln!("{}: {}", self.namespace, json!(cluster.ok().flatten()));
        for event in self.events().await.unwrap_or_default() {
            eprintln!("{}: {event}", self.namespace);
        }
    }

    /// Starts an operator on the namespace.
    pub(crate) async fn operator(&self) -> Result<Operator> {
        self.operator_with(MetricsApiConfig::default()).await
    }

    /// The same, with a metrics API.
    pub(crate) async fn operator_with(&self, metrics_api: MetricsApiConfig) -> Result<Operator> {
        let writes = Arc::new(Mutex::new(Vec::new()));
        let log = writes.clone();
        let count = MapRequestLayer::new(move |request: Request<Body>| {
            note(&log, &request);
            request
        });
        let read = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let client = ClientBuilder::try_from(config)?.with_layer(&count).build();
        let metrics = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = OperatorConfig {
            namespace: Some(self.namespace.clone()),
            all_namespaces: false,
            metrics_listen: metrics,
            gateway_image: DEFAULT_IMAGE.to_owned(),
            lease_namespace: self.namespace.clone(),
            lease_name: "wscluster-operator".to_owned(),
            identity: "test".to_owned(),
            figures_url: None,
            monitor_labels: Vec::new(),
            dashboard_label: ("grafana_dashboard".to_owned(), "1".to_owned()),
            metrics_api,
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(wscluster_operator::run(config, client, shutdown.clone()));
        Ok(Operator { shutdown, task, writes, metrics })
    }

    /// The namespace's WsClusters.
    pub(crate) fn clusters(&self) -> Api<WsCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of a kind, as plain data.
    pub(crate) fn children(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// Creates the test's WsCluster from a spec in YAML.
    pub(crate) async fn create(&self, spec: &str) -> Result<()> {
        let spec: Value = serde_yaml::from_str(spec)?;
        let cluster = serde_json::from_value(json!({"metadata": {"name": NAME}, "spec": spec}))?;
        self.clusters().create(&PostParams::default(), &cluster).await?;
        Ok(())
    }

    /// Changes the WsCluster's spec by a merge patch in YAML.
    pub(crate) async fn change(&self, spec: &str) -> Result<()> {
        let spec: Value = serde_yaml::from_str(spec)?;
        self.clusters().patch(NAME, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
        Ok(())
    }

    /// Name of the cluster's object of a kind; of the Deployments, the one of the revision that the spec asks for.
    pub(crate) async fn name(&self, kind: Kind) -> Result<String> {
        let revision = wscluster_operator::revision::hash(&self.clusters().get(NAME).await?.spec);
        Ok(kind.object_name(&wscluster_crds::names::ClusterName::parse(NAME)?, &revision))
    }

    /// The cluster's object of a kind, as it is.
    pub(crate) async fn child(&self, kind: Kind) -> Result<Value> {
        Ok(serde_json::to_value(self.children(kind).get(&self.name(kind).await?).await?)?)
    }

    /// Waits until the cluster's object of a kind is as it should be.
    pub(crate) async fn until_child(
        &self,
        kind: Kind,
        what: &str,
        wanted: impl Fn(&Value) -> bool + Send,
    ) -> Result<Value> {
        let matches = |object: Option<&DynamicObject>| object.is_some_and(|object| wanted(&json!(object)));
        let name = self.name(kind).await?;
        let waiting = await_condition(self.children(kind), &name, matches);
        let found =
            timeout(PATIENCE, waiting).await.with_context(|| format!("{} not {what} in time", kind.as_str()))??;
        Ok(serde_json::to_value(found.context("the object")?)?)
    }

    /// Waits until all objects of the cluster are there and its status is about the newest spec.
    pub(crate) async fn until_complete(&self) -> Result<()> {
        for kind in Kind::ALL {
            self.until_child(kind, "there", |child| child["metadata"]["deletionTimestamp"].is_null()).await?;
        }
        let current = |cluster: &WsCluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.observed_generation == cluster.metadata.generation)
        };
        self.until("observed", current).await?;
        Ok(())
    }

    /// Waits until the WsCluster is as it should be.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&WsCluster) -> bool + Send) -> Result<WsCluster> {
        let matches = |cluster: Option<&WsCluster>| cluster.is_some_and(&wanted);
        let waiting = await_condition(self.clusters(), NAME, matches);
        let found =
            timeout(PATIENCE, waiting).await.with_context(|| format!("the WsCluster is not {what} in time"))??;
        found.context("the WsCluster")
    }

    /// Waits until a condition has a reason, and returns its message.
    pub(crate) async fn until_reason(&self, type_: &str, reason: &str) -> Result<String> {
        let message = |cluster: &WsCluster| {
            let conditions = &cluster.status.as_ref()?.conditions;
            let found = conditions.iter().find(|condition| condition.type_ == type_ && condition.reason == reason)?;
            Some(found.message.clone())
        };
        let cluster = self.until(&format!("{type_}/{reason}"), |cluster| message(cluster).is_some()).await?;
        message(&cluster).context("the condition")
    }

    /// Reasons and notes of the Events about the WsCluster.
    pub(crate) async fn events(&self) -> Result<Vec<String>> {
        let events =
            Api::<Event>::namespaced(self.client.clone(), &self.namespace).list(&ListParams::default()).await?;
        let ours = events.into_iter().filter(|event| {
            event.regarding.as_ref().is_some_and(|regarding| regarding.kind.as_deref() == Some("WsCluster"))
        });
        Ok(ours
            .map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.note.unwrap_or_default()))
            .collect())
    }

    /// Whether there is an Event with a reason, waiting for it if need be.
    pub(crate) async fn until_event(&self, reason: &str) -> Result<()> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let told = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(200));
            loop {
                ticks.tick().await;
                let events = api.list(&ListParams::default()).await?;
                if events.iter().any(|event| event.reason.as_deref() == Some(reason)) {
                    return anyhow::Ok(());
                }
            }
        };
        timeout(PATIENCE, told).await.with_context(|| format!("no Event {reason} in time"))?
    }
}

fn note(log: &Mutex<Vec<String>>, request: &Request<Body>) {
    let path = request.uri().path();
    let counts = request.method() != Method::GET && !path.contains("/leases") && !path.contains("/events");
    if counts {
        log.lock().expect("no panic while counting").push(format!("{} {path}", request.method()));
    }
}

impl Operator {
    /// The writes so far, Lease and Events apart.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.writes.lock().expect("no panic while counting").clone()
    }

    /// Turns taken so far; none while it does not listen yet.
    pub(crate) async fn turns(&self) -> Result<u64> {
        let Ok(text) = self.get("/metrics").await else { return Ok(0) };
        let line =
            text.lines().find_map(|line| line.strip_prefix("wscluster_operator_reconciles_total{result=\"ok\"} "));
        Ok(line.map_or(Ok(0), str::parse)?)
    }

    /// Waits until that many more turns were taken.
    pub(crate) async fn until_turns(&self, more: u64) -> Result<()> {
        self.until_turns_in_all(self.turns().await? + more).await
    }

    /// Waits until so many turns were taken since it began.
    pub(crate) async fn until_turns_in_all(&self, goal: u64) -> Result<()> {
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while self.turns().await? < goal {
                ticks.tick().await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, waiting).await.context("no further turn in time")?
    }

    /// Waits until it answers its probes, and says whether it leads.
    pub(crate) async fn leads(&self) -> Result<bool> {
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                if let Ok(text) = self.get("/metrics").await {
                    return text.lines().any(|line| line == "wscluster_operator_leader 1");
                }
            }
        };
        Ok(timeout(PATIENCE, waiting).await?)
    }

    /// Waits until it leads.
    pub(crate) async fn until_leads(&self) -> Result<()> {
        let waiting = async {
            while !self.leads().await? {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, waiting).await.context("the operator does not lead in time")?
    }

    /// The body of an answer on its HTTP port.
    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(self) -> Result<()> {
        self.shutdown.cancel();
        Ok(timeout(PATIENCE, self.task).await???)
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Result<Result<(), RunError>> {
        timeout(PATIENCE, self.task).await?.map_err(|error| anyhow!(error))
    }
}
