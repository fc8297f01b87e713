//! The same connection while HTTP is spoken over it: what hyper reads and writes.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::stream::Stream;

/// A socket of tokio's that says `WouldBlock`.
pub(crate) struct NotWaiting<'a>(pub(crate) &'a TcpStream);

impl Read for NotWaiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for NotWaiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries until it is done, or the socket cannot go on for now.
macro_rules! when_ready {
    ($socket:expr, $poll:ident, $cx:expr, $attempt:expr) => {
        loop {
            match $attempt {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!($socket.$poll($cx))?,
                result => break result,
            }
        }
    };
}

impl AsyncRead for Stream<TcpStream> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.get_mut().parts();
        let Some(session) = session else { return Pin::new(socket).poll_read(cx, buffer) };
        let read = when_ready!(socket, poll_read_ready, cx, {
            session.read(&mut NotWaiting(socket), buffer.initialize_unfilled())
        });
        buffer.advance(read?);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream<TcpStream> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (socket, session) = self.get_mut().parts();
        let Some(session) = session else { return Pin::new(socket).poll_write_vectored(cx, slices) };
        let written = when_ready!(socket, poll_write_ready, cx, session.write(&mut NotWaiting(socket), slices));
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.get_mut().parts();
        let Some(session) = session else { return Pin::new(socket).poll_flush(cx) };
        let flushed = when_ready!(socket, poll_write_ready, cx, session.flush(&mut NotWaiting(socket)));
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.get_mut().parts();
        if let Some(session) = session {
            session.close();
            when_ready!(socket, poll_write_ready, cx, session.flush(&mut NotWaiting(socket)))?;
        }
        Pin::new(socket).poll_shutdown(cx)
    }
}
