//! A client's connection, plain or over TLS, as whoever serves it sees it: bytes in, bytes out, and what was taken but
//! not sent yet. Knows no WebSocket. `S` is the socket: tokio's while HTTP is spoken, mio's in a shard.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use crate::tls::Session;

/// A socket, and the TLS session over it if there is one. A plain one costs one branch and the pointer that is empty.
pub(crate) struct Stream<S> {
    socket: S,
    session: Option<Box<Session>>,
}

impl<S> From<S> for Stream<S> {
    /// A plain connection.
    fn from(socket: S) -> Self {
        Self { socket, session: None }
    }
}

impl<S> Stream<S> {
    /// A connection whose TLS handshake is done.
    pub(crate) fn secured(socket: S, session: Box<Session>) -> Self {
        Self { socket, session: Some(session) }
    }

    /// The same with another kind of socket.
    pub(crate) fn try_map<T, E>(self, change: impl FnOnce(S) -> Result<T, E>) -> Result<Stream<T>, E> {
        Ok(Stream { socket: change(self.socket)?, session: self.session })
    }

    /// The socket, to watch it or to set its options. What is read from it or written to it directly is ciphertext.
    pub(crate) fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The socket of a plain connection. That of a secured one is of no use without its keys, which stay here.
    pub(crate) fn into_plain(self) -> Option<S> {
        if self.session.is_none() { Some(self.socket) } else { None }
    }

    /// Whether it is over TLS.
    pub(crate) fn is_secured(&self) -> bool {
        self.session.is_some()
    }

    /// Bytes that were taken, and that the socket has not taken yet.
    pub(crate) fn unsent(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.unsent())
    }

    /// Whether the client has said, within TLS, that nothing more comes. A socket announces its end by itself.
    pub(crate) fn is_finished(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_finished())
    }

    pub(super) fn parts(&mut self) -> (&mut S, Option<&mut Session>) {
        (&mut self.socket, self.session.as_deref_mut())
    }
}

impl<S: Write> Stream<S> {
    /// Before the socket is dropped: over TLS an end that was not announced looks like one that somebody else made.
    pub(crate) fn say_good_bye(&mut self) {
        if let Some(session) = &mut self.session {
            session.close();
            let _ = session.flush(&mut self.socket);
        }
    }
}

impl Stream<mio::net::TcpStream> {
    /// Says that nothing more comes. `WouldBlock`: not yet, what waits must be sent first.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            session.close();
            session.flush(&mut self.socket)?;
        }
        self.socket.shutdown(Shutdown::Write)
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.session {
            None => self.socket.read(buffer),
            Some(session) => session.read(&mut self.socket, buffer),
        }
    }
}

impl<S: Write> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            None => self.socket.write(bytes),
            Some(session) => session.write(&mut self.socket, &[IoSlice::new(bytes)]),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.session {
            None => self.socket.write_vectored(slices),
            Some(session) => session.write(&mut self.socket, slices),
        }
    }

    /// `WouldBlock`: what was taken is not all sent.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            None => self.socket.flush(),
            Some(session) => session.flush(&mut self.socket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_pays_a_pointer() {
        assert_eq!(size_of::<Stream<std::net::TcpStream>>(), size_of::<usize>() + size_of::<*const Session>());
    }
}
