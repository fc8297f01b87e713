//! Asks an API server whether it and its nodes are ready. Sync, for callers with and without a runtime of their own.

use std::future::Future;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

const INTERVAL: Duration = Duration::from_millis(50);

/// A client that goes by a kubeconfig file.
pub(super) async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Runs a future to its end on a thread and a runtime of its own.
pub(super) fn block_on<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| Builder::new_current_thread().enable_all().build()?.block_on(future));
        worker.join().map_err(|_| anyhow!("a task of the testbed panicked"))?
    })
}

/// Waits until `/readyz` says ok.
pub(super) fn wait_ready(kubeconfig: &Path, limit: Duration) -> Result<()> {
    block_on(async {
        let client = client(kubeconfig).await?;
        let ready = async {
            while !is_ready(&client).await {
                sleep(INTERVAL).await;
            }
        };
        timeout(limit, ready).await.context("the API server does not become ready")
    })
}

/// Whether `/readyz` says ok now.
pub(super) async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    let answer = timeout(Duration::from_secs(2), client.request_text(request)).await;
    matches!(answer, Ok(Ok(text)) if text == "ok")
}

/// What the API server knows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeState {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// When its kubelet last said whether it is ready, in seconds since 1970.
    pub heartbeat: i64,
}

/// The nodes of a cluster.
pub(super) async fn nodes(client: &Client) -> Result<Vec<NodeState>> {
    let list = Api::<Node>::all(client.clone()).list(&kube::api::ListParams::default()).await?;
    Ok(list.items.iter().map(node_state).collect())
}

/// Whether pods can be made in the default namespace.
pub(super) async fn has_service_account(client: &Client) -> bool {
    Api::<ServiceAccount>::namespaced(client.clone(), "default").get("default").await.is_ok()
}

fn node_state(node: &Node) -> NodeState {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    NodeState {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        heartbeat: ready
            .and_then(|condition| condition.last_heartbeat_time.as_ref())
            .map_or(0, |time| time.0.as_second()),
    }
}
