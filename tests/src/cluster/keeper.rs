//! A node's keeper: the process outside that owns it. When the keeper ends, for whatever reason, so does all of the node.
//! Node 1's keeper is also the way in from the machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::setsid;

use super::layout::Layout;
use super::roles::Role;
use super::settings::Settings;
use super::{cgroups, down, forwarder, mountpoints, plug, processes, wait};
use crate::cache::Lock;

/// Runs until the node ends or, with a lifeline, until the process that started it is gone.
pub(super) fn run(layout: &Layout, node: u32) -> Result<()> {
    // A session of its own: a Ctrl-C meant for the starter is not meant for us.
    let _ = setsid();
    let settings = Settings::read(layout)?;
    cgroups::create(&layout.cgroup(node))?;
    let ending = Arc::new(AtomicBool::new(false));
    if settings.lifeline {
        let (layout, ending) = (layout.clone(), Arc::clone(&ending));
        thread::spawn(move || end_with_starter(&layout, node, &ending));
    }
    // The main thread starts the node, because the kernel ends a child with the thread that started it.
    let mut child = namespaces(layout, node).spawn().context("cannot run setpriv and unshare (package util-linux)")?;
    let companion = layout.clone();
    thread::spawn(move || {
        if let Err(error) = accompany(&companion, node) {
            eprintln!("{error:#}");
            exit(1);
        }
    });
    let status = child.wait()?;
    while ending.load(Ordering::Acquire) {
        thread::park();
    }
    bail!("the node's process 1 ended ({status})")
}

/// The command that makes the node's namespaces and its process 1 in them. Each link of the chain ends with the one before.
fn namespaces(layout: &Layout, node: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--mount-proc"]);
    command.args(["--propagation", "private"]).arg(layout.program()).args(Role::Inside.arguments(layout, node));
    command.stdin(Stdio::null());
    command
}

fn accompany(layout: &Layout, node: u32) -> Result<()> {
    let init = await_init(layout, node)?;
    if node == 1 { forwarder::run(layout, &network_namespace(init)?) } else { plug::keep_plugged(layout, node, init) }
}

/// The node's process 1, once it is there.
fn await_init(layout: &Layout, node: u32) -> Result<i32> {
    wait::until("the node's process 1", Duration::from_secs(10), || Ok(processes::init(layout, node)))
}

/// The network namespace of a process.
fn network_namespace(pid: i32) -> Result<File> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(Path::new(&path)).with_context(|| format!("cannot open {path}"))
}

/// The starter holds the other end of our standard input: it closes when the starter ends.
fn end_with_starter(layout: &Layout, node: u32, ending: &AtomicBool) {
    let mut rest = [0; 64];
    while !matches!(io::stdin().read(&mut rest), Ok(0) | Err(_)) {}
    ending.store(true, Ordering::Release);
    if let Err(error) = clean_up(layout, node) {
        eprintln!("{error:#}");
    }
    exit(0);
}

/// The last keeper to come here finds nobody else at work, and removes everything.
fn clean_up(layout: &Layout, node: u32) -> Result<()> {
    let lock = Lock::take(&layout.lock(), || ())?;
    processes::end(layout, |process| process.node == node && process.role == Role::Inside)?;
    cgroups::remove(&layout.cgroup(node))?;
    let ended = |node: u32| layout.node(node).join("ended");
    let _ = fs::write(ended(node), "");
    if processes::keepers(layout).into_keys().all(|other| other == node || ended(other).exists()) {
        down::remove_files(layout)?;
    }
    if !layout.root().exists() {
        lock.remove();
        mountpoints::remove_unused(layout)?;
    }
    Ok(())
}
