//! The watches: one per kind, each keeps a store and tells which cluster an event is about. Own status writes tell of nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt, TryStreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::task::JoinSet;
use wscluster_crds::{WsCluster, labels};

use crate::kinds::Kind;
use crate::metrics::Metrics;
use crate::recent::{self, Recent};

/// What the watches know.
#[derive(Clone)]
pub struct Stores {
    /// The WsClusters.
    pub clusters: Store<WsCluster>,
    /// Owned objects, by kind; Secrets apart.
    pub children: BTreeMap<Kind, Store<DynamicObject>>,
    /// Gateway pods.
    pub pods: Store<Pod>,
    /// Metadata of all Secrets.
    pub secrets: Store<PartialObjectMeta<Secret>>,
}

impl Stores {
    /// Waits until every watch has told of what was there before it.
    pub async fn ready(&self) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        self.clusters.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.secrets.wait_until_ready().await?;
        for store in self.children.values() {
            store.wait_until_ready().await?;
        }
        Ok(())
    }
}

/// What every watch is given.
#[derive(Clone)]
pub struct Watches {
    /// The client.
    pub client: Client,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Where the names of clusters go.
    pub triggers: UnboundedSender<ObjectRef<WsCluster>>,
    /// Own writes, to be forgotten once the watch tells of them.
    pub recent: Arc<Recent>,
    /// Counts errors.
    pub metrics: Metrics,
}

impl Watches {
    /// Starts all watches. They end with the returned set.
    pub fn start(&self) -> (Stores, JoinSet<()>) {
        let mut tasks = JoinSet::new();
        let clusters = self.clusters(&mut tasks);
        let children = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret);
        let children = children.map(|kind| (kind, self.children(kind, &mut tasks))).collect();
        let pods = self.pods(&mut tasks);
        let secrets = self.secrets(clusters.clone(), &mut tasks);
        (Stores { clusters, children, pods, secrets }, tasks)
    }

    fn clusters(&self, tasks: &mut JoinSet<()>) -> Store<WsCluster> {
        let writer = Writer::default();
        let store = writer.as_reader();
        let (recent, changed) = (self.recent.clone(), predicates::generation.combine(predicates::finalizers));
        let events = watcher(self.api::<WsCluster>(), watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .touched_objects()
            .inspect_ok(move |cluster| recent.seen(&key("WsCluster", cluster)))
            .predicate_filter(changed, PredicateConfig::default());
        self.forward("WsCluster", events, |cluster| vec![ObjectRef::from_obj(cluster)], tasks);
        store
    }

    fn children(&self, kind: Kind, tasks: &mut JoinSet<()>) -> Store<DynamicObject> {
        let resource = kind.resource();
        let writer = Writer::new(resource.clone());
        let store = writer.as_reader();
        let recent = self.recent.clone();
        let ours = format!("{}={}", labels::MANAGED_BY_KEY, labels::MANAGED_BY);
        let events = watcher(self.api_of(&resource), watcher::Config::default().labels(&ours))
            .default_backoff()
            .modify(move |object| {
                // Who manages which field matters for the number of replicas only.
                if kind != Kind::Deployment {
                    object.metadata.managed_fields = None;
                }
            })
            .reflect(writer)
            .touched_objects()
            .inspect_ok(move |object| recent.seen(&key(kind.as_str(), object)));
        self.forward(kind.as_str(), events, |child| labelled(child).into_iter().chain(owners(child)).collect(), tasks);
        store
    }

    fn pods(&self, tasks: &mut JoinSet<()>) -> Store<Pod> {
        let writer = Writer::default();
        let store = writer.as_reader();
        let events = watcher(self.api::<Pod>(), watcher::Config::default().labels(labels::CLUSTER))
            .default_backoff()
            .modify(|pod| pod.metadata.managed_fields = None)
            .reflect(writer)
            .touched_objects();
        self.forward("Pod", events, |pod| labelled(pod).into_iter().collect(), tasks);
        store
    }

    fn secrets(&self, clusters: Store<WsCluster>, tasks: &mut JoinSet<()>) -> Store<PartialObjectMeta<Secret>> {
        let writer = Writer::default();
        let store = writer.as_reader();
        let recent = self.recent.clone();
        let events = watcher(self.api::<PartialObjectMeta<Secret>>(), watcher::Config::default())
            .default_backoff()
            .modify(|secret| secret.metadata.managed_fields = None)
            .reflect(writer)
            .touched_objects()
            .inspect_ok(move |secret| recent.seen(&key("Secret", secret)));
        let concerned = move |secret: &PartialObjectMeta<Secret>| {
            let users = clusters.state_filter(|cluster| uses(cluster, secret));
            owners(secret).chain(users.iter().map(|cluster| ObjectRef::from_obj(&**cluster))).collect()
        };
        self.forward("Secret", events, concerned, tasks);
        store
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn api_of(&self, resource: &ApiResource) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    fn forward<K, S, F>(&self, kind: &'static str, events: S, concerned: F, tasks: &mut JoinSet<()>)
    where
        K: Resource<DynamicType: Debug + Eq + Hash + Clone> + Send + 'static,
        S: Stream<Item = Result<K, watcher::Error>> + Send + 'static,
        F: Fn(&K) -> Vec<ObjectRef<WsCluster>> + Send + 'static,
    {
        let (triggers, metrics) = (self.triggers.clone(), self.metrics.clone());
        tasks.spawn(events.for_each(move |event| {
            match event {
                Ok(object) => {
                    for cluster in concerned(&object) {
                        let _ = triggers.unbounded_send(cluster);
                    }
                }
                Err(error) => {
                    metrics.watch_broke(kind);
                    tracing::warn!(kind, %error, "a watch broke and is resumed");
                }
            }
            future::ready(())
        }));
    }
}

fn key<K: Resource>(kind: &str, object: &K) -> String {
    recent::key(kind, &object.namespace().unwrap_or_default(), &object.name_any())
}

/// The cluster that an object is labelled with.
fn labelled<K: Resource>(object: &K) -> Option<ObjectRef<WsCluster>> {
    let name = object.meta().labels.as_ref()?.get(labels::CLUSTER)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

/// The clusters that own an object.
fn owners<K: Resource>(object: &K) -> impl Iterator<Item = ObjectRef<WsCluster>> + use<K> {
    let namespace = object.namespace().unwrap_or_default();
    let references = object.meta().owner_references.clone().unwrap_or_default();
    let ours = references.into_iter().filter(|reference| reference.kind == "WsCluster");
    ours.map(move |reference| ObjectRef::new(&reference.name).within(&namespace))
}

/// Whether a cluster's spec names a Secret.
fn uses(cluster: &WsCluster, secret: &PartialObjectMeta<Secret>) -> bool {
    let redis = &cluster.spec.redis;
    let tls = redis.tls.as_ref();
    let certificates = tls.map(|tls| [tls.ca_secret_ref.as_ref(), tls.client_cert_secret_ref.as_ref()]);
    let certificates = certificates.into_iter().flatten().flatten().map(|reference| reference.name.as_str());
    let mut named = redis.url_secret_ref.iter().map(|reference| reference.name.as_str()).chain(certificates);
    cluster.namespace() == secret.namespace() && named.any(|name| name == secret.name_any())
}
