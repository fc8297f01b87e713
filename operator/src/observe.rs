//! What is there: everything that a plan looks at, gathered from the watches' stores. The API server itself is asked only
//! for an owned object that the watches know nothing of.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use wscluster_crds::spec::SecretRef;
use wscluster_crds::{WsCluster, labels};

use crate::desired::Wanted;
use crate::desired::keys::Entropy;
use crate::error::ReconcileError;
use crate::kinds::Kind;
use crate::recent::{self, Recent};
use crate::secrets::{Address, Certificates, Secrets};
use crate::watches::Stores;
use crate::{gateways, streams};

/// Everything that a plan looks at.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The time.
    pub now: Timestamp,
    /// The objects that bear the cluster's names, by kind.
    pub children: BTreeMap<Kind, Value>,
    /// Versions of them that the watches knew.
    pub versions: BTreeMap<Kind, String>,
    /// Digests of objects that an admission webhook changes whenever they are written, by kind.
    pub contested: BTreeMap<Kind, String>,
    /// The gateway pods.
    pub pods: Vec<Arc<Pod>>,
    /// Where Redis is.
    pub address: Address,
    /// What is known of it.
    pub redis: streams::report::Report,
    /// What the gateways answered.
    pub gateways: gateways::Report,
    /// Randomness for keys that are missing.
    pub entropy: Entropy,
    /// What the API server refused just now, in words for the user.
    pub failures: Vec<String>,
}

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
    /// The object of a kind, typed.
    pub fn typed<T: DeserializeOwned>(&self, kind: Kind) -> Option<T> {
        serde_json::from_value(self.children.get(&kind)?.clone()).ok()
    }

    /// Whether the Deployment exists.
    pub fn has_fleet(&self) -> bool {
        self.children.contains_key(&Kind::Deployment)
    }

    /// Whose the object of a kind is; `None` where there is none.
    pub fn owner(&self, kind: Kind, uid: &str, cluster: &str) -> Option<Owner> {
        self.children.get(&kind).map(|child| owner(child, uid, cluster))
    }

    /// Objects of somebody else's that bear the cluster's names, in words for the user.
    pub fn name_taken(&self, cluster: &WsCluster) -> Vec<String> {
        let (uid, name) = (cluster.uid().unwrap_or_default(), cluster.name_any());
        let foreign = self.children.iter().filter(|(_, child)| owner(child, &uid, &name) == Owner::Foreign);
        foreign
            .map(|(kind, child)| {
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
    ) -> Result<(BTreeMap<Kind, Value>, BTreeMap<Kind, String>), ReconcileError> {
        let (mut children, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for kind in Kind::ALL {
            if let Some(version) = self.stored_version(kind, &wanted.namespace, &kind.object_name(&wanted.name)) {
                versions.insert(kind, version);
            }
            if let Some(child) = self.child(kind, wanted).await? {
                children.insert(kind, child);
            }
        }
        Ok((children, versions))
    }

    /// Digests of the cluster's objects that are contested.
    pub fn contested(&self, wanted: &Wanted<'_>) -> BTreeMap<Kind, String> {
        let key = |kind: Kind| recent::key(kind.as_str(), &wanted.namespace, &kind.object_name(&wanted.name));
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.recent.contested(&key(kind))?))).collect()
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
        self.stores.children.get(&kind)?.get(&reference)
    }

    async fn child(&self, kind: Kind, wanted: &Wanted<'_>) -> Result<Option<Value>, ReconcileError> {
        let (namespace, name) = (wanted.namespace.as_str(), kind.object_name(&wanted.name));
        let key = recent::key(kind.as_str(), namespace, &name);
        let watched = match kind {
            Kind::Secret => {
                let secret = self.secrets.get(namespace, &name).await;
                secret.map_err(ReconcileError::api(format!("read Secret {name}")))?.as_ref().and_then(json)
            }
            _ => self.stored(kind, namespace, &name).as_ref().and_then(json),
        };
        match self.recent.freshest(&key, watched) {
            Some(child) => Ok(Some(child)),
            None if wanted.wants(kind) => self.ask(kind, namespace, &name).await,
            None => Ok(None),
        }
    }

    /// Asks for an object that no watch knows: it is not there, or it is somebody else's and bears no label of ours.
    async fn ask(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ReconcileError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let found = api.get_opt(name).await.map_err(ReconcileError::api(format!("read {} {name}", kind.as_str())))?;
        Ok(found.map(Arc::new).as_ref().and_then(json))
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
