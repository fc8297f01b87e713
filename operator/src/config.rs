//! The command line. It knows flags and their environment variables, and nothing of what they cause.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

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
}

/// Image of the operator's own version.
pub const DEFAULT_IMAGE: &str = concat!("wscluster.dev/wscluster:", env!("CARGO_PKG_VERSION"));

impl OperatorConfig {
    /// What the pure parts need to know.
    pub fn defaults(&self) -> Defaults {
        Defaults { gateway_image: self.gateway_image.clone(), operator_namespace: self.lease_namespace.clone() }
    }
}

/// What desired objects take from the operator rather than from a WsCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of gateways whose WsCluster names none.
    pub gateway_image: String,
    /// Where the operator runs: the gateways' NetworkPolicy lets it through to the admin port.
    pub operator_namespace: String,
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
    fn one_namespace_and_all_namespaces_exclude_each_other() {
        assert!(parse(&["--namespace", "a", "--all-namespaces"]).is_err());
    }
}
