//! What is there: everything that a plan looks at, gathered from the watches' stores. The API server itself is asked only
//! for an owned object that the watches know nothing of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use wscluster_crds::spec::SecretRef;
use wscluster_crds::{WsCluster, labels};

use crate::desired::Wanted;
use crate::desired::keys::Entropy;
use crate::desired::monitors::{Found, Monitoring};
use crate::desired::ring::Signing;
use crate::desired::route::HttpRouteSupport;
use crate::error::{ReconcileError, gone};
use crate::kinds::Kind;
use crate::recent::{self, Recent};
use crate::references::{self, Lack};
use crate::scalers::Scalers;
use crate::secrets::{Address, Certificates, Secrets};
use crate::watches::Stores;
use crate::{gateways, streams};

/// Everything that a plan looks at.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The time.
    pub now: Timestamp,
    /// The objects that bear the cluster's names, by kind and name.
    pub children: BTreeMap<Key, Value>,
    /// Versions of them that the watches knew.
    pub versions: BTreeMap<Key, String>,
    /// Digests of objects that an admission webhook changes whenever they are written.
    pub contested: BTreeMap<Key, String>,
    /// The gateway pods.
    pub pods: Vec<Arc<Pod>>,
    /// Nodes that take no new pods, of those on which a gateway is ending.
    pub cordoned: BTreeSet<String>,
    /// Where Redis is.
    pub address: Address,
    /// What is known of it.
    pub redis: streams::report::Report,
    /// What the gateways answered.
    pub gateways: gateways::Report,
    /// Randomness for keys that are missing.
    pub entropy: Entropy,
    /// The key that affinity cookies are to be signed with.
    pub signing: Signing,
    /// Secrets that the spec names and that are not there.
    pub lacking: Vec<Lack>,
    /// What the cluster's `HTTPRoute` has; `None` where it has no such kind.
    pub http_routes: Option<HttpRouteSupport>,
    /// What there is to scale the cluster with.
    pub scalers: Scalers,
    /// What there is of the Prometheus operator's kinds.
    pub monitoring: Monitoring,
    /// What the API server refused just now, in words for the user.
    pub failures: Vec<String>,
}

/// Kind and name of an object.
pub type Key = (Kind, String);

/// Whose object it is that bears one of the cluster's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This cluster's.
    Ours,
    /// Nobody's, and it bears the cluster's labels: left by `--cascade=orphan`.
    Orphaned,
    /// A cluster's of the same name that is gone; the garbage collector is about to remove it.
    Former,
    /// Somebody else's.
    Foreign,
}

impl Observed {
    /// The object of a kind of which there is one.
    pub fn child(&self, kind: Kind) -> Option<&Value> {
        self.of_kind(kind).next()
    }

    /// The objects of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.children.iter().filter(move |((other, _), _)| *other == kind).map(|(_, child)| child)
    }

    /// The object of a kind of which there is one, typed.
    pub fn typed<T: DeserializeOwned>(&self, kind: Kind) -> Option<T> {
        serde_json::from_value(self.child(kind)?.clone()).ok()
    }

    /// Whether any gateways are run.
    pub fn has_fleet(&self) -> bool {
        self.child(Kind::Deployment).is_some()
    }

    /// Whose an object is; `None` where there is none.
    pub fn owner(&self, key: &Key, uid: &str, cluster: &str) -> Option<Owner> {
        self.children.get(key).map(|child| owner(child, uid, cluster))
    }

    /// Whose the objects are.
    pub fn owners(&self, uid: &str, cluster: &str) -> Vec<Owner> {
        self.children.values().map(|child| owner(child, uid, cluster)).collect()
    }

    /// Objects of somebody else's that bear the cluster's names, in words for the user.
    pub fn name_taken(&self, cluster: &WsCluster) -> Vec<String> {
        let (uid, name) = (cluster.uid().unwrap_or_default(), cluster.name_any());
        let foreign = self.children.iter().filter(|(_, child)| owner(child, &uid, &name) == Owner::Foreign);
        foreign
            .map(|((kind, _), child)| {
                let name = child["metadata"]["name"].as_str().unwrap_or_default();
                format!(
                    "{} {name:?} exists and does not belong to this WsCluster, so it is left alone: delete or rename it, or give the WsCluster another name",
                    kind.as_str()
                )
            })
            .collect()
    }
}

