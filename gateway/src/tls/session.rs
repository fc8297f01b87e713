//! One TLS connection (RFC 8446, RFC 5246) between a socket and whoever reads and writes plaintext. rustls has the keys;
//! here is what waits. Knows neither tokio nor mio: a socket is what reads, writes, and says `WouldBlock`.
//!
//! While idle nothing is kept but the keys: rustls' unbuffered interface works on buffers that each thread has once.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{InvalidMessage, ProtocolVersion, ServerConfig};

use super::buffers::{READ, RECORD, SCRATCH, Scratch, Waiting, one_record, send};

/// An alert, with what encryption adds, and room for a renewal of the keys before it.
const NOTICE: usize = 256;

/// Why a session ends before its client says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The first byte begins no TLS record, but may begin an HTTP request.
    #[error("plain HTTP where TLS is spoken")]
    PlainHttp,
    /// rustls has refused what came.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        Self::new(ErrorKind::InvalidData, error)
    }
}

/// The server's side of a TLS connection.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// Read from the socket and not understood yet: a part of a record.
    half_read: Vec<u8>,
    /// Decrypted, and not asked for yet.
    plaintext: Waiting,
    /// Encrypted, and not taken by the socket yet.
    unsent: Waiting,
    /// The client has said that nothing more comes.
    finished: bool,
    /// It was told the same.
    closed: bool,
    /// rustls has refused something: it must not be asked again.
    broken: bool,
}

/// What a session has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The handshake needs more from the client.
    Handshake,
    /// Data may be sent.
    Open,
    /// Both sides have said good-bye.
    Over,
}

