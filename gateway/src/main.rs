//! The gateway's program: reads the command line and hands over.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wscluster_gateway::cli::{Cli, Command, Settings};
use wscluster_gateway::config::{self, watch};
use wscluster_gateway::drain_command;
use wscluster_gateway::logging;
use wscluster_gateway::metrics::Metrics;
use wscluster_gateway::server::{self, Shutdown, World};
use wscluster_gateway::shared::Parts;

/// What handshakes leave behind goes back to the system within seconds; glibc would keep it. How it is set:
/// `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Connections that may wait to be accepted: what a fleet of clients that comes back at once makes of a moment without CPU.
/// One that finds no place is tried again by its client's kernel after a second. The system's own limit
/// (`net.core.somaxconn`, 4096 by default) holds all the same.
const QUEUE: u32 = 4096;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command() {
        Command::Serve(flags) => serve(flags.settings()?).await,
        Command::Drain(flags) => drain_command::run(&flags.socket(), flags.timeout).await,
        Command::Config(flags) => {
            print!("{}", flags.settings()?.show());
            Ok(())
        }
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let log = logging::start(&settings.node);
    let public = listen("--listen", settings.listen)?;
    let admin = listen("--admin-listen", settings.admin_listen)?;
    let peer = match settings.peer_listen {
        Some(address) => Some(listen("--peer-listen", address)?),
        None => None,
    };
    let socket = bind_socket(&settings.socket);
    let redis = settings.redis.as_ref().map_or_else(|| "none: rooms live in this process".into(), ToString::to_string);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        settings = settings.config.hash(),
        shards = settings.shards,
        listen = %public.local_addr()?,
        admin = %admin.local_addr()?,
        revision = settings.revision,
        redis,
        "gateway starts"
    );
    let (shared, metrics) = (config::share(settings.config), Arc::new(Metrics::new()));
    if let Some(path) = settings.config_file {
        tokio::spawn(watch::follow(path, Arc::clone(&shared), Arc::clone(&metrics)));
    }
    let parts = Parts {
        settings: shared,
        redis: settings.redis,
        node: settings.node,
        revision: settings.revision,
        admin_token: settings.admin_token,
        api_key_file: settings.api_key_file,
        shards: settings.shards,
        demo: settings.demo,
        metrics,
    };
    server::run(World { public, admin, peer, socket, parts }, signals()?).await;
    let _ = std::fs::remove_file(&settings.socket);
    log.tell_suppressed();
    Ok(())
}

fn listen(flag: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    listener(address).with_context(|| format!("{flag} {address}: cannot listen there"))
}

/// As tokio's `bind`, with a longer queue.
fn listener(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// A gateway without its socket serves, but `wscluster-gateway drain` cannot reach it.
fn bind_socket(path: &Path) -> Option<UnixListener> {
    // Left behind by a process that was killed. One that lives answers, and keeps its socket.
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
    let bound = UnixListener::bind(path).and_then(|listener| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    bound
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no socket: `wscluster-gateway drain` will not work"))
        .ok()
}

/// SIGTERM drains, SIGINT stops at once.
fn signals() -> anyhow::Result<mpsc::Receiver<Shutdown>> {
    let (sender, receiver) = mpsc::channel(4);
    for (kind, shutdown) in [(SignalKind::terminate(), Shutdown::Drain), (SignalKind::interrupt(), Shutdown::Now)] {
        let (mut stream, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(shutdown).await.is_ok() {} });
    }
    Ok(receiver)
}