fn owner(child: &Value, uid: &str, cluster: &str) -> Owner {
    let metadata = &child["metadata"];
    let references = metadata["ownerReferences"].as_array().cloned().unwrap_or_default();
    if references.iter().any(|reference| reference["uid"] == uid) {
        return Owner::Ours;
    }
    match references.iter().find(|reference| reference["controller"] == true) {
        Some(controller) if controller["kind"] == "WsCluster" && controller["name"] == cluster => Owner::Former,
        None if metadata["labels"][labels::CLUSTER] == cluster => Owner::Orphaned,
        Some(_) | None => Owner::Foreign,
    }
}

/// Reads what the stores know.
pub struct Observer {
    /// For what the stores don't know.
    pub client: Client,
    /// The watches' stores.
    pub stores: Stores,
    /// Secrets.
    pub secrets: Arc<Secrets>,
    /// What was just written.
    pub recent: Arc<Recent>,
    /// What is known of HTTPRoutes.
    pub http_routes: watch::Receiver<Option<HttpRouteSupport>>,
    /// What is known of the Prometheus operator's kinds.
    pub monitoring: watch::Receiver<Monitoring>,
}

impl Observer {
    /// The cluster as it is, own writes included that the watch has not told of yet.
    pub fn freshest(&self, cluster: &Arc<WsCluster>) -> Arc<WsCluster> {
        let key = recent::key("WsCluster", &cluster.namespace().unwrap_or_default(), &cluster.name_any());
        let newer = self.recent.freshest(&key, None).and_then(|value| serde_json::from_value(value).ok());
        newer.map_or_else(|| cluster.clone(), Arc::new)
    }

