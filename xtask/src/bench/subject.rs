//! Whom the load is put on: our gateway, or a peer.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use wscluster_tests::peers::Peer;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Ours,
    Peer(Peer),
}

/// A peer on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerName {
    /// The reference design in Node (`ws` and `redis`)
    Node,
    /// Socket.IO with its Redis Streams adapter
    Socketio,
    /// Centrifuge, the engine of Centrifugo
    Centrifuge,
    /// nginx with nchan
    Nchan,
    /// Bun's own WebSockets and `publish`
    Bun,
    /// Nobody
    None,
}

impl PeerName {
    pub(crate) fn peer(self) -> Option<Peer> {
        match self {
            Self::Node => Some(Peer::Node),
            Self::Socketio => Some(Peer::SocketIo),
            Self::Centrifuge => Some(Peer::Centrifuge),
            Self::Nchan => Some(Peer::Nchan),
            Self::Bun => Some(Peer::Bun),
            Self::None => None,
        }
    }
}

/// Limits that would measure the limiter; everything else is as by default. The total of what may wait for slow clients is lifted
/// because no peer has such a limit.
const CONFIG: &str = "limits: {messagesPerSecond: 1000000, burst: 1000000, handshakesPerSecond: 0}
backpressure: {totalBufferBytes: 8589934592}
";

impl Subject {
    /// As in the results and for the load generator.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "wscluster",
            Self::Peer(peer) => peer.name(),
        }
    }

    /// The command that serves on a port. Ours is under `programs`.
    pub(crate) fn command(self, programs: &Path, port: u16, redis_port: u16, folder: &Path) -> Result<Command> {
        match self {
            Self::Ours => ours(programs, port, redis_port, folder),
            Self::Peer(peer) => peer.command(port, redis_port, folder),
        }
    }
}

fn ours(programs: &Path, port: u16, redis_port: u16, folder: &Path) -> Result<Command> {
    let config = folder.join("gateway.yaml");
    std::fs::write(&config, CONFIG).with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = Command::new(programs.join("release/wscluster-gateway"));
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", "127.0.0.1:0"]);
    command.args(["--redis", &format!("redis://127.0.0.1:{redis_port}")]);
    command.arg("--config").arg(config).arg("--socket").arg(folder.join("gateway.sock"));
    Ok(command)
}
