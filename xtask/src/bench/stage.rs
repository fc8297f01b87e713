//! One run: a Redis, a server and the load generator, each on its core, from start to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::flames::Recording;
use super::processes::{free_port, listens, start};
use super::scenario::Load;
use super::subject::Subject;
use crate::workspace::{root, target};

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// What the load generator reports.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) connect: Figures,
    pub(crate) phases: Vec<PhaseOutcome>,
}

/// The same of one phase.
#[derive(Debug, Deserialize)]
pub(crate) struct PhaseOutcome {
    pub(crate) figures: Figures,
}

/// Where the programs are that are measured, or those for flame graphs.
fn programs(flames: bool) -> PathBuf {
    if flames { target().join("profiling") } else { target() }
}

/// Builds the gateway and the load generator for release; for flame graphs with frame pointers and names.
pub(crate) fn build(flames: bool) -> Result<()> {
    eprintln!("  building the gateway and the load generator for release (about five minutes at first)");
    let mut command = wscluster_tests::cargo::command();
    command.args(["build", "--release", "--locked", "--package", "wscluster-gateway", "--package", "wscluster-load"]);
    if flames {
        command.env("RUSTFLAGS", "-C force-frame-pointers=yes").env("CARGO_PROFILE_RELEASE_STRIP", "none");
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").arg("--target-dir").arg(programs(true));
    }
    let status = command.current_dir(root()).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the programs do not build ({status})");
    }
    Ok(())
}

/// A run of one subject.
pub(crate) struct Stage<'a> {
    subject: Subject,
    logs: PathBuf,
    /// Where flame graphs of ours go.
    flames: Option<&'a Path>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(subject: Subject, flames: Option<&'a Path>) -> Self {
        let flames = flames.filter(|_| subject == Subject::Ours);
        Self { subject, logs: target().join("bench-logs"), flames }
    }

    /// Runs it; everything that was started has ended when this returns or is dropped.
    pub(crate) async fn run(&self, load: &Load) -> Result<Outcome> {
        std::fs::create_dir_all(&self.logs)?;
        let folder = tempfile::Builder::new().prefix("wscluster-bench-").tempdir()?;
        let (port, redis_port) = (free_port()?, free_port()?);

        let mut redis = start(redis(redis_port, folder.path()), LOAD_CORE, Stdio::null(), &self.log("redis"))?;
        listens(&mut redis, redis_port).await.context("Redis")?;

        let command = self.subject.command(&programs(self.flames.is_some()), port, redis_port, folder.path())?;
        let name = self.subject.name();
        let mut server = start(command, SERVER_CORE, Stdio::null(), &self.log(name))?;
        listens(&mut server, port).await.with_context(|| self.complaint(name))?;

        let processes = (server.id().context("the server ended")?, redis.id().context("Redis ended")?);
        let title = format!("{}, {}", load.scenario.name(), load.name);
        let record = |flames| Recording::start(processes.0, folder.path(), flames, &title);
        let recording = self.flames.map(record).transpose()?;
        let command = self.load(load, port, processes);
        let generator = start(command, LOAD_CORE, Stdio::piped(), &self.log("load"))?;
        let output = generator.wait_with_output().await?;
        if !output.status.success() {
            bail!("{}; {}", self.complaint("load"), self.complaint(name));
        }
        if let Some(recording) = recording {
            recording.finish().await?;
        }
        server.kill().await?;
        redis.kill().await?;
        serde_json::from_slice(&output.stdout).context("the load generator's report is not understood")
    }

    fn load(&self, load: &Load, port: u16, (server, redis): (u32, u32)) -> Command {
        let mut command = Command::new(programs(self.flames.is_some()).join("release/wscluster-load"));
        command.args(["--subject", self.subject.name(), "--address", &format!("127.0.0.1:{port}")]);
        command.args(["--server", &server.to_string(), "--redis", &redis.to_string()]);
        command.args(["--rooms", &load.rooms.to_string(), "--members", &load.members.to_string()]);
        command.args(["--payload-bytes", &load.payload_bytes.to_string()]);
        command.args(["--stalled-percent", &load.stalled.to_string()]);
        if load.echo {
            command.arg("--echo");
        }
        if let Some(at_once) = load.storm {
            command.args(["--count-failures", "--connecting", &at_once.to_string()]);
        }
        for phase in &load.phases {
            command.args(["--phase", &phase.argument]);
        }
        command
    }

    fn log(&self, program: &str) -> PathBuf {
        self.logs.join(format!("{program}.log"))
    }

    /// The last words of a program.
    fn complaint(&self, program: &str) -> String {
        let text = std::fs::read_to_string(self.log(program)).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        format!("{program} says: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }
}

fn redis(port: u16, folder: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
    command
}
