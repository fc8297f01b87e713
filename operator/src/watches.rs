//! The watches: one per kind, each keeps a store and tells which cluster an event is about. Own status writes tell of nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wscluster_crds::{WsCluster, labels};

use crate::desired::monitors::{Found, Monitoring};
use crate::desired::route::HttpRouteSupport;
use crate::kinds::Kind;
use crate::metrics::Metrics;
use crate::optional::watch_while;
use crate::recent::{self, Recent};
use crate::references;
use crate::scalers::{Known, keda};

/// Kinds that a cluster may lack, and whose watches come and go with them.
const OPTIONAL: [Kind; 3] = [Kind::HttpRoute, Kind::PodMonitor, Kind::PrometheusRule];

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
    /// Waits until every watch has told of what was there before it. Those of kinds that a cluster may lack may never have
    /// anything to tell.
    pub async fn ready(&self, known: &Known) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        self.clusters.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.secrets.wait_until_ready().await?;
        let served = |kind: Kind| kind != Kind::ScaledObject && !OPTIONAL.contains(&kind);
        for (_, store) in self.children.iter().filter(|(kind, _)| served(**kind)) {
            store.wait_until_ready().await?;
        }
        known.looked_for_keda().await;
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
    /// What is known of HTTPRoutes.
    pub http_routes: watch::Receiver<Option<HttpRouteSupport>>,
    /// What is known of the Prometheus operator's kinds.
    pub monitoring: watch::Receiver<Monitoring>,
    /// Is told whether KEDA is there.
    pub scalers: Known,
}

impl Watches {
    /// Starts all watches. They end with the returned set.
    pub fn start(&self) -> (Stores, JoinSet<()>) {
        let mut tasks = JoinSet::new();
        let clusters = self.clusters(&mut tasks);
        let always = |kind: &Kind| *kind != Kind::Secret && kind.watched_as() == *kind && !OPTIONAL.contains(kind);
        let always = Kind::ALL.into_iter().chain(Kind::EXTRAS).filter(always);
        let mut children: BTreeMap<_, _> = always.map(|kind| (kind, self.children(kind, &mut tasks))).collect();
        children.extend(OPTIONAL.map(|kind| (kind, self.optional(kind, &mut tasks))));
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
        let events = watcher(self.api_of(&resource), ours())
            .default_backoff()
            .modify(|object| object.metadata.managed_fields = None)
            .reflect(writer)
            .touched_objects()
            .inspect_ok(move |object| recent.seen(&key(kind.as_str(), object)));
        let concerned = |child: &_| labelled(child).into_iter().chain(owners(child)).collect();
        if kind == Kind::ScaledObject {
            // Watched once it is served: until then a watch would be an error.
            let there = keda::there(self.client.clone(), self.scalers.clone(), store.clone(), tasks);
            let events = there.map(move |()| events).flatten_stream();
            self.forward(kind.as_str(), events, concerned, tasks);
        } else {
            self.forward(kind.as_str(), events, concerned, tasks);
        }
        store
    }

    /// The same of a kind that the cluster may lack.
    fn optional(&self, kind: Kind, tasks: &mut JoinSet<()>) -> Store<DynamicObject> {
        let writer = Writer::new(kind.resource());
        let store = writer.as_reader();
        let monitoring = self.monitoring.clone();
        match kind {
            Kind::PodMonitor => {
                let there = |known: &Monitoring| known.pod_monitors == Found::Usable;
                tasks.spawn(watch_while(self.clone(), kind, monitoring, there, writer))
            }
            Kind::PrometheusRule => {
                let there = |known: &Monitoring| known.prometheus_rules == Found::Usable;
                tasks.spawn(watch_while(self.clone(), kind, monitoring, there, writer))
            }
            _ => tasks.spawn(watch_while(self.clone(), kind, self.http_routes.clone(), Option::is_some, writer)),
        };
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

    /// Takes note of what a watch on a kind tells of an object.
    pub fn seen(&self, kind: Kind, object: &DynamicObject) {
        self.recent.seen(&key(kind.as_str(), object));
        for cluster in concerned(object) {
            let _ = self.triggers.unbounded_send(cluster);
        }
    }

    /// Takes note of a broken watch.
    pub fn broke(&self, kind: &str, error: &watcher::Error) {
        self.metrics.watch_broke(kind);
        tracing::warn!(kind, %error, "a watch broke and is resumed");
    }

    /// The objects of a kind that are looked after.
    pub fn api_of(&self, resource: &ApiResource) -> Api<DynamicObject> {
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
        let watches = self.clone();
        tasks.spawn(events.for_each(move |event| {
            match event {
                Ok(object) => {
                    for cluster in concerned(&object) {
                        let _ = watches.triggers.unbounded_send(cluster);
                    }
                }
                Err(error) => watches.broke(kind, &error),
            }
            future::ready(())
        }));
    }
}

/// Objects that bear our label.
pub(crate) fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY_KEY, labels::MANAGED_BY))
}

/// The clusters that an owned object is about.
fn concerned(child: &DynamicObject) -> Vec<ObjectRef<WsCluster>> {
    labelled(child).into_iter().chain(owners(child)).collect()
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
    let address = cluster.spec.redis.url_secret_ref.iter().map(|reference| reference.name.clone());
    let mounted = references::of(&cluster.spec).into_iter().map(|reference| reference.name);
    let mut named = address.chain(mounted);
    cluster.namespace() == secret.namespace() && named.any(|name| name == secret.name_any())
}
