//! Whether the cluster has the Prometheus operator's kinds, and whether their objects may be listed. Looks at what the API
//! server serves twice a minute: they may be installed or removed while the operator runs.

use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;
use tokio::time::sleep;
use wscluster_crds::WsCluster;
use wscluster_crds::spec::Presence;

use crate::desired::monitors::{self, Found, Monitoring};
use crate::kinds::Kind;

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(30);
/// The same, until the first one has succeeded.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Looks at what the API server serves.
pub struct Look {
    client: Client,
    /// One namespace, or all.
    namespace: Option<String>,
}

impl Look {
    /// Looks for what is in one namespace, or in all.
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace }
    }

    /// The first look, which must succeed: what is there already must not be taken for gone.
    pub async fn first(&self) -> Monitoring {
        loop {
            match self.look().await {
                Ok(found) => return found,
                Err(error) => tracing::warn!(%error, "cannot ask for the Prometheus operator's kinds"),
            }
            sleep(FIRST_PAUSE).await;
        }
    }

    /// Goes on looking, and has every cluster reconciled that is concerned by a change.
    pub async fn follow(
        self,
        known: watch::Sender<Monitoring>,
        clusters: Store<WsCluster>,
        triggers: UnboundedSender<ObjectRef<WsCluster>>,
    ) {
        loop {
            sleep(PAUSE).await;
            let found = match self.look().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "cannot ask for the Prometheus operator's kinds");
                    continue;
                }
            };
            if known.send_if_modified(|before| std::mem::replace(before, found) != found) {
                tracing::info!(?found, "what is known of the Prometheus operator's kinds changed");
                for cluster in clusters.state_filter(monitored) {
                    let _ = triggers.unbounded_send(ObjectRef::from_obj(&*cluster));
                }
            }
        }
    }

    async fn look(&self) -> kube::Result<Monitoring> {
        let served = match self.client.list_api_group_resources(&Kind::PodMonitor.resource().api_version).await {
            Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Monitoring {
            pod_monitors: self.found(Kind::PodMonitor, &served).await?,
            prometheus_rules: self.found(Kind::PrometheusRule, &served).await?,
        })
    }

    /// Roles are older than the program where only its image was changed: what may not be listed is not made use of, for
    /// else nothing of a cluster could be looked after.
    async fn found(&self, kind: Kind, served: &[String]) -> kube::Result<Found> {
        let resource = kind.resource();
        if !served.contains(&resource.plural) {
            return Ok(Found::Missing);
        }
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => Ok(Found::Usable),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Found::Forbidden),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }
}

fn monitored(cluster: &WsCluster) -> bool {
    let asked = |kind: &Kind| monitors::asked(&cluster.spec.observability, *kind).0 != Presence::Disabled;
    Kind::MONITORS.iter().any(asked)
}
