//! Drives one connection: reads frames, steps the session, does what it says, writes what waits. The only file that
//! knows the WebSocket library and the socket.

mod operations;
mod write;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{Sink, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::clock;
use crate::entry::{Text, frame_cost};
use crate::outbox::{Item, Taken};
use crate::protocol::{self, Protocol, Refusal, Request};
use crate::room::RoomId;
use crate::session::{Effect, Event, Session};
use crate::shard::Connection;
use crate::shared::Shared;
use operations::{Operation, history, join, publish};
use write::Written;

/// Bytes that are gathered before they are flushed.
const BATCH: usize = 64 * 1024;
/// Requests of one client that may be under way at once; more are not read from the socket.
const IN_FLIGHT: usize = 64;
/// How long a client has to answer a close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A WebSocket over `io`, after its handshake. `read` are bytes that came with it.
pub async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    read: Bytes,
    max_message: usize,
) -> WebSocketStream<S> {
    // Somewhat more than allowed passes the library, so that the session can answer; far more is not even read.
    let most = max_message.saturating_mul(2).saturating_add(4096);
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(BATCH)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    WebSocketStream::from_partially_read(io, read.to_vec(), Role::Server, Some(config)).await
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Value of the metrics' label `reason`.
    pub reason: &'static str,
}

/// Drives a connection to its end.
pub async fn drive<S>(
    socket: WebSocketStream<S>,
    session: Session,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let wake = Box::pin(tokio::time::sleep_until(clock::instant(session.wake_at())));
    let mut driver = Driver {
        socket,
        session,
        connection,
        shared,
        wake,
        operations: FuturesUnordered::new(),
        held: None,
        unflushed: None,
    };
    let ended = driver.run().await;
    driver.leave_all();
    ended
}

struct Driver<S> {
    socket: WebSocketStream<S>,
    session: Session,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    wake: Pin<Box<Sleep>>,
    operations: FuturesUnordered<Operation>,
    /// A request that waits until the subscriptions before it are made.
    held: Option<Request>,
    /// Bytes that were given to the library, and the id of the oldest message among them.
    unflushed: Option<Written>,
}

enum Turn {
    Incoming(Option<Result<Message, WsError>>),
    Flushed(Result<(), WsError>),
    Operation(Event),
    Outbox(Taken),
    Wake,
}

type Stop = Result<(), Ended>;

