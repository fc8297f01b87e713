//! The answer to a handshake waits for the shard, which sends it along with its first frames: one packet for the client
//! instead of two, and one journey through the kernel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Among the extensions of each request: says that what is answered from now on is to be kept.
#[derive(Clone, Default)]
pub(crate) struct Withhold(Arc<AtomicBool>);

impl Withhold {
    /// The answer to this request is the last that HTTP says on its connection, and is not sent.
    pub(crate) fn answer(&self) {
        self.0.store(true, Relaxed);
    }
}

/// A connection whose writes are kept when the word was given.
pub(crate) struct Withholding<S> {
    stream: S,
    withhold: Withhold,
    kept: Vec<u8>,
}

impl<S> Withholding<S> {
    pub(crate) fn new(stream: S, withhold: Withhold) -> Self {
        Self { stream, withhold, kept: Vec::new() }
    }

    /// The connection, and what was not sent over it.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.kept.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Withholding<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Withholding<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, withhold, kept } = self.get_mut();
        if !withhold.0.load(Relaxed) {
            return Pin::new(stream).poll_write_vectored(cx, slices);
        }
        let before = kept.len();
        for slice in slices {
            kept.extend_from_slice(slice);
        }
        Poll::Ready(Ok(kept.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_after_the_word_is_kept_in_order_and_what_came_before_is_sent() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let withhold = Withhold::default();
        let mut stream = Withholding::new(ours, withhold.clone());
        stream.write_all(b"sent").await.unwrap();
        withhold.answer();
        stream.write_all(b"kept").await.unwrap();
        assert_eq!(stream.write_vectored(&[IoSlice::new(b", "), IoSlice::new(b"too")]).await.unwrap(), 5);
        stream.flush().await.unwrap();
        let (ours, kept) = stream.into_parts();
        drop(ours);
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.unwrap();
        assert_eq!((got.as_str(), &*kept), ("sent", b"kept, too".as_slice()));
    }
}
