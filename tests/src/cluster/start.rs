//! Starts a testbed, or finds that it runs, or mends it. Everything that can be there half is told by what is there.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::process::{ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::unistd::Uid;

use super::components::Programs;
use super::layout::{Layout, MAX_NODES, node_name};
use super::roles::Role;
use super::settings::Settings;
use super::supervisor::{State, reports};
use super::{ClusterOptions, api, down, logs, pki, processes, wait};
use crate::cache::Lock;
use crate::progress::Step;
use crate::tools::Tool;
use crate::{image, packages};

const READY_LIMIT: Duration = Duration::from_secs(90);

/// What came out of a start.
pub(super) struct Started {
    /// Where the testbed is.
    pub layout: Layout,
    /// What it was started with.
    pub settings: Settings,
    /// Holding these keeps a testbed with a lifeline alive.
    pub lifelines: Vec<ChildStdin>,
    /// Whether it ran before.
    pub reused: bool,
}

/// Makes sure that a testbed runs and is ready.
pub(super) fn up(options: &ClusterOptions) -> Result<Started> {
    check_machine(options)?;
    packages::ensure()?;
    let settings = Settings { nodes: options.nodes, lifeline: options.lifeline, programs: programs()? };
    let layout = Layout::of(&options.instance.parse()?);
    down::sweep()?;
    let _lock = Lock::take(&layout.lock(), || eprintln!("  another run starts {}; waiting for it", layout.instance()))?;
    match mend(&layout, &settings) {
        Ok(Some(started)) => return Ok(started),
        Ok(None) => {}
        Err(reason) => eprintln!("  testbed {} is broken ({reason:#}); starting it anew", layout.instance()),
    }
    down::remove(&layout)?;
    start_anew(layout, settings)
}

/// Starts a node of a running testbed that is not there, and waits until it is ready.
pub(super) fn start_node(layout: &Layout, settings: &Settings, node: u32) -> Result<Vec<ChildStdin>> {
    let _lock = Lock::take(&layout.lock(), || ())?;
    start_missing(layout, settings, &[node])
}

fn check_machine(options: &ClusterOptions) -> Result<()> {
    if !(1..=MAX_NODES).contains(&options.nodes) {
        bail!("a testbed has 1 to {MAX_NODES} nodes, not {}", options.nodes);
    }
    if !Uid::effective().is_root() {
        packages::ensure()?;
        bail!("the testbed makes network namespaces, mounts and cgroups, and needs root for it: run it with sudo");
    }
    Ok(())
}

fn programs() -> Result<Programs> {
    Ok(Programs {
        kubernetes: Tool::Kubernetes.folder()?,
        coredns: Tool::CoreDns.folder()?,
        pause_image: image::pause()?,
    })
}

/// The running testbed, after starting the nodes that are missing; nothing when there is none that could be used.
fn mend(layout: &Layout, wanted: &Settings) -> Result<Option<Started>> {
    if !layout.settings().exists() {
        return Ok(None);
    }
    let settings = Settings::read(layout)?;
    if settings.nodes != wanted.nodes {
        bail!("it has {} nodes instead of {}", settings.nodes, wanted.nodes);
    }
    if settings.programs != wanted.programs {
        bail!("its programs are of another version");
    }
    let (keepers, inits) = (processes::keepers(layout), processes::inits(layout));
    let missing: Vec<u32> = (1..=settings.nodes).filter(|node| !keepers.contains_key(node)).collect();
    let complete = missing.is_empty() && inits.len() as u32 == settings.nodes;
    let lifelines = if complete {
        await_ready(layout, &settings, &BTreeMap::new())?;
        Vec::new()
    } else {
        start_missing(layout, &settings, &missing)?
    };
    Ok(Some(Started { layout: layout.clone(), settings, lifelines, reused: missing.is_empty() }))
}

fn start_missing(layout: &Layout, settings: &Settings, missing: &[u32]) -> Result<Vec<ChildStdin>> {
    processes::end(layout, |process| missing.contains(&process.node))?;
    let names: Vec<_> = missing.iter().copied().map(node_name).collect();
    let step = Step::start(format!("starting {} of testbed {}", names.join(" and "), layout.instance()), None);
    let now = Timestamp::now();
    let lifelines = spawn_all(layout, settings, missing)?;
    await_ready(layout, settings, &missing.iter().map(|node| (node_name(*node), now)).collect())?;
    step.done();
    Ok(lifelines)
}