const fn ended(reason: &'static str) -> Ended {
    Ended { reason }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Driver<S> {
    async fn run(&mut self) -> Ended {
        let node = Arc::clone(&self.shared.node);
        let mut stop = self.step(Event::Opened { node }).await;
        while stop.is_ok() {
            let turn = std::future::poll_fn(|cx| self.poll_turn(cx)).await;
            stop = self.take_turn(turn).await;
        }
        stop.expect_err("the loop ends with an end")
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if self.unflushed.is_some()
            && let Poll::Ready(result) = Pin::new(&mut self.socket).poll_flush(cx)
        {
            return Poll::Ready(Turn::Flushed(result));
        }
        if let Poll::Ready(Some(event)) = self.operations.poll_next_unpin(cx) {
            return Poll::Ready(Turn::Operation(event));
        }
        if self.reads_on()
            && let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx)
        {
            return Poll::Ready(Turn::Incoming(message));
        }
        if self.writes_on()
            && let Poll::Ready(taken) = self.connection.outbox.poll_take(cx)
        {
            return Poll::Ready(Turn::Outbox(taken));
        }
        self.poll_overflow(cx).or_wake(self.wake.as_mut().poll(cx))
    }

    /// A queue that has run over is noticed even while a write is stuck.
    fn poll_overflow(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if self.writes_on() { Poll::Pending } else { self.connection.outbox.poll_overflow(cx).map(Turn::Outbox) }
    }

    fn reads_on(&self) -> bool {
        let raw_joining = self.session.protocol == Protocol::Raw && self.session.joining();
        self.held.is_none() && !raw_joining && self.operations.len() < IN_FLIGHT
    }

    fn writes_on(&self) -> bool {
        self.unflushed.is_none() && !self.session.joining()
    }

    async fn take_turn(&mut self, turn: Turn) -> Stop {
        match turn {
            Turn::Incoming(message) => self.incoming(message).await,
            Turn::Flushed(Ok(())) => {
                self.flushed();
                Ok(())
            }
            Turn::Flushed(Err(_)) => Err(ended("lost")),
            Turn::Operation(event) => {
                self.step(event).await?;
                self.release_held().await
            }
            Turn::Outbox(taken) => self.drain_outbox(taken).await,
            Turn::Wake => self.step(Event::Tick).await,
        }
    }

    async fn incoming(&mut self, message: Option<Result<Message, WsError>>) -> Stop {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.shared.metrics.received();
                self.text(text).await
            }
            Some(Ok(Message::Binary(_))) => self.step(Event::Binary).await,
            Some(Ok(Message::Pong(_))) => self.step(Event::Pong).await,
            // The library has queued the answer.
            Some(Ok(Message::Ping(_))) => {
                self.wrote(0);
                Ok(())
            }
            Some(Ok(Message::Close(frame))) => Err(self.said_goodbye(frame.as_ref()).await),
            Some(Ok(Message::Frame(_))) => Ok(()),
            Some(Err(WsError::Capacity(_))) => self.step(Event::TooLarge).await,
            Some(Err(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err(ended("lost")),
            Some(Err(WsError::Protocol(_) | WsError::Utf8(_))) => Err(ended("protocol_error")),
            Some(Err(_)) | None => Err(ended("lost")),
        }
    }

    /// The library answers a close frame by itself when it is flushed.
    async fn said_goodbye(&mut self, _frame: Option<&CloseFrame>) -> Ended {
        let flush = std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_flush(cx));
        let _ = tokio::time::timeout(CLOSE_PATIENCE, flush).await;
        ended("client")
    }

    async fn text(&mut self, text: Text) -> Stop {
        let config = self.shared.config();
        if self.session.protocol == Protocol::Raw || text.as_str().len() > config.limits.max_message_bytes {
            return self.step(Event::Text(text)).await;
        }
        match protocol::parse(text.as_str()) {
            Ok(request) if self.must_wait(&request) => {
                self.held = Some(request);
                Ok(())
            }
            Ok(request) => self.step(Event::Request(request)).await,
            Err(_) => self.step(Event::Text(text)).await,
        }
    }

    /// Requests take effect in the order in which they were sent: what follows a `subscribe` waits for it.
    fn must_wait(&self, request: &Request) -> bool {
        self.session.joining() && !matches!(request, Request::Subscribe { .. } | Request::Ping { .. })
    }

    async fn release_held(&mut self) -> Stop {
        match self.held.take() {
            Some(request) if self.must_wait(&request) => {
                self.held = Some(request);
                Ok(())
            }
            Some(request) => self.step(Event::Request(request)).await,
            None => Ok(()),
        }
    }

    /// Takes what waits, up to a batch; it is written at once.
    async fn drain_outbox(&mut self, first: Taken) -> Stop {
        let mut next = Some(first);
        while let Some(taken) = next {
            let Taken::Item(item, cost) = taken else { return self.step(Event::Overflowed).await };
            let stop = self.step(event(item)).await;
            self.connection.outbox.release(cost);
            stop?;
            let full = self.unflushed.is_some_and(|written| written.bytes >= self.batch());
            next = if full || self.session.joining() { None } else { self.connection.outbox.take() };
        }
        Ok(())
    }

    async fn step(&mut self, event: Event) -> Stop {
        let config = self.shared.config();
        let effects = self.session.step(event, &config, clock::now());
        // A replay waits here, not in the outbox: it does not count against this client, but against the total.
        let waiting = effects.iter().map(|effect| self.cost(effect)).sum();
        self.connection.outbox.reserve_aside(waiting);
        for effect in effects {
            let cost = self.cost(&effect);
            self.perform(effect).await?;
            self.connection.outbox.release_aside(cost);
        }
        self.wake.as_mut().reset(clock::instant(self.session.wake_at()));
        Ok(())
    }

    fn cost(&self, effect: &Effect) -> usize {
        match effect {
            Effect::Deliver(delivery) => delivery.cost(self.session.protocol),
            Effect::Send(text) => frame_cost(text.as_str().len()),
            _ => 0,
        }
    }

    async fn perform(&mut self, effect: Effect) -> Stop {
        match effect {
            Effect::Send(text) => self.write(Message::Text(text), None).await,
            Effect::Deliver(delivery) => {
                let frame = delivery.frame(self.session.protocol);
                self.write(Message::Text(frame), Some(delivery.entry.id)).await
            }
            Effect::Ping => self.write(Message::Ping(Bytes::new()), None).await,
            Effect::Join { room, since } => {
                self.operations.push(join(Arc::clone(&self.shared), Arc::clone(&self.connection), room, since));
                Ok(())
            }
            Effect::Leave(room) => {
                self.shared.hub.leave(&room, self.connection.id);
                Ok(())
            }
            Effect::Publish { reference, room, payload, key } => {
                self.operations.push(publish(Arc::clone(&self.shared), reference, room, payload, key));
                Ok(())
            }
            Effect::ReadHistory { reference, room, before, limit } => {
                self.operations.push(history(Arc::clone(&self.shared), reference, room, before, limit));
                Ok(())
            }
            Effect::Appear { room, member } => {
                self.shared.presence.join(&room, &self.connection, member);
                Ok(())
            }
            Effect::Disappear(room) => {
                self.shared.presence.leave(&room, self.connection.id);
                Ok(())
            }
            Effect::ReadPresence { reference, room } => {
                self.shared.presence.ask(&room, &self.connection, reference);
                Ok(())
            }
            Effect::Refused(code) => {
                self.shared.metrics.refused(code);
                Ok(())
            }
            Effect::Resumed(recovered) => {
                self.shared.metrics.resumed(recovered);
                Ok(())
            }
            Effect::Resynced(reason) => {
                self.shared.metrics.resynced(reason);
                Ok(())
            }
            Effect::Close(closing) => Err(self.close(closing).await),
        }
    }

    fn leave_all(&mut self) {
        self.connection.outbox.close();
        let written = self.unflushed.take().unwrap_or_default();
        self.connection.outbox.release(written.bytes);
        for room in self.session.present_in() {
            self.shared.presence.leave(room, self.connection.id);
        }
        let rooms: Vec<RoomId> = self.session.rooms().cloned().collect();
        // Joins under way first: one that is done after we left would stay for ever.
        self.operations.clear();
        for room in rooms {
            self.shared.hub.leave(&room, self.connection.id);
        }
    }
}

trait OrWake {
    fn or_wake(self, wake: Poll<()>) -> Poll<Turn>;
}

impl OrWake for Poll<Turn> {
    fn or_wake(self, wake: Poll<()>) -> Poll<Turn> {
        match self {
            Poll::Ready(turn) => Poll::Ready(turn),
            Poll::Pending => wake.map(|()| Turn::Wake),
        }
    }
}

fn event(item: Item) -> Event {
    match item {
        Item::Message(delivery) => Event::Message(delivery),
        Item::Gap { room, reason, position } => Event::Gap { room, reason, position },
        Item::Notice(notice) => Event::Notice(notice),
        Item::Presence { reference, room, result } => {
            let result = result.map_err(|error| Refusal { reference, ..operations::refusal(&error) });
            Event::PresenceRead { reference, room, result }
        }
        Item::Drain { retry_after_ms, deadline_ms } => Event::Drain { retry_after_ms, deadline_ms },
        Item::DrainCancelled => Event::DrainCancelled,
        Item::DrainForced => Event::DrainForced,
        Item::GoingAway => Event::GoingAway,
        Item::Kicked => Event::Kicked,
    }
}
