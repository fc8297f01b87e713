//! A gateway, and whatever else a test starts: processes that end with the test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use wscluster_tests::cluster::wait;

/// The API key of the gateways here.
pub(crate) const KEY: &str = "a-key-of-the-tests";

const PATIENCE: Duration = Duration::from_secs(20);

/// A process that is killed with its handle.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", command.get_program().display()))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway process, with a Redis of its own where asked.
pub(crate) struct Gateway {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: TempDir,
    _processes: Vec<Running>,
}

impl Gateway {
    pub(crate) fn start(redis: bool) -> Result<Self> {
        Self::start_with(redis, "{}")
    }

    /// The same, with settings in YAML.
    pub(crate) fn start_with(redis: bool, settings: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let (public, admin) = (free_address()?, free_address()?);
        let keys = folder.path().join("api-key");
        std::fs::write(&keys, KEY)?;
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, settings)?;
        let mut processes = Vec::new();
        let mut command = Command::new(binary()?);
        command.arg("--listen").arg(public.to_string()).arg("--admin-listen").arg(admin.to_string());
        command.arg("--socket").arg(folder.path().join("gateway.sock")).arg("--api-key-file").arg(&keys);
        command.arg("--config").arg(&file);
        command.stderr(std::fs::File::create(folder.path().join("gateway.log"))?);
        if redis {
            let address = free_address()?;
            let mut server = Command::new("redis-server");
            server.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
            processes.push(Running::start(server.arg(folder.path()))?);
            await_listener(address)?;
            command.args(["--redis", &format!("redis://{address}")]);
        }
        processes.push(Running::start(&mut command)?);
        await_listener(admin)?;
        Ok(Self { public, admin, folder, _processes: processes })
    }

    /// What the gateway said in its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("gateway.log")).unwrap_or_default()
    }
}

static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();

/// The gateway that `cargo xtask test` has built, or one built now.
fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("WSCLUSTER_GATEWAY") {
        return Ok(given.into());
    }
    let build = || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = ["build", "--package", "wscluster-gateway", "--bin", "wscluster-gateway"];
        let built = Command::new(cargo).args(arguments).status().is_ok_and(|status| status.success());
        // This test is `…/deps/http-…`; programs are a folder above.
        built
            .then(|| std::env::current_exe().ok()?.parent()?.parent().map(|folder| folder.join("wscluster-gateway")))?
    };
    BUILT.get_or_init(build).clone().context("the gateway could not be built")
}

pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) fn await_listener(address: SocketAddr) -> Result<()> {
    until(&format!("someone to listen on {address}"), || TcpStream::connect(address).is_ok())
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    wait::until(what, PATIENCE, || Ok(holds().then_some(())))
}

/// The body of an answer with status 200.
pub(crate) fn get(address: SocketAddr, path: &str, more: &str) -> Result<String> {
    exchange(address, path, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{more}\r\n"))
}

/// The same, of a request with a body.
pub(crate) fn ask(method: &str, address: SocketAddr, path: &str, body: &str) -> Result<String> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n");
    exchange(address, path, &(head + body))
}

fn exchange(address: SocketAddr, path: &str, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}\n{body}");
    Ok(body.to_owned())
}
