//! The layer `clients`: the TypeScript client's types, its one-file build, and its tests in Node and in Chromium against
//! gateways that they start. Knows npm's commands, nothing of what they test.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{Run, Tally};
use crate::workspace::{root, target};

/// Node 20 has what the client and its tests use.
const OLDEST_NODE: u32 = 20;

/// The client in one file, for pages without a build step.
const BUNDLE: &str = "examples/chat/wscluster.js";

/// What runs the tests: the row's name, and npm's script.
const SUITES: [(&str, &str); 3] = [("core", "test"), ("gateways", "test:gateway"), ("browser", "test:browser")];

impl Run<'_> {
    /// Runs the layer; what the machine lacks is an error that says the remedy.
    pub(super) fn clients(&mut self) -> Result<()> {
        wscluster_tests::packages::ensure_clients()?;
        check_node(&output(Command::new("node").arg("--version"))?)?;
        self.prepare()?;
        let started = Instant::now();
        let fresh = fs::read_to_string(root().join(BUNDLE)).is_ok_and(|text| bundle().is_ok_and(|made| made == text));
        if !fresh {
            println!("{BUNDLE} is stale: run `npm run bundle` in clients/typescript and commit what it wrote");
        }
        self.record("clients: one-file build", one(fresh), started);
        for (name, script) in SUITES {
            self.npm_tests(name, script)?;
        }
        Ok(())
    }

    /// Builds what the tests run.
    fn prepare(&mut self) -> Result<()> {
        let started = Instant::now();
        let (installed, _) = self.watch("clients-install", npm(&["ci", "--prefer-offline"]))?;
        ensure!(installed, "`npm ci` failed in clients/typescript: is the npm registry reachable?");
        self.gateway()?;
        let (typed, _) = self.watch("clients-types", npm(&["run", "compile"]))?;
        self.record("clients: types", one(typed), started);
        Ok(())
    }

    fn npm_tests(&mut self, name: &str, script: &str) -> Result<()> {
        println!("\n── npm run {script}");
        let started = Instant::now();
        let mut command = npm(&["run", script]);
        command.env("NODE_OPTIONS", "--test-reporter=spec");
        command.env("WSCLUSTER_GATEWAY", target().join("debug/wscluster-gateway"));
        let (ok, mut tally) = self.watch(&format!("clients-{name}"), command)?;
        if ok && tally.passed == 0 {
            bail!("`npm run {script}` ran no test");
        }
        if !ok && tally.failed == 0 {
            tally.failed = 1; // the runner died: no count speaks of it
        }
        self.record(&format!("clients: {name}"), tally, started);
        Ok(())
    }
}

fn one(ok: bool) -> Tally {
    Tally { passed: u64::from(ok), failed: u64::from(!ok), skipped: 0 }
}

fn folder() -> PathBuf {
    root().join("clients/typescript")
}

fn npm(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder());
    command
}

/// The one-file build as it would be written now.
fn bundle() -> Result<String> {
    output(npm(&["run", "--silent", "bundle:text"]).stderr(Stdio::inherit()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    String::from_utf8(output.stdout).context("it printed something else than text")
}

/// Debian 12 brings Node 18, on which neither the client nor its tests run.
fn check_node(version: &str) -> Result<()> {
    let major = version.trim().strip_prefix('v').and_then(|text| text.split('.').next()?.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= OLDEST_NODE),
        "the TypeScript client needs Node {OLDEST_NODE} or later, and `node` here is {}: unpack a release from \
         https://nodejs.org/dist and put its bin folder first on PATH (or add NodeSource's Debian packages)",
        version.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_node_is_refused_with_the_remedy() {
        for version in ["v20.0.0\n", "v22.1.0", "v100.0.0"] {
            assert!(check_node(version).is_ok(), "{version}");
        }
        for version in ["v18.20.4\n", "v9.0.0", "", "20.0.0"] {
            let error = check_node(version).expect_err(version).to_string();
            assert!(error.contains("Node 20 or later") && error.contains("nodejs.org"), "{error}");
        }
    }
}
