//! Writing: what was given to the library, what was flushed, and how a connection is closed.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::{Sink, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{BATCH, CLOSE_PATIENCE, Driver, Ended, Stop, ended};
use crate::clock;
use crate::entry::{EntryId, frame_cost};
use crate::session::Closing;

/// How long a client that does not read has to answer a close frame.
const SLOW_CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// How long one batch of a replay may take.
const REPLAY_PATIENCE: Duration = Duration::from_mins(1);

/// What was given to the library and is not flushed yet.
#[derive(Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) bytes: usize,
    messages: u64,
    oldest: Option<EntryId>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Driver<S> {
    /// Gives a frame to the library. When that is full, waits until the client has read, or is closed as too slow.
    pub(super) async fn write(&mut self, message: Message, id: Option<EntryId>) -> Stop {
        let cost = frame_cost(message.len());
        if self.unflushed.is_some_and(|written| written.bytes >= self.batch()) {
            self.flush_or_overflow().await?;
        }
        if Pin::new(&mut self.socket).start_send(message).is_err() {
            return Err(ended("lost"));
        }
        let written = self.unflushed.get_or_insert_default();
        written.messages += u64::from(id.is_some());
        written.oldest = written.oldest.or(id);
        self.wrote(cost);
        Ok(())
    }

    /// Bytes that are gathered before they are flushed. They count as waiting, so a replay must leave room for what is
    /// live.
    pub(super) fn batch(&self) -> usize {
        BATCH.min(self.shared.settings.load().backpressure.max_buffered_bytes / 4)
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.connection.outbox.reserve(bytes);
        self.unflushed.get_or_insert_default().bytes += bytes;
    }

    /// A long replay is written to the client's pace, for as long as live messages do not pile up behind it.
    async fn flush_or_overflow(&mut self) -> Stop {
        let (socket, outbox) = (&mut self.socket, &self.connection.outbox);
        let flush = std::future::poll_fn(|cx| match Pin::new(&mut *socket).poll_flush(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_| ended("lost"))),
            Poll::Pending => outbox.poll_overflow(cx).map(|_| Err(ended("slow"))),
        });
        match tokio::time::timeout(REPLAY_PATIENCE, flush).await {
            Ok(Ok(())) => {
                self.flushed();
                Ok(())
            }
            Ok(Err(end)) => Err(end),
            Err(_) => Err(ended("slow")),
        }
    }

    pub(super) fn flushed(&mut self) {
        let Some(written) = self.unflushed.take() else { return };
        self.connection.outbox.release(written.bytes);
        self.shared.metrics.sent(written.messages);
        if let Some(oldest) = written.oldest {
            self.shared.metrics.lag(clock::now().saturating_sub(oldest.ms));
        }
    }

    /// Sends a close frame and waits a little for the client's, so that it is read before the connection ends.
    pub(super) async fn close(&mut self, closing: Closing) -> Ended {
        self.connection.outbox.close();
        let patience = if closing.reason == "slow" { SLOW_CLOSE_PATIENCE } else { CLOSE_PATIENCE };
        let frame = CloseFrame { code: closing.code.into(), reason: closing.reason.into() };
        let _ = tokio::time::timeout(patience, self.say_goodbye(frame)).await;
        ended(closing.reason)
    }

    async fn say_goodbye(&mut self, frame: CloseFrame) {
        if Pin::new(&mut self.socket).start_send(Message::Close(Some(frame))).is_err() {
            return;
        }
        if std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_flush(cx)).await.is_err() {
            return;
        }
        while let Some(Ok(_)) = self.socket.next().await {}
        // After an oversized frame the library cannot read on; unread bytes would turn our close into a reset.
        let io = self.socket.get_mut();
        let _ = io.shutdown().await;
        let mut rest = [0; 4096];
        while matches!(io.read(&mut rest).await, Ok(read) if read > 0) {}
    }
}
