//! One connection: how far it is, and what is half received or unsent. Reads and writes without waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// Source addresses: each has its own ports, and the kernel finds a free one sooner.
const SOURCES: u32 = 32;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The kernel connects.
    Connecting,
    /// The request was sent.
    Upgrading,
    /// WebSocket, but not yet where it is to be.
    Joining,
    /// Where it is to be.
    Live,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) stage: Stage,
    /// `None` publishes.
    pub(crate) room: Option<u32>,
    /// When it was begun, in nanoseconds of the run.
    pub(crate) begun: u64,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(server: SocketAddr, index: u32, room: Option<u32>, begun: u64) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))
            .context("no socket: more sessions than RLIMIT_NOFILE allows need more processes")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let IpAddr::V4(address) = server.ip()
            && address.is_loopback()
        {
            let source = Ipv4Addr::new(127, 0, 1, (index % SOURCES) as u8 + 1);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(error).with_context(|| format!("cannot connect to {server}"));
            }
            _ => {}
        }
        let stream = socket.into();
        Ok(Self { stream, stage: Stage::Connecting, room, begun, inbox: Vec::new(), outbox: Vec::new() })
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends, now or when the socket takes more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.outbox.extend_from_slice(bytes);
        self.flush()
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(written) => drop(self.outbox.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot send"),
            }
        }
        self.outbox = Vec::new(); // no memory for what is idle
        Ok(())
    }

    /// Receives what is there, up to the buffer's length: the bytes, those that were left over first. `None` is nothing.
    pub(crate) fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
        let kept = self.inbox.len();
        if kept >= buffer.len() {
            bail!("a frame longer than {} bytes", buffer.len());
        }
        buffer[..kept].copy_from_slice(&self.inbox);
        match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => {
                self.inbox.clear();
                Ok(Some(&buffer[..kept + read]))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("cannot receive"),
        }
    }

    /// Keeps what is not whole yet.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        if bytes.is_empty() && self.inbox.capacity() > 0 {
            self.inbox = Vec::new();
        }
    }
}
