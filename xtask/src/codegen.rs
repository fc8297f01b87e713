//! `cargo xtask codegen`: writes every file that is generated from the Rust types and the chart, or says which are stale.
//! Knows no cluster; renders the chart with the real Helm.

mod reference;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{VERSION, root};

const CHART: &str = "charts/wscluster-operator";
const RELEASE: &str = "wscluster-operator";
const NAMESPACE: &str = "wscluster-system";

/// Writes the generated files.
#[derive(Args)]
pub(crate) struct CodegenArgs {
    /// Write nothing; fail if a committed file is stale.
    #[arg(long)]
    check: bool,
}

/// Writes the generated files, or with `--check` compares them.
pub(crate) fn run(args: &CodegenArgs) -> Result<()> {
    let mut stale = Vec::new();
    let mut deliver = |path: &str, text: &str| deliver(path, text, args.check, &mut stale);
    deliver("crds/wsclusters.yaml", &wscluster_crds::crd_yaml())?;
    deliver(&format!("{CHART}/templates/crd.yaml"), &crd_template(&wscluster_crds::crd_yaml())?)?;
    deliver(&format!("{CHART}/Chart.yaml"), &chart_with_version(&read(&format!("{CHART}/Chart.yaml"))?))?;
    deliver("docs/api.md", &reference::render(&wscluster_crds::crd())?)?;
    deliver("docs/openapi.json", &wscluster_gateway::api::document())?;
    // Last: Helm reads the chart from the disk.
    deliver("charts/install.yaml", &install_manifest()?)?;
    deliver("charts/metrics-api.yaml", &metrics_api_manifest()?)?;
    if stale.is_empty() {
        return Ok(());
    }
    bail!("stale: {}. Run `cargo xtask codegen` and commit what it wrote", stale.join(", "))
}

fn deliver(path: &str, text: &str, check: bool, stale: &mut Vec<String>) -> Result<()> {
    let file = root().join(path);
    if fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    if check {
        stale.push(path.to_owned());
        return Ok(());
    }
    fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!("wrote {path}");
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The CRD as a template of the chart, with its own switch and the annotation that keeps it on uninstall. No label names the
/// release: the CRD outlives it, and the next one would be refused for a conflict.
fn crd_template(crd: &str) -> Result<String> {
    let name = "metadata:\n  name: wsclusters.wscluster.dev\n";
    if crd.contains("{{") || !crd.contains(name) {
        bail!("the CRD cannot be made a template: it has braces of its own, or its metadata changed");
    }
    let metadata = format!("{name}  annotations:\n    helm.sh/resource-policy: keep\n");
    let body = crd.replacen(name, &metadata, 1);
    Ok(format!("{{{{- if .Values.crds.install }}}}\n{body}{{{{- end }}}}\n"))
}

/// The chart has the workspace's version, and so has the image that it installs.
fn chart_with_version(chart: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((key @ ("version" | "appVersion"), _)) => format!("{key}: \"{VERSION}\"\n"),
        _ => format!("{line}\n"),
    };
    chart.lines().map(line).collect()
}

/// The chart with its default values, in a namespace of its own: what `kubectl apply --server-side -f` installs.
fn install_manifest() -> Result<String> {
    let rendered = helm(&["template", RELEASE, CHART, "--namespace", NAMESPACE])?;
    Ok(format!(
        "# Generated from {CHART} by `cargo xtask codegen`. Install: kubectl apply --server-side -f charts/install.yaml\n\
         ---\n\
         apiVersion: v1\n\
         kind: Namespace\n\
         metadata:\n  \
           name: {NAMESPACE}\n  \
           labels:\n    \
             pod-security.kubernetes.io/enforce: restricted\n\
         {rendered}"
    ))
}

/// What the metrics API adds, and the operator that serves it: to be applied after the install manifest.
fn metrics_api_manifest() -> Result<String> {
    let template = ["template", RELEASE, CHART, "--namespace", NAMESPACE, "--set", "metricsApi.enabled=true"];
    let parts = ["--show-only", "templates/metrics-api.yaml", "--show-only", "templates/deployment.yaml"];
    let rendered = helm(&[&template[..], &parts].concat())?;
    Ok(format!(
        "# Generated from {CHART} by `cargo xtask codegen`. After install.yaml: kubectl apply --server-side -f charts/metrics-api.yaml\n\
         {rendered}"
    ))
}

fn helm(arguments: &[&str]) -> Result<String> {
    let program = wscluster_tests::tools::helm()?;
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .context("cannot run helm")?;
    if !output.status.success() {
        bail!("`helm {}` failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).context("helm printed something else than text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_takes_the_workspace_version() {
        let chart = "name: x\nversion: 0.0.1\nappVersion: 9\n# version: stays\n";
        assert_eq!(
            chart_with_version(chart),
            format!("name: x\nversion: \"{VERSION}\"\nappVersion: \"{VERSION}\"\n# version: stays\n")
        );
    }

    #[test]
    fn the_crd_becomes_a_template_that_is_kept_on_uninstall() {
        let template = crd_template(&wscluster_crds::crd_yaml()).expect("a template");
        assert!(template.starts_with("{{- if .Values.crds.install }}\n"));
        assert!(template.contains("\n    helm.sh/resource-policy: keep\n"));
        assert!(template.ends_with("{{- end }}\n"));
    }
}
