//! Processes of a measurement: each on its core, and none outlives this program, however it ends.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use wscluster_tests::packages::find_program;

/// How long a server may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a program on a core; where the machine has no such core, anywhere. It ends when the handle is dropped.
pub(crate) fn start(command: std::process::Command, core: usize, output: Stdio, errors: &Path) -> Result<Child> {
    let errors = File::create(errors).with_context(|| format!("cannot write {}", errors.display()))?;
    let mut command = dying_with_us(command);
    command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
    let everywhere = sched_getaffinity(Pid::from_raw(0))?;
    let mut only = CpuSet::new();
    only.set(core)?;
    // A child inherits it.
    let _ = sched_setaffinity(Pid::from_raw(0), &only);
    let child = command.spawn();
    sched_setaffinity(Pid::from_raw(0), &everywhere)?;
    child.with_context(|| format!("cannot start {}", command.as_std().get_program().display()))
}

/// The kernel ends it when this process dies, even by SIGKILL.
fn dying_with_us(command: std::process::Command) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return command.into() };
    let mut wrapped = Command::new(setpriv);
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

/// Waits until somebody listens on a port.
pub(crate) async fn listens(child: &mut Child, port: u16) -> Result<()> {
    let answers = async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = answers => Ok(()),
        status = child.wait() => bail!("it ended at once ({})", status?),
        () = tokio::time::sleep(PATIENCE) => bail!("it does not listen after {} s", PATIENCE.as_secs()),
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
