//! The cluster that a test binary runs on: the one that `KUBECONFIG` names (`cargo xtask test` gives one), else a testbed of
//! its own, which ends with the binary.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use wscluster_tests::cluster::{Cluster, ClusterOptions};

/// A cluster to test on.
pub(crate) struct TestCluster {
    kubeconfig: PathBuf,
    own: Option<Cluster>,
}

impl TestCluster {
    /// Takes the given cluster, or starts one of one node under the name of the test binary.
    pub(crate) fn find(instance: &str) -> Result<Self> {
        if let Some(path) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
            return Ok(Self { kubeconfig: path.into(), own: None });
        }
        let cluster = Cluster::up(&ClusterOptions { instance: instance.to_owned(), nodes: 1, lifeline: true })?;
        Ok(Self { kubeconfig: cluster.kubeconfig(), own: Some(cluster) })
    }

    /// The kubeconfig, for programs.
    #[allow(dead_code)] // each test binary compiles this file, and not each runs programs
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The testbed, where it is our own and knows no image yet.
    #[allow(dead_code)]
    pub(crate) fn own(&self) -> Option<&Cluster> {
        self.own.as_ref()
    }

    /// A client of the cluster's API server.
    pub(crate) async fn client(&self) -> Result<Client> {
        let read = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }
}