impl Session {
    /// A session before its handshake.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, SessionError> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            half_read: Vec::new(),
            plaintext: Waiting::default(),
            unsent: Waiting::default(),
            finished: false,
            closed: false,
            broken: false,
        })
    }

    /// Goes on with the handshake as far as the socket gives and takes. Done when it returns `Ok`. After an error the
    /// client still is to be told why: `flush`.
    pub(crate) fn handshake(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        loop {
            self.flush(socket)?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            if self.receive(socket, RECORD, &mut [])?.ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads plaintext. Like a socket's, a read that is shorter than asked has emptied what there was; the end is `Ok(0)`,
    /// and one that the client did not announce is an error: somebody may have cut it off (RFC 8446 section 6.1).
    pub(crate) fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.take_plaintext(buffer);
        while filled < buffer.len() && !self.finished {
            let room = &mut buffer[filled..];
            match self.receive(socket, READ.min(room.len()), room) {
                Ok(Received { ended: true, .. }) if filled == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(Received { ended: true, .. }) => break,
                Ok(Received { plaintext, emptied, .. }) => {
                    filled += plaintext;
                    if emptied && filled > 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => break,
                // What was decrypted before a record that is wrong is dropped with the connection, as by a reset.
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes plaintext, a record of it at most. What was taken is encrypted, and the socket may not have all of it yet:
    /// see `unsent`. While there is such a rest nothing more is taken.
    pub(crate) fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        SCRATCH.with_borrow_mut(|Scratch { gathered, sealed, .. }| {
            let plaintext = one_record(slices, gathered);
            if plaintext.is_empty() {
                return Ok(0);
            }
            let length = self.seal(plaintext, sealed)?;
            // What came first is sent first.
            let sent = if self.unsent.rest().is_empty() { send(socket, &sealed[..length])? } else { 0 };
            self.unsent.bytes.extend_from_slice(&sealed[sent..length]);
            Ok(plaintext.len())
        })
    }

    /// Gives the socket what is encrypted already. `WouldBlock`: it has not taken all of it.
    pub(crate) fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if self.unsent.rest().is_empty() {
            return Ok(());
        }
        let sent = send(socket, self.unsent.rest())?;
        self.unsent.advance(sent);
        if self.unsent.rest().is_empty() { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    /// Says that nothing more comes (`close_notify`, RFC 8446 section 6.1). To be flushed.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) || self.connection.is_handshaking() {
            return;
        }
        let mut notice = [0; NOTICE];
        // Keys that are used up cannot say good-bye.
        let queued = self.when_open(|mut traffic| traffic.queue_close_notify(&mut notice).unwrap_or(0));
        self.unsent.bytes.extend_from_slice(&notice[..queued.unwrap_or(0)]);
    }

    /// Bytes that are encrypted and that the socket has not taken yet.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.rest().len()
    }

    /// Whether the client has said that nothing more comes.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the client has sent anything.
    pub(crate) fn has_begun(&self) -> bool {
        self.broken || !self.half_read.is_empty() || self.version().is_some()
    }

    /// What both have agreed on, once they have.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.connection.protocol_version()
    }

    fn take_plaintext(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.plaintext.rest().len().min(buffer.len());
        if count > 0 {
            buffer[..count].copy_from_slice(&self.plaintext.rest()[..count]);
            self.plaintext.advance(count);
        }
        count
    }

    /// Reads ciphertext once, and decrypts into `room`; what finds no room waits.
    fn receive(&mut self, socket: &mut impl Read, most: usize, room: &mut [u8]) -> io::Result<Received> {
        SCRATCH.with_borrow_mut(|Scratch { received, .. }| {
            let before = self.half_read.len();
            let asked = most.min(received.len().saturating_sub(before));
            if self.broken || asked == 0 {
                return Err(SessionError::from(rustls::Error::from(InvalidMessage::HandshakePayloadTooLarge)).into());
            }
            let (head, tail) = received.split_at_mut(before);
            let read = match socket.read(&mut tail[..asked]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Received::default()),
                result => result?,
            };
            if read == 0 {
                return Ok(Received { ended: true, ..Received::default() });
            }
            head.copy_from_slice(&self.half_read);
            let plaintext = self.understand(&mut received[..before + read], room)?;
            Ok(Received { plaintext, emptied: read < asked, ended: false })
        })
    }

    /// Works on what was received, and keeps what is half there. Returns the plaintext that is in `room`.
    fn understand(&mut self, received: &mut [u8], room: &mut [u8]) -> Result<usize, SessionError> {
        if self.connection.protocol_version().is_none() && received.first().is_some_and(u8::is_ascii_uppercase) {
            return Err(SessionError::PlainHttp);
        }
        let mut filled = 0;
        let (used, stage) = self.advance(received, |plaintext, waiting| {
            let fits = plaintext.len().min(room.len() - filled);
            room[filled..filled + fits].copy_from_slice(&plaintext[..fits]);
            filled += fits;
            waiting.bytes.extend_from_slice(&plaintext[fits..]);
        });
        stage?;
        // Not `clear`: a part of a record is rare, and its memory would stay.
        self.half_read = received[used..].to_vec();
        Ok(filled)
    }

    /// Has rustls do all that can be done with what was received. Returns how much of that is used up.
    fn advance(
        &mut self,
        received: &mut [u8],
        mut take: impl FnMut(&[u8], &mut Waiting),
    ) -> (usize, Result<Stage, rustls::Error>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut received[used..]);
            let stage = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.unsent.bytes);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        take(record.payload, &mut self.plaintext);
                    }
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.finished = true;
                    None
                }
                Ok(ConnectionState::WriteTraffic(_)) => Some(Stage::Open),
                Ok(ConnectionState::BlockedHandshake) => Some(Stage::Handshake),
                // `Closed`; data before the handshake's end is not offered to clients, and there is no other state.
                Ok(_) => Some(Stage::Over),
                Err(error) => {
                    self.fail(&mut received[used + discard..]);
                    return (received.len(), Err(error));
                }
            };
            used += discard;
            if let Some(stage) = stage {
                return (used, Ok(stage));
            }
        }
    }

    /// Encodes the alert that says why the session fails. rustls would look at what is wrong once more if it were asked
    /// for more than that.
    fn fail(&mut self, received: &mut [u8]) {
        self.broken = true;
        while self.connection.wants_write() {
            match self.connection.process_tls_records(received).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.unsent.bytes),
                _ => return,
            }
        }
    }

    /// Encrypts a record into `sealed`, and returns its length.
    fn seal(&mut self, plaintext: &[u8], sealed: &mut Vec<u8>) -> io::Result<usize> {
        let mut result = self.when_open(|mut traffic| traffic.encrypt(plaintext, sealed));
        if let Some(Err(EncryptError::InsufficientSize(size))) = result {
            // A renewal of the keys goes before it.
            sealed.resize(size.required_size, 0);
            result = self.when_open(|mut traffic| traffic.encrypt(plaintext, sealed));
        }
        match result {
            Some(Ok(length)) => Ok(length),
            Some(Err(_)) => Err(io::Error::other("the keys are used up")),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    /// Does something if data may be sent.
    fn when_open<T>(
        &mut self,
        act: impl FnOnce(WriteTraffic<'_, rustls::server::ServerConnectionData>) -> T,
    ) -> Option<T> {
        if self.broken {
            return None;
        }
        let mut half_read = std::mem::take(&mut self.half_read);
        let (used, stage) =
            self.advance(&mut half_read, |plaintext, waiting| waiting.bytes.extend_from_slice(plaintext));
        half_read.drain(..used);
        self.half_read = half_read;
        if stage != Ok(Stage::Open) {
            return None;
        }
        match self.connection.process_tls_records(&mut self.half_read).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Some(act(traffic)),
            _ => None,
        }
    }
}

/// What one read of the socket gave.
#[derive(Default)]
struct Received {
    /// Bytes of plaintext.
    plaintext: usize,
    /// The socket had no more.
    emptied: bool,
    /// The socket is at its end.
    ended: bool,
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, into: &mut Vec<u8>) {
    let at = into.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        into.resize(at + size.required_size, 0);
        // It cannot fail with the size that it asked for.
        let _ = data.encode(&mut into[at..]);
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
pub(super) mod tests;
