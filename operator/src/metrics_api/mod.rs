//! The custom metrics API, behind the API server's aggregation layer: what a HorizontalPodAutoscaler asks for connections.
//!
//! `request` (what is asked), `shapes` (what is answered), `identity` (who asks), `certificates` and `registration` decide and
//! do no IO; `access` asks whether somebody may; `server` and `upkeep` wire it. Every replica of the operator does all of
//! it, whether it leads or not.

pub mod access;
pub mod api;
pub mod certificates;
pub mod identity;
pub mod registration;
pub mod request;
pub mod server;
pub mod shapes;
pub mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::figures::Figures;
use crate::metrics::Metrics;
use crate::scalers::Known;
use api::MetricsApi;
use upkeep::Upkeep;

/// API group that is served.
pub const GROUP: &str = "custom.metrics.k8s.io";

/// How the metrics API is served.
#[derive(Args, Clone, Debug, Default)]
pub struct MetricsApiConfig {
    /// Serve custom.metrics.k8s.io over TLS at this address, and register it. Absent: it is not served.
    #[arg(long = "metrics-api-listen", env = "WSCLUSTER_METRICS_API_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// The Service in front of that address, in the operator's namespace. The Secret with its certificate has the same name.
    #[arg(long = "metrics-api-service", default_value = "wscluster-operator-metrics-api")]
    pub service: String,
    /// A ClusterRole with which the registration is to go. Absent: it stays when the operator is uninstalled.
    #[arg(long = "metrics-api-role")]
    pub role: Option<String>,
}

/// What the metrics API is served from.
pub struct Service {
    /// How it is served.
    pub config: MetricsApiConfig,
    /// Namespace of the operator.
    pub namespace: String,
    /// The client.
    pub client: Client,
    /// Where the figures come from.
    pub figures: Arc<Figures>,
    /// Where others learn how the API stands.
    pub known: Known,
    /// Counts writes.
    pub metrics: Metrics,
}

impl Service {
    /// Serves and is kept up until told to end.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { config, namespace, client, figures, known, metrics } = self;
        let api = Arc::new(MetricsApi::new(client.clone(), figures));
        let serving = watch::Sender::new(None);
        let server = server::serve(listener, serving.subscribe(), api, shutdown.clone());
        let upkeep = Upkeep { client, config, namespace, serving, known, metrics };
        tokio::select! {
            () = server => {}
            () = upkeep.run() => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `v1beta1`
    V1Beta1,
    /// `v1beta2`
    V1Beta2,
}

impl Version {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 2] = [Self::V1Beta2, Self::V1Beta1];

    /// Its name, as in a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1Beta2 => "v1beta2",
        }
    }

    /// The version of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == name)
    }

    /// Group and version.
    pub fn group_version(self) -> String {
        format!("{GROUP}/{}", self.as_str())
    }
}
