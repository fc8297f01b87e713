//! Names and places of one testbed: its instance name, state folder, cgroups and addresses. Pure; touches nothing.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;

use crate::cache;

/// Pods and Services of each testbed use 198.18.0.0/15, which is set aside for benchmarks (RFC 2544): nothing outside the
/// testbed's own network namespaces can have these addresses.
pub(super) const SERVICES: &str = "198.18.128.0/17";
/// All pods of all nodes.
pub(super) const ALL_PODS: &str = "198.18.64.0/18";
/// The API server's Service, `kubernetes.default`.
pub(super) const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 18, 128, 1);
/// Where the API server listens in node 1.
pub(super) const API_PORT: u16 = 6443;
/// First address that a LoadBalancer Service may get.
pub(super) const LOAD_BALANCERS: Ipv4Addr = Ipv4Addr::new(198, 18, 32, 0);
/// How many addresses there are for LoadBalancer Services (a /20).
pub(super) const LOAD_BALANCER_COUNT: u32 = 4096;
/// The pod ranges leave room for so many nodes.
pub(super) const MAX_NODES: u32 = 4;

/// Name of a testbed: several stand side by side on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance(String);

impl Instance {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for Instance {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty()
            || name.len() > 30
            || !name.bytes().all(valid)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            bail!("{name:?} cannot name a testbed: use at most 30 of a-z, 0-9 and -, not at either end");
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Places of one testbed's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of an instance below the user's cache folder.
    pub fn of(instance: &Instance) -> Self {
        Self { root: testbeds().join(instance.as_str()) }
    }

    /// The layout in a given state folder (whose last part is the instance's name).
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The state folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        self.root.file_name().and_then(|name| name.to_str()).unwrap_or("default")
    }

    /// What the instance was started with; written once everything that nodes need to start is there.
    pub fn settings(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Held while the instance is started or taken down. Beside the folder, because the folder goes.
    pub fn lock(&self) -> PathBuf {
        self.root.with_extension("lock")
    }

    /// Keys and certificates.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The kubeconfig for use inside the nodes.
    pub fn inner_kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    /// The kubeconfig for use on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The port of 127.0.0.1 that leads to the API server.
    pub fn api_port(&self) -> PathBuf {
        self.root.join("api-port")
    }

    /// Where each LoadBalancer Service can be reached on this machine.
    pub fn forwards(&self) -> PathBuf {
        self.root.join("forwards.json")
    }

    /// All logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The API server's audit log: one JSON line per request that changes something.
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// One component's log on one node.
    pub fn log(&self, node: u32, component: &str) -> PathBuf {
        self.logs().join(node_name(node)).join(format!("{component}.log"))
    }

    /// A node's own files.
    pub fn node(&self, node: u32) -> PathBuf {
        self.root.join(node_name(node))
    }

    /// What the node's components do, written by the node's process 1.
    pub fn components(&self, node: u32) -> PathBuf {
        self.node(node).join("components.json")
    }

    /// A copy of the program that started the testbed: its nodes outlive a rebuild.
    pub fn program(&self) -> PathBuf {
        self.root.join("wscluster-node")
    }

    /// Name of a node's cgroup in every hierarchy.
    pub fn cgroup(&self, node: u32) -> String {
        format!("wscluster-{}-{}", self.instance(), node_name(node))
    }
}

/// The folder with all testbeds of this user.
pub(super) fn testbeds() -> PathBuf {
    cache::folder().join("testbeds")
}

/// The node's name in Kubernetes.
pub fn node_name(node: u32) -> String {
    format!("node{node}")
}

/// The node's address.
pub fn node_address(node: u32) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, node as u8)
}

/// The range of the pods of a node.
pub(super) fn pod_range(node: u32) -> String {
    format!("198.18.{}.0/20", 64 + 16 * (node - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_names_are_checked() {
        for good in ["default", "test-4711", "a"] {
            assert!(good.parse::<Instance>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "a.b", &"a".repeat(31)] {
            assert!(bad.parse::<Instance>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pod_ranges_of_all_nodes_lie_beside_each_other_in_the_pods_range() {
        let ranges: Vec<_> = (1..=MAX_NODES).map(pod_range).collect();
        assert_eq!(ranges, ["198.18.64.0/20", "198.18.80.0/20", "198.18.96.0/20", "198.18.112.0/20"]);
    }

    #[test]
    fn two_instances_share_no_name() {
        let [one, two] = ["one", "two"].map(|name| Layout::of(&name.parse().unwrap()));
        assert_ne!(one.root(), two.root());
        assert_ne!(one.cgroup(1), two.cgroup(1));
        assert_ne!(one.lock(), two.lock());
    }
}
