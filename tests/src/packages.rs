//! The Debian packages that the testbed and the clients' tests need: which are missing, and installing them. Never touches a
//! service that ran before, and leaves none running that it brought.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::cache::{self, Lock};
use crate::progress::Step;

/// A package, and a file that says it is installed: a program on the system's path, or an absolute path.
type Need = (&'static str, &'static str);

/// What the testbed needs.
const NEEDED: &[Need] = &[
    ("etcd-server", "etcd"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
    ("nftables", "nft"),
    ("iproute2", "ip"),
    ("conntrack", "conntrack"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-cli"),
    ("util-linux", "unshare"),
];

/// What the tests of the TypeScript client need besides.
const CLIENTS: &[Need] = &[("nodejs", "node"), ("npm", "npm"), ("chromium", "/usr/bin/chromium")];

/// What the socket tests need besides Redis.
const SOCKETS: &[Need] = &[("haproxy", "haproxy")];

/// What the benchmarks' peer nchan is.
const NCHAN: &[Need] = &[("nginx", "nginx"), ("libnginx-mod-nchan", "/usr/lib/nginx/modules/ngx_nchan_module.so")];

/// What draws flame graphs.
const PERF: &[Need] = &[("linux-perf", "perf")];

/// What the tests of the HTTP side need besides.
const HTTP: &[Need] = &[("prometheus", "prometheus"), ("python3-venv", PYTHON_VENV)];

/// What that package brings, whatever the version of Python: the wheels that an environment begins with.
const PYTHON_VENV: &str = "/usr/share/python-wheels";

/// Says no to every service that is about to start.
const POLICY: &str = "#!/bin/sh\n# Written by the WsCluster testbed while it installs packages.\nexit 101\n";

/// Folders that hold system programs even where a user's PATH leaves them out.
const SYSTEM_PATH: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds a program on PATH or in the system's folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SYSTEM_PATH.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| is_executable(path))
}

/// The packages needed by the testbed that are not installed.
pub fn missing() -> Vec<&'static str> {
    missing_of(NEEDED.iter())
}

fn missing_of(needed: impl Iterator<Item = &'static Need>) -> Vec<&'static str> {
    needed.filter(|(_, proof)| find_program(proof).is_none()).map(|(package, _)| *package).collect()
}

/// Installs what the testbed needs and is missing when root, and names it with the remedy when not.
pub fn ensure() -> Result<()> {
    ensure_of(NEEDED.iter())
}

/// The same for what the tests without a cluster need: Redis.
pub fn ensure_redis() -> Result<()> {
    ensure_of(NEEDED.iter().filter(|(package, _)| package.starts_with("redis")))
}

/// The same for what the socket tests need besides: HAProxy.
pub fn ensure_sockets() -> Result<()> {
    ensure_of(SOCKETS.iter())
}

/// The same for what the tests of the TypeScript client need: Node, npm and Chromium.
pub fn ensure_clients() -> Result<()> {
    ensure_of(CLIENTS.iter())
}

/// The same for what the tests of the HTTP side need: Prometheus, and environments for Python tools.
pub fn ensure_http() -> Result<()> {
    ensure_of(HTTP.iter())
}

/// The same for the benchmarks' peer nchan: nginx with its module.
pub fn ensure_nchan() -> Result<()> {
    ensure_of(NCHAN.iter())
}

/// The same for flame graphs: perf.
pub fn ensure_perf() -> Result<()> {
    ensure_of(PERF.iter())
}

/// The version of a package that is installed.
pub fn version(package: &str) -> Result<String> {
    let arguments = ["--show", "--showformat", "${Version}", package];
    let output = Command::new("dpkg-query").args(arguments).output().context("cannot run dpkg-query")?;
    if !output.status.success() {
        bail!("the package {package} is not installed");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ensure_of(needed: impl Iterator<Item = &'static Need> + Clone) -> Result<()> {
    if missing_of(needed.clone()).is_empty() {
        return Ok(());
    }
    let lock = cache::folder().join("packages.lock");
    let _lock = Lock::take(&lock, || eprintln!("  another run installs packages; waiting for it"))?;
    let packages = missing_of(needed.clone());
    if packages.is_empty() {
        return Ok(());
    }
    let remedy = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !Uid::effective().is_root() {
        bail!("these packages are missing: {}. Install them: sudo {remedy}", packages.join(", "));
    }
    if find_program("apt-get").is_none() {
        bail!(
            "these programs are missing, and there is no apt-get here to install them: {}",
            needed.filter(|(package, _)| packages.contains(package)).map(|n| n.1).collect::<Vec<_>>().join(", ")
        );
    }
    install(&packages)?;
    let left = missing_of(needed);
    if left.is_empty() { Ok(()) } else { bail!("still missing after `{remedy}`: {}", left.join(", ")) }
}

fn install(packages: &[&str]) -> Result<()> {
    let step = Step::start(format!("installing {}", packages.join(" ")), None);
    let _quiet = NoServices::begin()?;
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)?;
    step.done();
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(["-q", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Where the machine has a policy of its own that allows services: as in single-user mode, none is started.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    bail!("`apt-get {}` failed ({}):\n{}", arguments.join(" "), output.status, words.trim_end())
}

/// While it lives, packages that are being installed start no service (the policy-rc.d protocol of Debian's invoke-rc.d).
struct NoServices {
    written: Option<PathBuf>,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let path = Path::new("/usr/sbin/policy-rc.d");
        // One of ours that an interrupted run left is ours to remove as well.
        if path.exists() && fs::read_to_string(path).is_ok_and(|text| text != POLICY) {
            return Ok(Self { written: None });
        }
        fs::write(path, POLICY).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { written: Some(path.to_owned()) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.written {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(find_program("sh").is_some());
        assert!(find_program("/bin/sh").is_some());
        assert_eq!(find_program("no-such-program-here"), None);
        assert_eq!(find_program("/no/such/file"), None);
    }
}
