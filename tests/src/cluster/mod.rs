//! A real Kubernetes on this machine: started, found, entered, broken and taken down. Each node is one process that owns
//! its namespaces; nothing of it can reach, or be reached from, anywhere but this machine.

mod api;
mod balancer;
mod cgroups;
mod components;
mod configs;
mod down;
mod dump;
mod forwarder;
mod inside;
mod keeper;
mod layout;
pub mod logs;
mod mountpoints;
mod pki;
mod plug;
mod pool;
mod processes;
mod programs;
pub(crate) mod roles;
mod settings;
mod start;
mod status;
mod supervisor;
pub mod wait;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use balancer::{Exposed, ExposedPort, Exposures};
pub use layout::{Instance, Layout, node_address, node_name};
pub use programs::Program;
pub use status::{NodeStatus, Status};
pub use supervisor::{Report, State};

/// Name of the image that holds a pod's namespaces.
pub(crate) fn pause_image_name() -> &'static str {
    configs::PAUSE_IMAGE
}

use crate::image::Archive;
use settings::Settings;

/// How a testbed is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Its name; several stand side by side.
    pub instance: String,
    /// Number of nodes, 1 to 4.
    pub nodes: u32,
    /// Whether it ends, and is cleaned up, when this process ends (however) or the last clone of the [`Cluster`] is dropped.
    pub lifeline: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { instance: Instance::default().to_string(), nodes: 2, lifeline: false }
    }
}

/// A testbed that runs.
#[derive(Clone, Debug)]
pub struct Cluster {
    layout: Layout,
    settings: Settings,
    reused: bool,
    lifelines: Arc<Mutex<Vec<ChildStdin>>>,
}

impl Cluster {
    /// Starts a testbed and waits until its nodes are ready. One that runs is used as it is, one that is broken is mended.
    pub fn up(options: &ClusterOptions) -> Result<Self> {
        let started = start::up(options)?;
        Ok(Self {
            layout: started.layout,
            settings: started.settings,
            reused: started.reused,
            lifelines: Arc::new(Mutex::new(started.lifelines)),
        })
    }

    /// The testbed of that name, which must have been started.
    pub fn attach(instance: &str) -> Result<Self> {
        let layout = Layout::of(&instance.parse()?);
        if processes::keepers(&layout).is_empty() {
            bail!("testbed {instance} does not run; `cargo xtask cluster up` starts it");
        }
        let settings = Settings::read(&layout)?;
        Ok(Self { layout, settings, reused: true, lifelines: Arc::default() })
    }

    /// Takes a testbed down, whatever state it is in; says whether there was anything.
    pub fn down(instance: &str) -> Result<bool> {
        down::down(&instance.parse()?)
    }

    /// What a testbed of that name does, running or not.
    pub fn status(instance: &str) -> Result<Status> {
        Ok(status::of(&Layout::of(&instance.parse()?)))
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Number of nodes.
    pub fn nodes(&self) -> u32 {
        self.settings.nodes
    }

    /// Whether it ran before [`Cluster::up`].
    pub fn was_running(&self) -> bool {
        self.reused
    }

    /// The kubeconfig for use on this machine (as cluster-admin).
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The API server's audit log: one JSON line for each request that changes something (level Metadata).
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// A client with the rights of cluster-admin.
    pub async fn client(&self) -> Result<kube::Client> {
        api::client(&self.kubeconfig()).await
    }

    /// `kubectl` on this machine, for this testbed.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.settings.programs.kubernetes.join("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// `helm` on this machine, for this testbed. Builds it when it is used for the first time.
    pub fn helm(&self) -> Result<Command> {
        let mut command = Command::new(crate::tools::helm()?);
        command.env("KUBECONFIG", self.kubeconfig());
        Ok(command)
    }

    /// A command that runs inside a node, with its file system, network and processes; `kubectl` is on its PATH.
    pub fn node_command(&self, node: u32, program: &str) -> Result<Command> {
        let init = processes::init(&self.layout, node)
            .with_context(|| format!("{} of testbed {} does not run", node_name(node), self.layout.instance()))?;
        let mut command = Command::new("nsenter");
        command.args(["-t", &init.to_string(), "--mount", "--net", "--pid", "--uts", "--ipc", "--", program]);
        command.env("KUBECONFIG", self.layout.inner_kubeconfig()).env("PATH", self.inner_path());
        Ok(command)
    }

    fn inner_path(&self) -> String {
        let before = std::env::var("PATH").unwrap_or_default();
        let kubernetes = self.settings.programs.kubernetes.display();
        format!("{kubernetes}:{before}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    }

    /// A node's network namespace, for `setns`.
    pub fn node_netns(&self, node: u32) -> Result<File> {
        let init = processes::init(&self.layout, node).with_context(|| format!("{} does not run", node_name(node)))?;
        File::open(format!("/proc/{init}/ns/net")).context("cannot open the node's network namespace")
    }

    /// The programs that run in pods, each with its memory and its CPU time.
    pub fn programs(&self) -> Vec<Program> {
        programs::of(&self.layout, self.nodes())
    }

    /// Connections that a node's kernel keeps track of for its Services, and how many it would.
    pub fn tracked(&self, node: u32) -> Result<(u64, u64)> {
        let files = ["count", "max"].map(|name| format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
        let output = self.node_command(node, "cat")?.args(files).output().context("cannot run nsenter")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.lines().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(count)), Some(Ok(max))) => Ok((count, max)),
            _ => bail!("{} does not say what it tracks: {text:?}", node_name(node)),
        }
    }

    /// A runtime whose tasks connect from inside a node: pods, Services and load balancers are reachable at their own
    /// addresses. Do not drop it within another runtime's task (`shutdown_background` it there).
    pub fn node_runtime(&self, node: u32) -> Result<tokio::runtime::Runtime> {
        forwarder::runtime_in(&self.node_netns(node)?)
    }

    /// Loads an image archive on every node; does nothing where its images are there already.
    pub fn import_image(&self, path: &Path) -> Result<()> {
        let archive = Archive::inspect(path)?;
        let nodes = processes::inits(&self.layout).into_keys();
        nodes.filter(|node| *node <= self.nodes()).try_for_each(|node| self.import_on(node, path, &archive))
    }

    fn import_on(&self, node: u32, path: &Path, archive: &Archive) -> Result<()> {
        let listed = self.node_command(node, "ctr")?.args(["-n", "k8s.io", "images", "ls"]).output()?;
        let known = String::from_utf8_lossy(&listed.stdout).into_owned();
        if archive.images.iter().all(|image| is_listed(&known, &image.name, &image.digest)) {
            return Ok(());
        }
        // By standard input: the node sees other files than we do below /run and /var/lib/containerd.
        let output = self
            .node_command(node, "ctr")?
            .args(["-n", "k8s.io", "images", "import", "--no-unpack=false", "-"])
            .stdin(Stdio::from(File::open(path).with_context(|| format!("cannot read {}", path.display()))?))
            .output()
            .context("cannot run ctr")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("importing {} on {} failed: {}", path.display(), node_name(node), words.trim());
        }
        Ok(())
    }

