//! The one task of a session: moves what happens into the core and carries out what it answers.
//!
//! It decides nothing: which connection serves, when to retry and what the application sees is the core's.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, Sleep},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    Event, MessageId, PublishError, RequestError,
    core::{Answer, Core, Effect, End, LinkId, Question, Settings, Token},
    frame::Incoming,
    socket::{self, Read, Socket, Target},
    token::{Tokens, good_for},
};

/// With no event waiting for longer than this many others, reading goes on.
const OUTBOX: usize = 64;
/// A timer that is not needed is set this far away.
const FAR: Duration = Duration::from_hours(1);

type Reply = oneshot::Sender<Result<MessageId, PublishError>>;
/// Where the answer to a question goes.
pub(crate) type Told = oneshot::Sender<Result<Answer, RequestError>>;

/// What the application asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe { room: Arc<str>, since: Option<MessageId>, presence: bool },
    Unsubscribe { room: Arc<str> },
    Publish { room: Arc<str>, payload: Box<RawValue>, key: Option<String>, reply: Reply },
    Ask { question: Question, told: Told },
    Close,
}

/// Where events go.
pub(crate) enum Sink {
    Channel(mpsc::Sender<Event>),
    Handler(Box<dyn FnMut(Event) + Send>),
}

pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) tokens: Option<Tokens>,
}

/// A connection that is open, and the token to show there.
type Opened = (Socket, Option<String>);

