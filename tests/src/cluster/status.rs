//! What a testbed does, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::api::{self, NodeState};
use super::balancer::{self, Exposures};
use super::layout::{Layout, node_address, node_name};
use super::processes;
use super::settings::Settings;
use super::supervisor::{Report, State, reports};

/// What a testbed does.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub instance: String,
    /// Whether any of it runs.
    pub running: bool,
    /// Whether all of it runs and is ready.
    pub ready: bool,
    /// Its state folder.
    pub folder: PathBuf,
    /// The kubeconfig for use on this machine.
    pub kubeconfig: PathBuf,
    /// The `kubectl` of its release.
    pub kubectl: Option<PathBuf>,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Its LoadBalancer Services.
    pub services: Exposures,
}

/// What a node does.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its address inside the testbed.
    pub address: String,
    /// The process on this machine that owns it.
    pub keeper: Option<i32>,
    /// Whether Kubernetes calls it ready.
    pub ready: bool,
    /// Its components.
    pub components: Vec<Report>,
}

/// Looks at a testbed.
pub(super) fn of(layout: &Layout) -> Status {
    let settings = Settings::read(layout).ok();
    let keepers = processes::keepers(layout);
    let known = if keepers.is_empty() { Vec::new() } else { ask_nodes(layout) };
    let count = settings.as_ref().map_or(0, |settings| settings.nodes);
    let nodes: Vec<_> = (1..=count).map(|node| node_status(layout, node, &keepers, &known)).collect();
    Status {
        instance: layout.instance().to_owned(),
        running: !keepers.is_empty(),
        ready: !nodes.is_empty() && nodes.iter().all(NodeStatus::is_well),
        folder: layout.root().to_owned(),
        kubeconfig: layout.kubeconfig(),
        kubectl: settings.map(|settings| settings.programs.kubernetes.join("kubectl")),
        nodes,
        services: balancer::exposures(layout),
    }
}

/// An API server that does not answer knows no node.
fn ask_nodes(layout: &Layout) -> Vec<NodeState> {
    let kubeconfig = layout.kubeconfig();
    let asked = api::block_on(async {
        let client = api::client(&kubeconfig).await?;
        if api::is_ready(&client).await { api::nodes(&client).await } else { Ok(Vec::new()) }
    });
    asked.unwrap_or_default()
}

fn node_status(layout: &Layout, node: u32, keepers: &BTreeMap<u32, i32>, known: &[NodeState]) -> NodeStatus {
    let name = node_name(node);
    let keeper = keepers.get(&node).copied();
    NodeStatus {
        address: node_address(node).to_string(),
        ready: keeper.is_some() && known.iter().any(|state| state.name == name && state.ready),
        components: if keeper.is_some() { reports(layout, node) } else { Vec::new() },
        keeper,
        name,
    }
}

impl NodeStatus {
    fn is_well(&self) -> bool {
        self.ready && self.components.iter().all(|report| matches!(report.state, State::Running | State::Done))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.running {
            return writeln!(f, "testbed {} does not run; `cargo xtask cluster up` starts it", self.instance);
        }
        let ready = if self.ready { "ready" } else { "NOT READY" };
        writeln!(f, "testbed {}: {ready}", self.instance)?;
        for node in &self.nodes {
            writeln!(f, "\n  {node}")?;
            for report in &node.components {
                writeln!(f, "    {}", line(report))?;
            }
        }
        for (name, exposed) in &self.services {
            let ports = exposed.ports.iter().map(|port| format!("{} at 127.0.0.1:{}", port.port, port.forward));
            writeln!(f, "\n  LoadBalancer {name}: {} port {}", exposed.address, ports.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(f, "\n  export KUBECONFIG={}", self.kubeconfig.display())?;
        if let Some(kubectl) = self.kubectl.as_ref().and_then(|kubectl| kubectl.parent()) {
            writeln!(f, "  export PATH={}:$PATH    # kubectl", kubectl.display())?;
        }
        writeln!(f, "  logs: {}", self.folder.join("log").display())
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, address) = (&self.name, &self.address);
        match (self.keeper, self.ready) {
            (None, _) => write!(f, "{name}  {address}  gone"),
            (Some(keeper), true) => write!(f, "{name}  {address}  Ready     (process {keeper})"),
            (Some(keeper), false) => write!(f, "{name}  {address}  NotReady  (process {keeper})"),
        }
    }
}

fn line(report: &Report) -> String {
    let state = match &report.state {
        State::Waiting => "waiting".to_owned(),
        State::Running => "running".to_owned(),
        State::Done => "done".to_owned(),
        State::Restarting { reason } => format!("starting again after {reason}"),
        State::Failed { reason } => format!("FAILED: {reason}"),
    };
    let restarts = if report.restarts > 0 { format!(" ({} restarts)", report.restarts) } else { String::new() };
    format!("{:<12} {state}{restarts}", report.name)
}
