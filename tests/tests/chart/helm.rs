//! Runs the real Helm on our chart. Knows no cluster but by the kubeconfig that it is given.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The chart's folder.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/wscluster-operator");

/// Runs Helm with values from a YAML text, and returns what it printed; an error holds what it complained about.
pub(crate) fn helm(arguments: &[&str], values: &str, kubeconfig: Option<&Path>) -> Result<String> {
    run(&[arguments, &["--values", "-"]].concat(), values, kubeconfig)
}

/// Runs a command of Helm's that takes no values.
pub(crate) fn plain(arguments: &[&str], kubeconfig: &Path) -> Result<String> {
    run(arguments, "", Some(kubeconfig))
}

fn run(arguments: &[&str], input: &str, kubeconfig: Option<&Path>) -> Result<String> {
    // What a person's own Helm has cached or configured is none of our business.
    let home = tempfile::tempdir()?;
    let none = home.path().join("none");
    let mut child = Command::new(wscluster_tests::tools::helm()?)
        .args(arguments)
        .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|folder| (folder, home.path())))
        .env("KUBECONFIG", kubeconfig.unwrap_or(&none))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run helm")?;
    child.stdin.take().context("helm has an input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`helm {}` failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}
