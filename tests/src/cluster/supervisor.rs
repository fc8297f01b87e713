//! Starts a node's components in order, starts again those that die, reaps orphans, and writes down what each does.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::api;
use super::components::{Component, Gate};
use super::layout::Layout;
use crate::cache::write_atomically;

/// A component that has died so often is left dead.
const MAX_RESTARTS: u32 = 5;
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const GATE_INTERVAL: Duration = Duration::from_millis(25);

/// What a component does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum State {
    /// Waits for what it needs.
    Waiting,
    /// Runs.
    Running,
    /// Was a task, and has succeeded.
    Done,
    /// Died, and will be started again.
    Restarting {
        /// How it died.
        reason: String,
    },
    /// Died too often.
    Failed {
        /// How it died.
        reason: String,
    },
}

/// What a component does, and how often it had to be started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The component.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub state: State,
    /// How often it was started again.
    pub restarts: u32,
}

struct Supervised {
    component: Component,
    state: State,
    restarts: u32,
    not_before: Option<Instant>,
}

/// Runs the components until the node is ended.
pub(super) fn run(layout: &Layout, node: u32, components: Vec<Component>) -> Result<()> {
    let children = child_signals()?;
    let api = watch_api(layout);
    let mut all: Vec<Supervised> = components.into_iter().map(Supervised::new).collect();
    let mut running = HashMap::new();
    let mut written = Vec::new();
    loop {
        start_what_can(layout, node, &mut all, &mut running, &api);
        let reports: Vec<Report> = all.iter().map(Supervised::report).collect();
        if reports != written {
            write_atomically(&layout.components(node), &serde_json::to_vec_pretty(&reports)?)?;
            written = reports;
        }
        await_change(&children, all.iter().any(Supervised::wants_to_start))?;
        reap(&mut all, &mut running);
    }
}

/// Reads what the components of a node do; nothing when the node has not come so far.
pub(super) fn reports(layout: &Layout, node: u32) -> Vec<Report> {
    let text = fs::read(layout.components(node)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn child_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("cannot block SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).context("cannot watch SIGCHLD")
}

/// Becomes true when the API server is ready for the first time.
fn watch_api(layout: &Layout) -> Arc<AtomicBool> {
    let ready = Arc::new(AtomicBool::new(false));
    let (flag, kubeconfig) = (Arc::clone(&ready), layout.inner_kubeconfig());
    thread::spawn(move || match api::wait_ready(&kubeconfig, Duration::MAX) {
        Ok(()) => flag.store(true, Ordering::Release),
        Err(error) => eprintln!("cannot ask the API server whether it is ready: {error:#}"),
    });
    ready
}

fn start_what_can(
    layout: &Layout,
    node: u32,
    all: &mut [Supervised],
    running: &mut HashMap<Pid, usize>,
    api: &AtomicBool,
) {
    for (index, supervised) in all.iter_mut().enumerate() {
        if supervised.wants_to_start() && supervised.may_start() && is_open(&supervised.component.gate, api) {
            match start(layout, node, &supervised.component) {
                Ok(pid) => {
                    running.insert(pid, index);
                    supervised.state = State::Running;
                }
                Err(error) => supervised.died(format!("{error:#}")),
            }
        }
    }
}

fn is_open(gate: &Gate, api: &AtomicBool) -> bool {
    let ready = || api.load(Ordering::Acquire);
    match gate {
        Gate::None => true,
        Gate::Port(address) => accepts(*address),
        Gate::Socket(path) => path.exists(),
        Gate::Api => ready(),
        Gate::ApiAndSocket(path) => ready() && path.exists(),
    }
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, GATE_INTERVAL).is_ok()
}

fn start(layout: &Layout, node: u32, component: &Component) -> Result<Pid> {
    let path = layout.log(node, component.name);
    let log = OpenOptions::new().create(true).append(true).open(&path)?;
    let child = Command::new(&component.program)
        .args(&component.arguments)
        .current_dir(layout.node(node))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", component.program.display()))?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// Returns when a child has ended, or, while something waits for its gate, a moment later.
fn await_change(children: &SignalFd, gates: bool) -> Result<()> {
    let timeout = if gates { PollTimeout::try_from(GATE_INTERVAL)? } else { PollTimeout::NONE };
    match poll(&mut [PollFd::new(children.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot wait for components"),
    }
    while let Ok(Some(_)) = children.read_signal() {}
    Ok(())
}

/// Takes note of all children that have ended; orphans of others end here too.
fn reap(all: &mut [Supervised], running: &mut HashMap<Pid, usize>) {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        let (pid, reason) = match status {
            WaitStatus::Exited(pid, code) => (pid, format!("exit status {code}")),
            WaitStatus::Signaled(pid, signal, _) => (pid, format!("signal {signal}")),
            WaitStatus::StillAlive => return,
            _ => continue,
        };
        if let Some(supervised) = running.remove(&pid).and_then(|index| all.get_mut(index)) {
            let succeeded = matches!(status, WaitStatus::Exited(_, 0));
            if supervised.component.task && succeeded {
                supervised.state = State::Done;
            } else {
                supervised.died(reason);
            }
        }
    }
}

impl Supervised {
    fn new(component: Component) -> Self {
        Self { component, state: State::Waiting, restarts: 0, not_before: None }
    }

    fn wants_to_start(&self) -> bool {
        matches!(self.state, State::Waiting | State::Restarting { .. })
    }

    fn may_start(&self) -> bool {
        self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    fn died(&mut self, reason: String) {
        if self.restarts == MAX_RESTARTS {
            self.state = State::Failed { reason };
            return;
        }
        self.restarts += 1;
        self.not_before = Some(Instant::now() + RESTART_PAUSE);
        self.state = State::Restarting { reason };
    }

    fn report(&self) -> Report {
        Report { name: self.component.name.to_owned(), state: self.state.clone(), restarts: self.restarts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Supervised {
        Supervised::new(Component {
            name: "sleeper",
            program: "/bin/true".into(),
            arguments: Vec::new(),
            gate: Gate::None,
            task: false,
        })
    }

    #[test]
    fn a_component_that_keeps_dying_is_left_dead() {
        let mut component = sleeper();
        for _ in 0..MAX_RESTARTS {
            component.died("exit status 1".into());
            assert!(component.wants_to_start());
        }
        component.died("exit status 1".into());
        assert_eq!(component.state, State::Failed { reason: "exit status 1".into() });
        assert!(!component.wants_to_start());
    }

    #[test]
    fn a_dead_component_is_not_started_again_at_once() {
        let mut component = sleeper();
        assert!(component.may_start());
        component.died("signal SIGKILL".into());
        assert!(!component.may_start());
    }
}
