//! Whether the cluster has the Prometheus operator's kinds, and whether their objects may be listed.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use wscluster_crds::WsCluster;
use wscluster_crds::spec::Presence;

use crate::desired::monitors::{self, Found, Monitoring};
use crate::kinds::Kind;
use crate::look::Look;

/// Looks for the kinds.
pub struct Monitors {
    client: Client,
    /// One namespace, or all.
    namespace: Option<String>,
}

impl Monitors {
    /// Looks for what is in one namespace, or in all.
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace }
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

impl Look for Monitors {
    type Found = Monitoring;
    const WHAT: &str = "the Prometheus operator's kinds";
    const PAUSE: Duration = Duration::from_secs(30);

    async fn look(&mut self) -> kube::Result<Monitoring> {
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

    fn concerns(cluster: &WsCluster) -> bool {
        let asked = |kind: &Kind| monitors::asked(&cluster.spec.observability, *kind).0 != Presence::Disabled;
        Kind::MONITORS.iter().any(asked)
    }
}