enum Slot {
    Opening(LinkId, BoxFuture<'static, Result<Opened, End>>),
    Open(LinkId, Socket),
}

enum Arrival {
    Opened(LinkId, Opened),
    Text(LinkId, Message),
    Life(LinkId),
    Ended(LinkId, End),
}

pub(crate) struct Driver {
    options: Options,
    core: Core,
    commands: mpsc::UnboundedReceiver<Command>,
    sink: Sink,
    outbox: VecDeque<Event>,
    slots: Vec<Slot>,
    /// Goodbyes under way.
    leaving: Vec<JoinHandle<()>>,
    replies: BTreeMap<Token, Reply>,
    questions: BTreeMap<Token, Told>,
    /// Tokens that are being fetched for connections that are open.
    fetching: FuturesUnordered<BoxFuture<'static, (LinkId, Option<String>)>>,
    last_token: Token,
    started: Instant,
    finished: bool,
}

impl Driver {
    pub(crate) fn new(
        options: Options,
        settings: Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        sink: Sink,
    ) -> Self {
        Self {
            options,
            core: Core::new(settings, rand::random()),
            commands,
            sink,
            outbox: VecDeque::new(),
            slots: Vec::new(),
            leaving: Vec::new(),
            replies: BTreeMap::new(),
            questions: BTreeMap::new(),
            fetching: FuturesUnordered::new(),
            last_token: 0,
            started: Instant::now(),
            finished: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        while !(self.finished && self.outbox.is_empty()) {
            self.step(&mut timer).await;
            self.carry_out().await;
            self.arm(timer.as_mut());
        }
        for goodbye in self.leaving {
            goodbye.await.ok();
        }
    }

    /// Waits for one thing to happen and tells the core.
    async fn step(&mut self, timer: &mut Pin<Box<Sleep>>) {
        let full = self.outbox.len() >= OUTBOX;
        let waiting = !self.outbox.is_empty();
        tokio::select! {
            command = self.commands.recv(), if !self.finished => self.command(command),
            arrival = poll_fn(|context| poll_slots(&mut self.slots, context)), if !full => self.arrived(arrival),
            delivered = deliver(&mut self.sink, &mut self.outbox), if waiting => self.delivered(delivered, full),
            Some((link, token)) = self.fetching.next(), if !self.fetching.is_empty() => self.authenticate(link, token.as_deref()),
            () = timer.as_mut() => self.core.tick(self.started.elapsed()),
        }
    }

    fn command(&mut self, command: Option<Command>) {
        let now = self.started.elapsed();
        match command {
            Some(Command::Subscribe { room, since, presence }) => self.core.subscribe(room, since, presence, now),
            Some(Command::Unsubscribe { room }) => self.core.unsubscribe(&room, now),
            Some(Command::Publish { room, payload, key, reply }) => {
                self.last_token += 1;
                self.replies.insert(self.last_token, reply);
                self.core.publish(self.last_token, room, payload, key, now);
            }
            Some(Command::Ask { question, told }) => {
                self.last_token += 1;
                self.questions.insert(self.last_token, told);
                self.core.ask(self.last_token, &question);
            }
            Some(Command::Close) | None => self.core.close(),
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        let now = self.started.elapsed();
        match arrival {
            Arrival::Opened(link, (socket, token)) => {
                self.slots.push(Slot::Open(link, socket));
                self.core.opened(link, now);
                self.authenticate(link, token.as_deref());
            }
            Arrival::Text(link, message) => {
                self.core.heard(link, now);
                match message.to_text().map(serde_json::from_str::<Incoming<'_>>) {
                    Ok(Ok(frame)) => self.core.frame(link, &frame, now),
                    Ok(Err(error)) => tracing::warn!(%error, "a frame that is not of the protocol"),
                    Err(error) => tracing::warn!(%error, "a frame that is no text"),
                }
            }
            Arrival::Life(link) => self.core.heard(link, now),
            Arrival::Ended(link, end) => self.core.ended(link, &end, now),
        }
    }

    fn authenticate(&mut self, link: LinkId, token: Option<&str>) {
        self.core.authenticate(link, token, token.and_then(good_for), self.started.elapsed());
    }

    /// While the application was slow nothing was read, so silence says nothing about the connections.
    fn delivered(&mut self, delivered: bool, was_full: bool) {
        if !delivered {
            self.outbox.clear();
            self.core.close();
        } else if was_full {
            let now = self.started.elapsed();
            for slot in &self.slots {
                self.core.heard(slot.link(), now);
            }
        }
    }

    async fn carry_out(&mut self) {
        while let Some(effect) = self.core.effect() {
            match effect {
                Effect::Open(link) => {
                    let opening = open(self.options.target.clone(), self.options.tokens.clone());
                    self.slots.push(Slot::Opening(link, Box::pin(opening)));
                }
                Effect::Send(link, text) => self.send(link, text).await,
                Effect::Leave(link) => {
                    if let Some(Slot::Open(_, socket)) = self.take(link) {
                        self.leaving.retain(|goodbye| !goodbye.is_finished());
                        self.leaving.push(tokio::spawn(socket::leave(socket)));
                    }
                }
                Effect::Abort(link) => drop(self.take(link)),
                Effect::Emit(event) => self.emit(event),
                Effect::Published(token, result) => {
                    if let Some(reply) = self.replies.remove(&token) {
                        reply.send(result).ok();
                    }
                }
                Effect::Answered(token, result) => {
                    if let Some(told) = self.questions.remove(&token) {
                        told.send(result).ok();
                    }
                }
                Effect::Refresh(link) => {
                    if let Some(tokens) = self.options.tokens.clone() {
                        self.fetching.push(Box::pin(async move { (link, tokens().await) }));
                    }
                }
                Effect::Finish => self.finish(),
            }
        }
    }

    async fn send(&mut self, link: LinkId, text: String) {
        let Some(Slot::Open(_, socket)) = self.slots.iter_mut().find(|slot| slot.link() == link) else { return };
        if let Err(end) = socket::write(socket, text).await {
            self.take(link);
            self.core.ended(link, &end, self.started.elapsed());
        }
    }

    fn emit(&mut self, event: Event) {
        match &mut self.sink {
            Sink::Handler(handler) => handler(event),
            Sink::Channel(sender) if self.outbox.is_empty() => {
                if let Err(mpsc::error::TrySendError::Full(event)) = sender.try_send(event) {
                    self.outbox.push_back(event);
                }
            }
            Sink::Channel(_) => self.outbox.push_back(event),
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.slots.clear();
        self.replies.clear();
        self.questions.clear();
        self.fetching.clear();
    }

    fn take(&mut self, link: LinkId) -> Option<Slot> {
        let index = self.slots.iter().position(|slot| slot.link() == link)?;
        Some(self.slots.swap_remove(index))
    }

    /// Sets the timer forward only when it fires or must fire earlier: most arrivals only put a deadline off.
    fn arm(&self, timer: Pin<&mut Sleep>) {
        let wakeup = self.started + self.core.wakeup().unwrap_or_else(|| self.started.elapsed() + FAR);
        if timer.is_elapsed() || wakeup < timer.deadline() {
            timer.reset(wakeup);
        }
    }
}

impl Slot {
    fn link(&self) -> LinkId {
        match self {
            Self::Opening(link, _) | Self::Open(link, _) => *link,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Arrival> {
        match self {
            Self::Opening(link, opening) => opening.as_mut().poll(context).map(|opened| match opened {
                Ok(opened) => Arrival::Opened(*link, opened),
                Err(end) => Arrival::Ended(*link, end),
            }),
            Self::Open(link, socket) => socket.poll_next_unpin(context).map(|item| match socket::sort(item) {
                Read::Text(message) => Arrival::Text(*link, message),
                Read::Life => Arrival::Life(*link),
                Read::End(end) => Arrival::Ended(*link, end),
            }),
        }
    }
}

/// The token first: once the connection is there the gateway waits for it.
async fn open(target: Target, tokens: Option<Tokens>) -> Result<Opened, End> {
    let token = match tokens {
        Some(tokens) => tokens().await,
        None => None,
    };
    Ok((socket::open(&target).await?, token))
}

/// The first thing that happens on any connection; one that has opened or ended loses its slot.
fn poll_slots(slots: &mut Vec<Slot>, context: &mut Context<'_>) -> Poll<Arrival> {
    for index in 0..slots.len() {
        if let Poll::Ready(arrival) = slots[index].poll(context) {
            if let Arrival::Opened(..) | Arrival::Ended(..) = arrival {
                slots.remove(index);
            }
            return Poll::Ready(arrival);
        }
    }
    Poll::Pending
}

/// Hands the oldest waiting event over; false when nobody wants it any more.
async fn deliver(sink: &mut Sink, outbox: &mut VecDeque<Event>) -> bool {
    let Sink::Channel(sender) = sink else { return true };
    let Ok(permit) = sender.reserve().await else { return false };
    if let Some(event) = outbox.pop_front() {
        permit.send(event);
    }
    true
}
