//! Keeps what the metrics API stands on: the certificate, whom to believe, the registration. Every replica does, for each
//! needs the first two, and a write that another has made already is seen and not repeated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::time::sleep;
use wscluster_crds::labels;

use super::certificates::{CertificateError, Certificates};
use super::identity::{self, FrontProxy};
use super::registration::{self, Ours, Step};
use super::server::{Serving, TlsError};
use super::{MetricsApiConfig, Version};
use crate::metrics::Metrics;
use crate::scalers::{Known, Standing};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(30);
/// The same, while something is not as it should be.
const SOON: Duration = Duration::from_secs(2);
/// Field manager of what is written here.
const MANAGER: &str = "wscluster-operator-metrics-api";

/// Why a round was cut short.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error("{0}: {1}")]
    Api(&'static str, kube::Error),
    #[error("the API server publishes no requestheader-client-ca-file: its aggregation layer is not set up")]
    NoAggregation,
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error("{0}")]
    Tls(#[from] TlsError),
}

/// Keeps it all.
pub struct Upkeep {
    /// The client.
    pub client: Client,
    /// How the API is served.
    pub config: MetricsApiConfig,
    /// Namespace of the operator.
    pub namespace: String,
    /// Where the server takes what it serves with.
    pub serving: watch::Sender<Option<Serving>>,
    /// Where others learn how the API stands.
    pub known: Known,
    /// Counts writes.
    pub metrics: Metrics,
}

impl Upkeep {
    /// Never ends.
    pub async fn run(self) {
        loop {
            let settled = match self.round().await {
                Ok(standing) => {
                    if self.known.metrics_api(&standing) {
                        tracing::info!(?standing, "metrics API");
                    }
                    matches!(standing, Standing::Available | Standing::Taken { .. })
                }
                Err(error) => {
                    tracing::warn!(%error, "the metrics API cannot be kept up");
                    false
                }
            };
            sleep(if settled { ROUND } else { SOON }).await;
        }
    }

    async fn round(&self) -> Result<Standing, UpkeepError> {
        let owner = self.owner().await?;
        let proxy = self.front_proxy().await?;
        let certificates = self.certificates(owner.as_ref()).await?;
        let current = self.serving.borrow().as_ref().is_some_and(|serving| serving.is(&certificates, &proxy));
        if !current {
            self.serving.send_replace(Some(Serving::new(certificates.clone(), proxy)?));
        }
        self.register(certificates.authorities, owner).await
    }

    /// The chart's ClusterRole, with which everything of this goes when the operator is uninstalled: a registration that is
    /// left behind would have the API server ask nobody, and keep namespaces from being deleted.
    async fn owner(&self) -> Result<Option<OwnerReference>, UpkeepError> {
        let Some(role) = &self.config.role else { return Ok(None) };
        let found = Api::<ClusterRole>::all(self.client.clone()).get_opt(role).await;
        let found = found.map_err(|error| UpkeepError::Api("read the ClusterRole", error))?;
        Ok(found.and_then(|role| role.owner_ref(&())))
    }

    async fn front_proxy(&self) -> Result<Arc<FrontProxy>, UpkeepError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), identity::NAMESPACE);
        let published = api.get_opt(identity::CONFIG_MAP).await;
        let published = published.map_err(|error| UpkeepError::Api("read whom to believe", error))?;
        let proxy = published.as_ref().and_then(FrontProxy::of).ok_or(UpkeepError::NoAggregation)?;
        Ok(Arc::new(proxy))
    }

    /// The certificates that all replicas serve with. Who is second to write them takes those of the first in the next round.
    async fn certificates(&self, owner: Option<&OwnerReference>) -> Result<Certificates, UpkeepError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(&self.config.service).await;
        let found = found.map_err(|error| UpkeepError::Api("read the certificate", error))?;
        let held = found.as_ref().and_then(Certificates::of);
        let (certificates, new) = Certificates::renewed(held, &self.names(), Timestamp::now())?;
        if !new {
            return Ok(certificates);
        }
        let mut secret = self.secret(&certificates, owner);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = match found {
            None => {
                self.metrics.wrote("Secret", "create");
                api.create(&params, &secret).await
            }
            Some(found) => {
                self.metrics.wrote("Secret", "update");
                secret.metadata.resource_version = found.resource_version();
                api.replace(&self.config.service, &params, &secret).await
            }
        };
        written.map_err(|error| UpkeepError::Api("write the certificate", error))?;
        tracing::info!(secret = self.config.service, "made a certificate for the metrics API");
        Ok(certificates)
    }

    /// Names by which the API server reaches the Service.
    fn names(&self) -> [String; 2] {
        let Self { namespace, config, .. } = self;
        [format!("{}.{namespace}.svc", config.service), format!("{}.{namespace}.svc.cluster.local", config.service)]
    }

    fn secret(&self, certificates: &Certificates, owner: Option<&OwnerReference>) -> Secret {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let labels = [label(labels::NAME, labels::APP_NAME), label(labels::MANAGED_BY_KEY, labels::MANAGED_BY)];
        Secret {
            metadata: ObjectMeta {
                name: Some(self.config.service.clone()),
                labels: Some(BTreeMap::from(labels)),
                owner_references: owner.map(|owner| vec![owner.clone()]),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(certificates.data()),
            ..Secret::default()
        }
    }

    async fn register(&self, authorities: String, owner: Option<OwnerReference>) -> Result<Standing, UpkeepError> {
        let api: Api<APIService> = Api::all(self.client.clone());
        let mut found = BTreeMap::new();
        for version in Version::ALL {
            let service = api.get_opt(&registration::name(version)).await;
            let service = service.map_err(|error| UpkeepError::Api("read the APIService", error))?;
            found.extend(service.map(|service| (version, service)));
        }
        let (service, namespace) = (self.config.service.clone(), self.namespace.clone());
        let Step { writes, withdrawals, standing } =
            registration::step(&found, &Ours { service, namespace, authorities, owner });
        for (version, body) in &writes {
            self.metrics.wrote("APIService", "apply");
            let params = PatchParams::apply(MANAGER).force();
            let written = api.patch(&registration::name(*version), &params, &Patch::Apply(body)).await;
            written.map_err(|error| UpkeepError::Api("write the APIService", error))?;
        }
        for version in withdrawals {
            self.metrics.wrote("APIService", "delete");
            let preconditions = Preconditions { uid: found[&version].uid(), ..Preconditions::default() };
            let params = DeleteParams::default().preconditions(preconditions);
            let deleted = api.delete(&registration::name(version), &params).await;
            deleted.map_err(|error| UpkeepError::Api("delete the APIService", error))?;
        }
        Ok(standing)
    }
}
