//! Builds the programs of the testbed from the Go modules pinned under `tests/cluster/`, once per pin, into the cache.
//! Knows nothing of how they are run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache::{self, Lock};
use crate::digest;
use crate::progress::Step;

/// A Go module of ours that pins a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy and kubectl.
    Kubernetes,
    /// CoreDNS with the plugins that the testbed needs.
    CoreDns,
    /// Helm, to render and to install the chart.
    Helm,
    /// The pause container.
    Pause,
}

impl Tool {
    /// Name of its folder under `tests/cluster/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::CoreDns => "coredns",
            Self::Helm => "helm",
            Self::Pause => "pause",
        }
    }

    fn expected(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kubernetes => 300,
            Self::CoreDns | Self::Helm => 110,
            Self::Pause => 3,
        })
    }

    /// What `go build` is asked for: the module's own main, or all of its `tool` lines.
    fn target(self) -> &'static str {
        if matches!(self, Self::Kubernetes | Self::Helm) { "tool" } else { "." }
    }

    fn source(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(self.name())
    }

    /// The folder with its programs, which are built first where they are missing.
    pub fn folder(self) -> Result<PathBuf> {
        let pin = self.pin()?;
        let folder = cache::folder().join("tools").join(format!("{}-{pin}", self.name()));
        if folder.exists() {
            return Ok(folder);
        }
        let lock = folder.with_extension("lock");
        let name = self.name();
        let _lock = Lock::take(&lock, || eprintln!("  another run builds {name}; waiting for it"))?;
        if !folder.exists() {
            self.build(&folder)?;
        }
        Ok(folder)
    }

    /// A short hash over everything that decides what is built.
    fn pin(self) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let path = self.source().join(file);
            if file == "go.mod" || path.exists() {
                hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
            }
            hash.update([0]);
        }
        Ok(digest::short(hash))
    }

    fn build(self, folder: &Path) -> Result<()> {
        check_go(&self.source().join("go.mod"))?;
        let parent = folder.parent().context("the tools' folder has a parent")?;
        let temporary = tempfile::Builder::new().prefix(".build-").tempdir_in(parent)?;
        let step = Step::start(self.title()?, Some(self.expected()));
        let output = Command::new("go")
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &self.linker_flags()?, "-o"])
            .arg(format!("{}/", temporary.path().display()))
            .arg(self.target())
            .current_dir(self.source())
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .output()
            .context("cannot run `go`")?;
        if !output.status.success() {
            bail!(
                "`go build` of {} failed ({}). Is the Go module proxy reachable (`go env GOPROXY`)? Its output:\n{}",
                self.name(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        fs::rename(temporary.keep(), folder).with_context(|| format!("cannot create {}", folder.display()))?;
        step.done();
        Ok(())
    }

    fn title(self) -> Result<String> {
        Ok(match self {
            Self::Kubernetes => format!("building Kubernetes {} (once, then cached)", kubernetes_version()?),
            Self::CoreDns => "building CoreDNS (once, then cached)".to_owned(),
            Self::Helm => "building Helm (once, then cached)".to_owned(),
            Self::Pause => "building the pause program".to_owned(),
        })
    }

    fn linker_flags(self) -> Result<String> {
        if self != Self::Kubernetes {
            return Ok("-s -w".to_owned());
        }
        // Without these the kubelet calls itself v0.0.0 and version skew checks go wrong.
        let version = kubernetes_version()?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("0"));
        let package = "k8s.io/component-base/version";
        Ok(format!(
            "-s -w -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        ))
    }
}

/// The release pinned in `tests/cluster/kubernetes/go.mod`, like `1.36.3`.
pub fn kubernetes_version() -> Result<String> {
    let path = Tool::Kubernetes.source().join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    required_version(&text, "k8s.io/kubernetes")
        .context("tests/cluster/kubernetes/go.mod requires no k8s.io/kubernetes")
}

/// The `helm` program, built on first use.
pub fn helm() -> Result<PathBuf> {
    Ok(Tool::Helm.folder()?.join("helm"))
}

/// The `kubectl` program, built on first use with the rest of Kubernetes.
pub fn kubectl() -> Result<PathBuf> {
    Ok(Tool::Kubernetes.folder()?.join("kubectl"))
}

/// The folder with the Gateway API's CustomResourceDefinitions of a channel, `standard` or `experimental`: as the module has
/// them that `tests/cluster/gateway-api/go.mod` pins. Nothing of it is built.
pub fn gateway_api_crds(channel: &str) -> Result<PathBuf> {
    const MODULE: &str = "sigs.k8s.io/gateway-api";
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/gateway-api");
    check_go(&source.join("go.mod"))?;
    let output = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(&source)
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .output()
        .context("cannot run `go`")?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(folder) = told["Dir"].as_str().filter(|_| output.status.success()) else {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("`go mod download` of {MODULE} failed: {} {}", told["Error"], words.trim_end());
    };
    Ok(Path::new(folder).join("config/crd").join(channel))
}

fn required_version(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().filter(|word| *word != "require");
        (words.next()? == module).then(|| words.next()?.strip_prefix('v').map(str::to_owned))?
    })
}

/// Go 1.21 and later fetch the toolchain that a go.mod names by themselves; older ones can't read it.
fn check_go(go_mod: &Path) -> Result<()> {
    let wanted = fs::read_to_string(go_mod)?
        .lines()
        .find_map(|line| line.strip_prefix("go ").map(str::to_owned))
        .unwrap_or_else(|| "1.26.0".to_owned());
    let remedy = format!("install Go {wanted} or later from https://go.dev/dl/ and put its bin folder on PATH");
    let Ok(output) = Command::new("go").arg("version").stdin(Stdio::null()).output() else {
        bail!("`go` was not found, and the testbed builds Kubernetes with it: {remedy}");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match go_minor(&text) {
        Some(minor) if minor >= 21 => Ok(()),
        _ => bail!("`go version` says {:?}, which is too old: {remedy}", text.trim()),
    }
}

fn go_minor(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    number.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_version_is_read_from_its_own_words() {
        assert_eq!(go_minor("go version go1.26.8 linux/amd64"), Some(26));
        assert_eq!(go_minor("go version go1.9 linux/amd64"), Some(9));
        assert_eq!(go_minor("no such thing"), None);
    }

    #[test]
    fn required_version_is_found_in_both_spellings() {
        let text = "module m\nrequire k8s.io/kubernetes v1.36.3\nrequire (\n\tk8s.io/api v0.36.3 // indirect\n)\n";
        assert_eq!(required_version(text, "k8s.io/kubernetes").as_deref(), Some("1.36.3"));
        assert_eq!(required_version(text, "k8s.io/api").as_deref(), Some("0.36.3"));
        assert_eq!(required_version(text, "k8s.io/client-go"), None);
    }

    #[test]
    fn every_tool_has_a_pin() {
        for tool in [Tool::Kubernetes, Tool::CoreDns, Tool::Helm, Tool::Pause] {
            assert_eq!(tool.pin().unwrap().len(), 12);
        }
    }
}
