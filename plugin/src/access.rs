//! The way to the API server: the client from the usual kubeconfig rules, and WsClusters with errors that help.

use std::fmt::Debug;

use anyhow::{Context, Result};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use wscluster_crds::WsCluster;

use crate::arguments::Connection;
use crate::fault::{Fault, Wanted};

/// As a Role names it.
const WSCLUSTERS: &str = "wsclusters.wscluster.dev";
/// The field manager of what is written, as `kubectl edit` has one of its own.
const FIELD_MANAGER: &str = "kubectl-wscluster";

/// A namespace of a cluster.
pub struct Access {
    /// For other kinds than ours.
    pub client: Client,
    /// The namespace that commands are about.
    pub namespace: String,
}

impl Access {
    /// By the rules of kubectl.
    pub async fn connect(connection: &Connection) -> Result<Self> {
        let config = config(connection).await?;
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    /// Objects of a kind in the namespace.
    pub fn all<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What was wanted, for an error.
    pub fn wanted(&self, verb: &'static str, resource: &'static str) -> Wanted {
        Wanted { verb, resource, namespace: self.namespace.clone() }
    }

    /// One WsCluster.
    pub async fn cluster(&self, name: &str) -> Result<WsCluster> {
        match self.all().get_opt(name).await {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => Err(self.no_such(name).await),
            Err(error) => Err(self.fault(error, "get")),
        }
    }

    /// All WsClusters of the namespace, by name.
    pub async fn clusters(&self) -> Result<Vec<WsCluster>> {
        let listed = self.all::<WsCluster>().list(&ListParams::default()).await;
        let mut clusters = listed.map_err(|error| self.fault(error, "list"))?.items;
        clusters.sort_by_key(ResourceExt::name_any);
        Ok(clusters)
    }

    /// Merges `patch` into a WsCluster.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<WsCluster> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.all().patch(name, &params, &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Err(self.no_such(name).await),
            other => other.map_err(|error| self.fault(error, "patch")),
        }
    }

    /// A WsCluster now and after every change; none when it is gone. A connection that breaks is made again.
    pub fn watch(&self, name: &str) -> impl Stream<Item = Result<Option<WsCluster>>> + Send + use<> {
        follow(self.all(), name, self.wanted("watch", WSCLUSTERS))
    }

    /// The same for a pod.
    pub fn watch_pod(&self, name: &str) -> impl Stream<Item = Result<Option<Pod>>> + Send + use<> {
        follow(self.all(), name, self.wanted("watch", "pods"))
    }

    async fn no_such(&self, name: &str) -> anyhow::Error {
        match self.clusters().await {
            Ok(there) => Fault::NoSuchCluster {
                name: name.to_owned(),
                namespace: self.namespace.clone(),
                there: there.iter().map(ResourceExt::name_any).collect(),
            }
            .into(),
            Err(error) => error,
        }
    }

    fn fault(&self, error: kube::Error, verb: &'static str) -> anyhow::Error {
        Fault::of(error, self.wanted(verb, WSCLUSTERS)).into()
    }
}

async fn config(connection: &Connection) -> Result<Config> {
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &connection.kubeconfig {
        let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .with_context(|| format!("{} names no cluster to use", path.display()));
    }
    match Config::from_kubeconfig(&options).await {
        Err(_) if connection.context.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Config::incluster().context("cannot use this Pod's account")
        }
        other => other.context("no usable kubeconfig; name one with --kubeconfig or KUBECONFIG"),
    }
}

fn follow<K>(api: Api<K>, name: &str, wanted: Wanted) -> impl Stream<Item = Result<Option<K>>> + Send + use<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let changes = watcher::watch_object(api, name).default_backoff();
    changes.map_err(move |error| (permanent(error), wanted.clone())).filter_map(|item| async move {
        match item {
            Ok(cluster) => Some(Ok(cluster)),
            Err((Some(error), wanted)) => Some(Err(Fault::of(error, wanted).into())),
            Err((None, _)) => None,
        }
    })
}

/// What the server will say again however often it is asked. Anything else is tried again.
fn permanent(error: watcher::Error) -> Option<kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)).then_some(error)
        }
        _ => None,
    }
}
