//! A TCP connection to the gateway: the handshake, bytes out, frames in. Judges nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::case::Step;
use crate::frame::{self, Received};

/// The answer that goes with [`handshake`]'s key: the example of RFC 6455 section 1.3.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake for a room.
pub(crate) fn handshake(room: &str) -> String {
    format!(
        "GET /ws?room={room} HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Connects to a room in the raw protocol.
pub(crate) async fn connect(gateway: SocketAddr, room: &str) -> Result<(Reader, Writer), String> {
    let (mut reader, mut writer) = open(gateway).await;
    writer.half.write_all(handshake(room).as_bytes()).await.map_err(|error| error.to_string())?;
    let head = reader.head().await?;
    if head.starts_with("HTTP/1.1 101 ") { Ok((reader, writer)) } else { Err(format!("no upgrade but {head}")) }
}

/// Connects, and says nothing yet.
pub(crate) async fn open(gateway: SocketAddr) -> (Reader, Writer) {
    let stream = TcpStream::connect(gateway).await.expect("the gateway listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let us = stream.local_addr().expect("a connected socket");
    let (read, write) = stream.into_split();
    (Reader { half: read, bytes: Vec::new() }, Writer { half: write, pair: (gateway, us) })
}

/// What comes from the gateway.
pub(crate) struct Reader {
    half: OwnedReadHalf,
    bytes: Vec<u8>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Frame(Received),
    /// The end of TCP.
    End,
    /// The end of TCP by a reset.
    Reset,
}

impl Reader {
    /// The next frame, or the end.
    pub(crate) async fn next(&mut self) -> Result<Came, String> {
        loop {
            if let Some(frame) = frame::parse(&mut self.bytes)? {
                return Ok(Came::Frame(frame));
            }
            match self.half.read_buf(&mut self.bytes).await {
                Ok(0) if self.bytes.is_empty() => return Ok(Came::End),
                Ok(0) => return Err("TCP ended within a frame".into()),
                Ok(_) => {}
                Err(_) => return Ok(Came::Reset),
            }
        }
    }

    /// The head of an HTTP response. What follows it stays.
    pub(crate) async fn head(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.bytes.drain(..end + 4).collect();
                return String::from_utf8(head).map_err(|error| error.to_string());
            }
            match self.half.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return Err("TCP ended within the response".into()),
                Ok(_) => {}
            }
        }
    }
}

/// What goes to the gateway.
pub(crate) struct Writer {
    half: OwnedWriteHalf,
    pair: (SocketAddr, SocketAddr),
}

impl Writer {
    /// Does a step. A gateway that has ended the connection already takes no more: that is no fault of the step.
    pub(crate) async fn perform(&mut self, step: &Step) {
        match step {
            Step::Write(bytes) => self.write(bytes).await,
            Step::Chop(bytes, piece) => self.chop(bytes, *piece).await,
            Step::Taken => self.taken().await,
            Step::EndOfInput => drop(self.half.shutdown().await),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.half.write_all(bytes).await;
    }

    /// Of a short script every piece is taken by itself; of a long one the kernel may join some.
    async fn chop(&mut self, bytes: &[u8], piece: usize) {
        const SHORT: usize = 150;
        let pieces = bytes.chunks(piece);
        let by_itself = pieces.len() <= SHORT;
        for piece in pieces {
            self.write(piece).await;
            if by_itself {
                self.taken().await;
            }
        }
    }

    /// Waits until nothing is left in the receive queue of the gateway's socket.
    async fn taken(&self) {
        while waiting(self.pair.0, self.pair.1).is_some_and(|bytes| bytes > 0) {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }
}

/// Bytes that wait to be read from the socket at `local` that is connected to `remote` (`/proc/net/tcp`, see proc(5)).
fn waiting(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let (local, remote) = (as_in_proc(local), as_in_proc(remote));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table.lines().find(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        words.next() == Some(&local) && words.next() == Some(&remote)
    })?;
    let (_, received) = line.split_ascii_whitespace().nth(4)?.split_once(':')?;
    u64::from_str_radix(received, 16).ok()
}

fn as_in_proc(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("the tests run over IPv4") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}
