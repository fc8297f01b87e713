//! Servers of others that benchmarks compare with: installed or built on first use, into the cache. Knows nothing of how they
//! are measured. Tests never call this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache::{self, Lock};
use crate::digest;
use crate::packages::{self, find_program};
use crate::progress::Step;

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The reference design in Node: `ws` and `redis`.
    Node,
    /// Socket.IO with its Redis Streams adapter.
    SocketIo,
    /// Centrifuge, the engine of Centrifugo.
    Centrifuge,
    /// nginx with nchan, as Debian has it.
    Nchan,
    /// Bun's own WebSockets and `publish`.
    Bun,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Node, Self::SocketIo, Self::Centrifuge, Self::Nchan, Self::Bun];

    /// Name of its folder under `tests/peers/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::SocketIo => "socketio",
            Self::Centrifuge => "centrifuge",
            Self::Nchan => "nchan",
            Self::Bun => "bun",
        }
    }

    /// What it is, with the versions that are pinned, or installed.
    pub fn title(self) -> Result<String> {
        let pinned = |file: &str, package: &str| {
            let text = fs::read_to_string(self.source().join(file))?;
            let line = text.lines().find(|line| line.contains(package)).unwrap_or_default();
            let rest = line.split_once(package).map_or("", |(_, rest)| rest);
            Ok::<_, anyhow::Error>(rest.trim_matches([' ', '"', ':', 'v']).split('"').next().unwrap_or("").to_owned())
        };
        Ok(match self {
            Self::Node => {
                format!("Node ws {}, redis {}", pinned("package.json", "\"ws\"")?, pinned("package.json", "\"redis\"")?)
            }
            Self::SocketIo => format!(
                "Socket.IO {}, redis-streams-adapter {}",
                pinned("package.json", "\"socket.io\"")?,
                pinned("package.json", "\"@socket.io/redis-streams-adapter\"")?
            ),
            Self::Centrifuge => format!("Centrifuge {}", pinned("go.mod", "centrifugal/centrifuge v")?),
            Self::Nchan => {
                format!("nginx {}, nchan {}", packages::version("nginx")?, packages::version("libnginx-mod-nchan")?)
            }
            Self::Bun => format!("Bun {}", pinned("package.json", "\"bun\"")?),
        })
    }

    /// The command that serves on a port of 127.0.0.1, joined to others through the Redis at another port. Installs or
    /// builds it first where it is missing. What it writes goes to `scratch`.
    pub fn command(self, port: u16, redis_port: u16, scratch: &Path) -> Result<Command> {
        let folder = self.folder()?;
        let script = |program: &Path| {
            let mut command = Command::new(program);
            command.arg(folder.join("server.js"));
            command
        };
        let mut command = match self {
            Self::Nchan => return nginx(&folder.join("nginx.conf"), port, redis_port, scratch),
            Self::Centrifuge => Command::new(folder.join("centrifuge")),
            Self::Bun => script(&bun(&folder)?),
            Self::Node | Self::SocketIo => script(Path::new("node")),
        };
        let redis = format!("redis://127.0.0.1:{redis_port}");
        command.arg(port.to_string()).arg(redis).env("NODE_ENV", "production").current_dir(folder);
        Ok(command)
    }

    /// The folder with the installed peer.
    pub fn folder(self) -> Result<PathBuf> {
        let name = self.name();
        let folder = cache::folder().join("peers").join(format!("{name}-{}", self.pin()?));
        if folder.exists() {
            return Ok(folder);
        }
        let lock = folder.with_extension("lock");
        let _lock = Lock::take(&lock, || eprintln!("  another run installs {name}; waiting for it"))?;
        if !folder.exists() {
            self.install(&folder)?;
        }
        Ok(folder)
    }

    fn source(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(self.name())
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Node | Self::SocketIo | Self::Bun => &["package.json", "package-lock.json", "server.js"],
            Self::Nchan => &["nginx.conf"],
            Self::Centrifuge => &["go.mod", "go.sum", "main.go"],
        }
    }

    /// A short hash over everything that decides what is installed.
    fn pin(self) -> Result<String> {
        let mut hash = Sha256::new();
        for file in self.files() {
            let path = self.source().join(file);
            hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
            hash.update([0]);
        }
        Ok(digest::short(hash))
    }

    fn install(self, folder: &Path) -> Result<()> {
        let parent = folder.parent().context("the peers' folder has a parent")?;
        let temporary = tempfile::Builder::new().prefix(".install-").tempdir_in(parent)?;
        for file in self.files() {
            fs::copy(self.source().join(file), temporary.path().join(file))?;
        }
        let expected = Duration::from_secs(if self == Self::Centrifuge { 60 } else { 10 });
        let step = Step::start(format!("installing {} (once, then cached)", self.name()), Some(expected));
        self.run_installer(temporary.path())?;
        fs::rename(temporary.keep(), folder).with_context(|| format!("cannot create {}", folder.display()))?;
        step.done();
        Ok(())
    }

    fn run_installer(self, folder: &Path) -> Result<()> {
        if self == Self::Nchan {
            return packages::ensure_nchan();
        }
        let (program, arguments): (_, &[&str]) = if self == Self::Centrifuge {
            ("go", &["build", "-trimpath", "-buildvcs=false", "-o", "centrifuge", "."])
        } else {
            ("npm", &["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"])
        };
        if find_program(program).is_none() {
            bail!("{program} is not installed: it is needed for the peer {}", self.name());
        }
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off").stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`{program} {}` failed ({}): {}", arguments.join(" "), output.status, text.trim_end());
        }
        Ok(())
    }
}

/// nginx with the settings filled in: it takes no arguments for them.
fn nginx(settings: &Path, port: u16, redis_port: u16, scratch: &Path) -> Result<Command> {
    let text = fs::read_to_string(settings).with_context(|| format!("cannot read {}", settings.display()))?;
    let text = text.replace("@PORT@", &port.to_string()).replace("@REDIS@", &redis_port.to_string());
    let file = scratch.join("nginx.conf");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(find_program("nginx").context("nginx is not installed")?);
    command.arg("-e").arg("stderr").arg("-p").arg(scratch).arg("-c").arg(file);
    Ok(command)
}

/// The program itself, of this machine's kind: the package's own link to it is made by a script, which is not run.
fn bun(folder: &Path) -> Result<PathBuf> {
    let kind = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-x64" };
    // The other one is for processors without AVX2.
    let names = [format!("bun-{kind}"), format!("bun-{kind}-baseline")];
    let programs = names.iter().map(|name| folder.join("node_modules/@oven").join(name).join("bin/bun"));
    let runs =
        |program: &PathBuf| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    programs.into_iter().find(runs).context("no program of Bun's runs on this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_pinned_and_says_its_versions() {
        for peer in Peer::ALL {
            assert_eq!(peer.pin().unwrap().len(), 12);
            if peer == Peer::Nchan {
                continue; // its versions are Debian's
            }
            let title = peer.title().unwrap();
            assert!(title.chars().filter(char::is_ascii_digit).count() >= 3, "{title}");
        }
    }
}
