//! The application's handle: builder, commands, events. It does not know what becomes of a command.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, Stream};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::{
    Backoff, CookieJar, Event, History, Listing, MessageId, PublishError, RequestError,
    core::{Answer, Question, Settings},
    driver::{Command, Driver, Options, Sink},
    socket::Target,
    tls,
    token::Tokens,
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
    tokens: Option<Tokens>,
    authorities: Option<Vec<u8>>,
    cookies: Option<CookieJar>,
}

/// How to follow a room.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subscribe {
    /// Begin after this entry; none: with what comes from now on.
    pub since: Option<MessageId>,
    /// Be listed among the room's members, and be told who comes and leaves.
    pub presence: bool,
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
    /// A client of the gateways at `url` (`ws://host:port/ws` or `wss://…`).
    pub fn builder(url: impl Into<String>) -> Builder {
        let (settings, read_buffer) = (Settings::default(), 4096);
        Builder { url: url.into(), settings, read_buffer, tokens: None, authorities: None, cookies: None }
    }

    /// Wants the messages of a room: those after `since`, or those from now on. The session keeps it through every
    /// change of connection. `Subscribed` confirms it.
    pub fn subscribe(&self, room: impl Into<Arc<str>>, since: Option<MessageId>) {
        self.subscribe_with(room, Subscribe { since, presence: false });
    }

    /// As [`Client::subscribe`], with all that can be chosen.
    pub fn subscribe_with(&self, room: impl Into<Arc<str>>, subscribe: Subscribe) {
        let Subscribe { since, presence } = subscribe;
        self.command(Command::Subscribe { room: room.into(), since, presence });
    }

    /// No longer wants the messages of a room.
    pub fn unsubscribe(&self, room: impl Into<Arc<str>>) {
        self.command(Command::Unsubscribe { room: room.into() });
    }

    /// Publishes to a room. Messages of one client to one room keep their order, also when they are not awaited.
    ///
    /// Without a connection it waits for one ([`Builder::queue`]). If the answer is lost with the connection it is sent
    /// again, with a key by which the gateway writes it once.
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
        self.publishing(room.into(), payload, None)
    }

    /// Publishes JSON as it stands, once however often it is asked for with this `key` within five minutes, by whatever
    /// client.
    pub fn publish_once(
        &self,
        room: impl Into<Arc<str>>,
        payload: Box<RawValue>,
        key: impl Into<String>,
    ) -> Publishing {
        self.publishing(room.into(), payload, Some(key.into()))
    }

    fn publishing(&self, room: Arc<str>, payload: Box<RawValue>, key: Option<String>) -> Publishing {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Publish { room, payload, key, reply });
        Publishing(answer)
    }

    /// Asks who is in a room.
    pub fn presence(&self, room: impl Into<Arc<str>>) -> Asking<Listing> {
        let take = |answer| if let Answer::Presence(listing) = answer { Some(listing) } else { None };
        self.ask(Question::Presence { room: room.into() }, take)
    }

    /// Reads a page of a room's past: the newest messages, or those before an id; the gateway's default is 50 of them.
    pub fn history(
        &self,
        room: impl Into<Arc<str>>,
        before: Option<MessageId>,
        limit: Option<usize>,
    ) -> Asking<History> {
        let take = |answer| if let Answer::History(page) = answer { Some(page) } else { None };
        self.ask(Question::History { room: room.into(), before, limit }, take)
    }

    fn ask<T>(&self, question: Question, take: fn(Answer) -> Option<T>) -> Asking<T> {
        let (told, answer) = oneshot::channel();
        self.command(Command::Ask { question, told });
        Asking { answer, take }
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

    /// Asked for a token for each connection, which is sent as its first frame; again before a token expires that is a
    /// JWT and says when; and once more when a token was refused.
    pub fn token<F>(mut self, token: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<String>> + Send + 'static,
    {
        self.settings.tokens = true;
        self.tokens = Some(Arc::new(move || token().boxed()));
        self
    }

    /// Keeps the cookies that gateways set, and shows them: behind a load balancer that does not, this finds the gateway
    /// again that the client was on. Without a jar none are kept.
    pub fn cookies(mut self, jar: &CookieJar) -> Self {
        self.cookies = Some(jar.clone());
        self
    }

    /// How many publishes may wait for a connection (1000). One more is answered `QueueFull`; with 0 none waits.
    pub fn queue(mut self, publishes: usize) -> Self {
        self.settings.queue = publishes;
        self
    }

    /// With `wss://`: trusts the authorities in this PEM file's content, instead of those of the web.
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
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
        let tls = match request.uri().scheme_str() {
            Some("ws") => None,
            Some("wss") => Some(tls::config(self.authorities.as_deref()).map_err(failed)?),
            _ => return Err(failed("expected ws://HOST:PORT/PATH or wss://HOST:PORT/PATH".to_owned())),
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        let target = Target { url: self.url, read_buffer: self.read_buffer, tls, cookies: self.cookies };
        let options = Options { target, tokens: self.tokens };
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

/// A question under way.
#[derive(Debug)]
pub struct Asking<T> {
    answer: oneshot::Receiver<Result<Answer, RequestError>>,
    take: fn(Answer) -> Option<T>,
}

impl<T> Future for Asking<T> {
    type Output = Result<T, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let take = self.take;
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            answer
                .unwrap_or(Err(RequestError::NotConnected))
                .and_then(|answer| take(answer).ok_or(RequestError::NotConnected))
        })
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
        for url in ["", "localhost", "http://127.0.0.1/ws", "ws://", "ws://a b"] {
            let error = Client::builder(url).connect().expect_err(url);
            assert!(error.to_string().starts_with(&format!("{url}: ")), "{error}");
        }
    }

    #[tokio::test]
    async fn authorities_that_are_none_are_refused() {
        for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Client::builder("wss://127.0.0.1/ws").authorities(pem).connect().expect_err(pem);
            assert!(error.to_string().contains("authorit"), "{error}");
        }
    }
}
