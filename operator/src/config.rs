//! The command line. It knows flags and their environment variables, and nothing of what they cause.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::metrics_api::MetricsApiConfig;
use crate::scalers::{Scalers, Standing};

/// Turns WsCluster resources into gateway fleets and keeps them so.
#[derive(Parser, Debug)]
#[command(name = "wscluster-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Reconcile until ended by SIGTERM.
    Run(Box<OperatorConfig>),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
}

/// How the operator runs.
#[derive(Args, Clone, Debug)]
pub struct OperatorConfig {
    /// Look after this namespace only.
    #[arg(long, env = "WSCLUSTER_NAMESPACE", conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// Look after all namespaces. The default.
    #[arg(long)]
    pub all_namespaces: bool,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "WSCLUSTER_METRICS_LISTEN", default_value = "0.0.0.0:9091")]
    pub metrics_listen: SocketAddr,
    /// Image of gateways whose WsCluster names none.
    #[arg(long, env = "WSCLUSTER_GATEWAY_IMAGE", default_value = DEFAULT_IMAGE)]
    pub gateway_image: String,
    /// Namespace of the leader election lease; also the one that gateways let through to their admin port.
    #[arg(long, env = "POD_NAMESPACE", default_value = "wscluster-system")]
    pub lease_namespace: String,
    /// Name of the leader election lease.
    #[arg(long, default_value = "wscluster-operator")]
    pub lease_name: String,
    /// Name of this process among those that want the lease. A random part is added.
    #[arg(long, env = "POD_NAME", default_value = "wscluster-operator")]
    pub identity: String,
    /// Where the operator's Service takes questions for the connections of a cluster, for KEDA, like
    /// http://wscluster-operator-metrics.wscluster-system.svc:9091/v1/connections.
    #[arg(long, env = "WSCLUSTER_FIGURES_URL")]
    pub figures_url: Option<String>,
    /// A label that PodMonitors and PrometheusRules are to have, as KEY=VALUE: many a Prometheus looks for one. May be given
    /// several times.
    #[arg(long = "monitor-label", value_parser = label)]
    pub monitor_labels: Vec<(String, String)>,
    /// The label by which Grafana's sidecar finds dashboards, as KEY=VALUE.
    #[arg(long, env = "WSCLUSTER_DASHBOARD_LABEL", default_value = "grafana_dashboard=1", value_parser = label)]
    pub dashboard_label: (String, String),
    /// The metrics API.
    #[command(flatten)]
    pub metrics_api: MetricsApiConfig,
}

/// Image of the operator's own version.
pub const DEFAULT_IMAGE: &str = concat!("wscluster.dev/wscluster:", env!("CARGO_PKG_VERSION"));

impl OperatorConfig {
    /// What the pure parts need to know.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            gateway_image: self.gateway_image.clone(),
            operator_namespace: self.lease_namespace.clone(),
            monitor_labels: self.monitor_labels.iter().cloned().collect(),
            dashboard_label: self.dashboard_label.clone(),
        }
    }

    /// What there is to scale with, before anybody has looked.
    pub fn scalers(&self) -> Scalers {
        let metrics_api = if self.metrics_api.listen.is_some() { Standing::Unknown } else { Standing::Off };
        Scalers { keda: None, figures_url: self.figures_url.clone(), metrics_api }
    }
}

/// What desired objects take from the operator rather than from a WsCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of gateways whose WsCluster names none.
    pub gateway_image: String,
    /// Where the operator runs: the gateways' NetworkPolicy lets it through to the admin port.
    pub operator_namespace: String,
    /// Labels by which a Prometheus is told to look for PodMonitors and PrometheusRules.
    pub monitor_labels: BTreeMap<String, String>,
    /// Label by which Grafana's sidecar finds dashboards.
    pub dashboard_label: (String, String),
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write it as KEY=VALUE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<OperatorConfig, clap::Error> {
        let all = ["wscluster-operator", "run"].iter().chain(arguments);
        match Arguments::try_parse_from(all)?.command {
            Command::Run(config) => Ok(*config),
            Command::Crd => unreachable!("run was asked for"),
        }
    }

    #[test]
    fn flags_default_to_all_namespaces_and_the_own_image() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.namespace, None);
        assert_eq!(config.gateway_image, "wscluster.dev/wscluster:0.1.0");
        assert_eq!(config.metrics_listen.to_string(), "0.0.0.0:9091");
    }

    #[test]
    fn labels_are_pairs() {
        let config = parse(&["--monitor-label=release=prometheus", "--monitor-label=a/b="]).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(config.monitor_labels, [pair("release", "prometheus"), pair("a/b", "")]);
        assert_eq!(config.dashboard_label, pair("grafana_dashboard", "1"));
        for bad in ["release", "=x", ""] {
            assert!(parse(&["--monitor-label", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_namespace_and_all_namespaces_exclude_each_other() {
        assert!(parse(&["--namespace", "a", "--all-namespaces"]).is_err());
    }
}
