//! The application's handle: builder, commands, events. It does not know what becomes of a command.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::{
    Backoff, Event, MessageId, PublishError,
    core::Settings,
    driver::{Command, Driver, Options, Sink},
};

/// How many events may wait for the application before the client stops reading from its connections.
const EVENT_BUFFER: usize = 256;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct BuildError {
    url: String,
    reason: String,
}

/// Settings of a client to be.
#[must_use]
pub struct Builder {
    url: String,
    settings: Settings,
    read_buffer: usize,
    token: Option<Box<dyn Fn() -> Option<String> + Send + Sync>>,
}

/// A session. Clones share it; when the last is dropped the session is closed.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
}

/// The session's events, in order. Keep reading: while [`EVENT_BUFFER`] of them wait nothing is read from the network,
/// so no publish is answered either, and in the end the gateway closes the connection as too slow.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

/// A publish under way; resolves to the id of the entry. Dropping it does not take the message back.
#[derive(Debug)]
pub struct Publishing(oneshot::Receiver<Result<MessageId, PublishError>>);

impl Client {
    /// A client of the gateways at `url` (`ws://host:port/ws`).
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder { url: url.into(), settings: Settings::default(), read_buffer: 4096, token: None }
    }

    /// Wants the messages of a room: those after `since`, or those from now on. The session keeps it through every
    /// change of connection. `Subscribed` confirms it.
    pub fn subscribe(&self, room: impl Into<Arc<str>>, since: Option<MessageId>) {
        self.command(Command::Subscribe { room: room.into(), since });
    }

    /// No longer wants the messages of a room.
    pub fn unsubscribe(&self, room: impl Into<Arc<str>>) {
        self.command(Command::Unsubscribe { room: room.into() });
    }

    /// Publishes to a room. Messages of one client to one room keep their order, also when they are not awaited.
    ///
    /// # Errors
    /// Only if `payload` cannot be written as JSON; how the publish went is the future's to say.
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        room: impl Into<Arc<str>>,
        payload: &T,
    ) -> Result<Publishing, serde_json::Error> {
        let payload = serde_json::value::to_raw_value(payload)?;
        Ok(self.publish_raw(room, payload))
    }

    /// Publishes JSON as it stands.
    pub fn publish_raw(&self, room: impl Into<Arc<str>>, payload: Box<RawValue>) -> Publishing {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Publish { room: room.into(), payload, reply });
        Publishing(answer)
    }

    /// Says goodbye to the gateway. `Closed` is the last event.
    pub fn close(&self) {
        self.command(Command::Close);
    }

    /// Waits until the session is over and every goodbye has been said.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    /// A command to a session that is over has no effect; a publish then answers `NotConnected`.
    fn command(&self, command: Command) {
        self.commands.send(command).ok();
    }
}

impl Builder {
    /// How to space attempts to connect.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// From the start of a handshake to the gateway's welcome.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Bytes of read buffer per connection (4096).
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.read_buffer = bytes;
        self
    }

    /// Asked for a token for each connection, and sent as its first frame.
    pub fn token(mut self, token: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.token = Some(Box::new(token));
        self
    }

    /// Starts the session on the current tokio runtime. It connects, and reconnects, by itself.
    ///
    /// # Errors
    /// If the URL is not one of a WebSocket.
    pub fn connect(self) -> Result<(Client, Events), BuildError> {
        let (sender, receiver) = mpsc::channel(EVENT_BUFFER);
        let client = self.start(Sink::Channel(sender))?;
        Ok((client, Events(receiver)))
    }

    /// As [`Builder::connect`], but hands each event to `handler` on the session's own task: the cheapest way to hold
    /// very many sessions. The handler must not block.
    ///
    /// # Errors
    /// If the URL is not one of a WebSocket.
    pub fn connect_with(self, handler: impl FnMut(Event) + Send + 'static) -> Result<Client, BuildError> {
        self.start(Sink::Handler(Box::new(handler)))
    }

    fn start(self, sink: Sink) -> Result<Client, BuildError> {
        let failed = |reason: String| BuildError { url: self.url.clone(), reason };
        let request = self.url.as_str().into_client_request().map_err(|error| failed(error.to_string()))?;
        match request.uri().scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(failed("wss:// is not available in this version".to_owned())),
            _ => return Err(failed("expected ws://HOST:PORT/PATH".to_owned())),
        }
        let (commands, receiver) = mpsc::unbounded_channel();
        let options = Options { url: self.url, read_buffer: self.read_buffer, token: self.token };
        tokio::spawn(Driver::new(options, self.settings, receiver, sink).run());
        Ok(Client { commands })
    }
}

impl Events {
    /// The next event; none when the session is over.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_recv(context)
    }
}

impl Future for Publishing {
    type Output = Result<MessageId, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(PublishError::NotConnected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_is_none_of_a_websocket_is_refused() {
        for url in ["", "localhost", "http://127.0.0.1/ws", "wss://a/ws", "ws://", "ws://a b"] {
            let error = Client::builder(url).connect().expect_err(url);
            assert!(error.to_string().starts_with(&format!("{url}: ")), "{error}");
        }
    }
}