    /// The objects of the cluster, and the versions that the watches know.
    pub async fn children(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<(BTreeMap<Key, Value>, BTreeMap<Key, String>), ReconcileError> {
        let (mut children, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for key in self.keys(wanted) {
            if let Some(version) = self.stored_version(key.0, &wanted.namespace, &key.1) {
                versions.insert(key.clone(), version);
            }
            if let Some(child) = self.object(&key, wanted).await? {
                children.insert(key, child);
            }
        }
        Ok((children, versions))
    }

    /// Digests of the cluster's objects that are contested.
    pub fn contested(&self, namespace: &str, keys: impl Iterator<Item = Key>) -> BTreeMap<Key, String> {
        let digest = |key: &Key| self.recent.contested(&recent::key(key.0.as_str(), namespace, &key.1));
        keys.filter_map(|key| digest(&key).map(|digest| (key, digest))).collect()
    }

    /// The objects that there should be, and the Deployments of other revisions that there are.
    fn keys(&self, wanted: &Wanted<'_>) -> BTreeSet<Key> {
        let all = Kind::ALL.into_iter().chain(Kind::EXTRAS);
        let mut keys: BTreeSet<_> = all.map(|kind| (kind, kind.object_name(&wanted.name, &wanted.revision))).collect();
        let ours = |object: &DynamicObject| {
            object.namespace().as_deref() == Some(&wanted.namespace)
                && object.labels().get(labels::CLUSTER).is_some_and(|cluster| cluster == wanted.name.as_str())
                && object.labels().contains_key(labels::REVISION)
        };
        let store = self.stores.children.get(&Kind::Deployment);
        let deployments = store.map(|store| store.state_filter(ours)).unwrap_or_default();
        keys.extend(deployments.iter().map(|deployment| (Kind::Deployment, deployment.name_any())));
        keys
    }

    /// Version of an owned object, as far as the watch has heard.
    pub fn stored_version(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        match kind {
            Kind::Secret => self.secrets.version(namespace, name),
            _ => self.stored(kind, namespace, name)?.resource_version(),
        }
    }

    /// Version of a WsCluster, as far as the watch has heard.
    pub fn stored_cluster_version(&self, namespace: &str, name: &str) -> Option<String> {
        self.stores.clusters.get(&ObjectRef::new(name).within(namespace))?.resource_version()
    }

    fn stored(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let reference = ObjectRef::new_with(name, kind.resource()).within(namespace);
        self.stores.children.get(&kind.watched_as())?.get(&reference)
    }

    async fn object(&self, (kind, name): &Key, wanted: &Wanted<'_>) -> Result<Option<Value>, ReconcileError> {
        let namespace = wanted.namespace.as_str();
        let lacking = match kind {
            Kind::HttpRoute => wanted.http_routes.is_none(),
            Kind::PodMonitor | Kind::PrometheusRule => wanted.monitoring.of(*kind) != Found::Usable,
            _ => false,
        };
        if lacking {
            return Ok(None);
        }
        let key = recent::key(kind.as_str(), namespace, name);
        let watched = match kind {
            Kind::Secret => {
                let secret = self.secrets.get(namespace, name).await;
                secret.map_err(ReconcileError::api(format!("read Secret {name}")))?.as_ref().and_then(json)
            }
            _ => self.stored(*kind, namespace, name).as_ref().and_then(json),
        };
        match self.recent.freshest(&key, watched) {
            Some(child) => Ok(Some(child)),
            None if wanted.wants(*kind) => self.ask(*kind, namespace, name).await,
            None => Ok(None),
        }
    }

    /// Asks for an object that no watch knows: it is not there, or it is somebody else's and bears no label of ours.
    async fn ask(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ReconcileError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        match api.get_opt(name).await {
            Ok(found) => Ok(found.map(Arc::new).as_ref().and_then(json)),
            Err(error) if gone(kind, &error) => Ok(None),
            Err(error) => Err(ReconcileError::api(format!("read {} {name}", kind.as_str()))(error)),
        }
    }

    /// The gateway pods of a cluster.
    pub fn pods(&self, namespace: &str, cluster: &str) -> Vec<Arc<Pod>> {
        let belongs = |pod: &Pod| {
            pod.namespace().as_deref() == Some(namespace)
                && pod.labels().get(labels::CLUSTER).is_some_and(|label| label == cluster)
        };
        self.stores.pods.state_filter(belongs)
    }

    /// Where Redis is.
    pub async fn address(&self, cluster: &WsCluster) -> Result<Address, ReconcileError> {
        let redis = &cluster.spec.redis;
        let secret = match &redis.url_secret_ref {
            Some(reference) => {
                let namespace = cluster.namespace().unwrap_or_default();
                let secret = self.secrets.get(&namespace, &reference.name).await;
                secret.map_err(ReconcileError::api(format!("read Secret {}", reference.name)))?
            }
            None => None,
        };
        Ok(Address::of(redis, secret.as_deref()))
    }

    /// Secrets that the spec names and that are not there, or lack a key.
    pub async fn lacking(&self, cluster: &WsCluster) -> Result<Vec<Lack>, ReconcileError> {
        let namespace = cluster.namespace().unwrap_or_default();
        let mut lacking = Vec::new();
        for reference in references::of(&cluster.spec) {
            let keys = self.secrets.keys(&namespace, &reference.name).await;
            let keys = keys.map_err(ReconcileError::api(format!("read Secret {}", reference.name)))?;
            lacking.extend(Lack::of(reference, keys));
        }
        Ok(lacking)
    }

    /// The key that affinity cookies are to be signed with. One that is missing or too short is told of as lacking.
    pub async fn signing(&self, cluster: &WsCluster) -> Result<Signing, ReconcileError> {
        let Some(named) = &cluster.spec.service.stickiness.cookie.signing_key_secret_ref else {
            return Ok(Signing::Generated);
        };
        let secret = self.secrets.get(&cluster.namespace().unwrap_or_default(), &named.name).await;
        let secret = secret.map_err(ReconcileError::api(format!("read Secret {}", named.name)))?;
        Ok(Signing::of(secret.as_ref().and_then(|secret| Some(secret.data.as_ref()?.get(&named.key)?.0.as_slice()))))
    }

    /// The certificates for Redis.
    pub async fn certificates(&self, cluster: &WsCluster) -> Result<Certificates, ReconcileError> {
        let Some(tls) = &cluster.spec.redis.tls else { return Ok(Certificates::default()) };
        let namespace = cluster.namespace().unwrap_or_default();
        let read = async |reference: &Option<SecretRef>| {
            let Some(SecretRef { name }) = reference else { return Ok(None) };
            self.secrets.get(&namespace, name).await.map_err(ReconcileError::api(format!("read Secret {name}")))
        };
        let (authority, own) = (read(&tls.ca_secret_ref).await?, read(&tls.client_cert_secret_ref).await?);
        Ok(Certificates::of(authority.as_deref(), own.as_deref()))
    }
}

fn json<T: serde::Serialize>(object: &Arc<T>) -> Option<Value> {
    serde_json::to_value(&**object).ok()
}