fn start_anew(layout: Layout, settings: Settings) -> Result<Started> {
    let step = Step::start(
        format!("starting testbed {} with {} nodes", layout.instance(), settings.nodes),
        Some(Duration::from_secs(12)),
    );
    fs::create_dir_all(layout.logs()).with_context(|| format!("cannot create {}", layout.logs().display()))?;
    fs::copy("/proc/self/exe", layout.program()).context("cannot copy this program for the nodes to run")?;
    pki::create(&layout, settings.nodes)?;
    settings.write(&layout)?;
    let all: Vec<u32> = (1..=settings.nodes).collect();
    let lifelines = spawn_all(&layout, &settings, &all)?;
    await_ready(&layout, &settings, &BTreeMap::new())?;
    step.done();
    Ok(Started { layout, settings, lifelines, reused: false })
}

fn spawn_all(layout: &Layout, settings: &Settings, nodes: &[u32]) -> Result<Vec<ChildStdin>> {
    let spawned: Result<Vec<_>> = nodes.iter().map(|node| spawn_keeper(layout, settings, *node)).collect();
    Ok(spawned?.into_iter().flatten().collect())
}

fn spawn_keeper(layout: &Layout, settings: &Settings, node: u32) -> Result<Option<ChildStdin>> {
    let log_path = layout.log(node, "keeper");
    fs::create_dir_all(layout.node(node))?;
    if let Some(folder) = log_path.parent() {
        fs::create_dir_all(folder)?;
    }
    let _ = fs::remove_file(layout.components(node));
    let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut child = Role::Keeper
        .command(&layout.program(), layout, node)
        .current_dir("/")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS")
        .stdin(if settings.lifeline { Stdio::piped() } else { Stdio::null() })
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", layout.program().display()))?;
    let lifeline = child.stdin.take();
    // A process that has just become another program shows no arguments for an instant.
    wait::until("the node's keeper", Duration::from_secs(10), || {
        let there = processes::keepers(layout).contains_key(&node) || child.try_wait()?.is_some();
        Ok(there.then_some(()))
    })?;
    // A keeper that ends before us must not stay as a zombie.
    thread::spawn(move || child.wait());
    Ok(lifeline)
}

/// Waits until all nodes are ready (those named in `since`: have said so after that time) and pods can be made.
fn await_ready(layout: &Layout, settings: &Settings, since: &BTreeMap<String, Timestamp>) -> Result<()> {
    let end = Instant::now() + READY_LIMIT;
    wait::until("the API server's port", READY_LIMIT, || {
        check_alive(layout, settings)?;
        Ok(layout.api_port().exists().then_some(()))
    })?;
    api::block_on(async {
        let client = api::client(&layout.kubeconfig()).await?;
        loop {
            check_alive(layout, settings)?;
            if settled(layout, settings) && is_complete(&client, settings, since).await {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("the testbed is not ready after {} s; {}", READY_LIMIT.as_secs(), describe(layout, settings));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

async fn is_complete(client: &kube::Client, settings: &Settings, since: &BTreeMap<String, Timestamp>) -> bool {
    let Ok(nodes) = api::nodes(client).await else { return false };
    let ready = |name: &String| {
        let after = since.get(name).map_or(0, |time| time.as_second());
        nodes.iter().any(|node| node.name == *name && node.ready && node.heartbeat >= after)
    };
    (1..=settings.nodes).map(node_name).all(|name| ready(&name)) && api::has_service_account(client).await
}

/// Whether every component runs, or is done.
fn settled(layout: &Layout, settings: &Settings) -> bool {
    (1..=settings.nodes).all(|node| {
        let reports = reports(layout, node);
        !reports.is_empty() && reports.iter().all(|report| matches!(report.state, State::Running | State::Done))
    })
}

/// A node that has ended, and a component that keeps dying, are not worth waiting for.
fn check_alive(layout: &Layout, settings: &Settings) -> Result<()> {
    let keepers = processes::keepers(layout);
    for node in 1..=settings.nodes {
        let name = node_name(node);
        if !keepers.contains_key(&node) {
            let log = layout.log(node, "keeper");
            bail!("{name} has ended; the last lines of {}:\n{}", log.display(), logs::last_lines(&log, 15));
        }
        for report in reports(layout, node) {
            if let State::Failed { reason } = &report.state {
                let log = layout.log(node, &report.name);
                bail!(
                    "{} on {name} keeps dying ({reason}); the last lines of {}:\n{}",
                    report.name,
                    log.display(),
                    logs::last_lines(&log, 15)
                );
            }
        }
    }
    Ok(())
}

fn describe(layout: &Layout, settings: &Settings) -> String {
    let unsettled = (1..=settings.nodes).flat_map(|node| {
        let open =
            reports(layout, node).into_iter().filter(|report| !matches!(report.state, State::Running | State::Done));
        open.map(move |report| format!("{} on {}", report.name, node_name(node))).collect::<Vec<_>>()
    });
    let names: Vec<String> = unsettled.collect();
    let what = if names.is_empty() {
        "its nodes do not become ready".to_owned()
    } else {
        format!("open: {}", names.join(", "))
    };
    format!("{what}. The logs are in {}", layout.logs().display())
}