    /// Where a LoadBalancer Service can be reached, once it can.
    pub fn exposed(&self, namespace: &str, service: &str) -> Option<Exposed> {
        balancer::exposures(&self.layout).remove(&format!("{namespace}/{service}"))
    }

    /// The address on 127.0.0.1 that leads to the first port of a LoadBalancer Service; waits until it is there.
    pub fn forward_address(&self, namespace: &str, service: &str) -> Result<SocketAddr> {
        let port = self.await_exposed(namespace, service)?.1.forward;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// A LoadBalancer Service's own address, for use from inside a node; waits until it is there.
    pub fn load_balancer_address(&self, namespace: &str, service: &str) -> Result<SocketAddr> {
        let (address, port) = self.await_exposed(namespace, service)?;
        Ok(SocketAddr::from((address, port.port)))
    }

    fn await_exposed(&self, namespace: &str, service: &str) -> Result<(Ipv4Addr, ExposedPort)> {
        wait::until(&format!("an address for Service {namespace}/{service}"), Duration::from_secs(15), || {
            let found = self.exposed(namespace, service);
            Ok(found.and_then(|exposed| Some((exposed.address, exposed.ports.into_iter().next()?))))
        })
    }

    /// Ends a node, as a power cut would: no process of it has time for a farewell.
    pub fn kill_node(&self, node: u32) -> Result<()> {
        self.check_node(node)?;
        processes::end(&self.layout, |process| process.node == node)?;
        cgroups::remove(&self.layout.cgroup(node))
    }

    /// Brings a node back that was ended, and waits until it is ready.
    pub fn start_node(&self, node: u32) -> Result<()> {
        self.check_node(node)?;
        let lifelines = start::start_node(&self.layout, &self.settings, node)?;
        self.lifelines.lock().unwrap_or_else(PoisonError::into_inner).extend(lifelines);
        Ok(())
    }

    fn check_node(&self, node: u32) -> Result<()> {
        if !(1..=self.nodes()).contains(&node) {
            bail!("testbed {} has no {}", self.layout.instance(), node_name(node));
        }
        Ok(())
    }

    /// Writes down all there is to know of a failure in a namespace: pods' logs, events, objects, components' logs.
    /// What cannot be had is said in the file of its name; this never fails for that.
    pub fn dump(&self, namespace: &str, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        dump::run(self, namespace, folder)
    }
}

fn is_listed(listing: &str, name: &str, digest: &str) -> bool {
    listing.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first() == Some(&name) && words.contains(&digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_there_only_with_the_same_digest() {
        let listing = "REF TYPE DIGEST SIZE PLATFORMS LABELS\na/b:1 application/x sha256:aa 3.0 MiB linux/amd64 -\n";
        assert!(is_listed(listing, "a/b:1", "sha256:aa"));
        assert!(!is_listed(listing, "a/b:1", "sha256:bb"));
        assert!(!is_listed(listing, "a/b:2", "sha256:aa"));
    }
}
