//! The thread of a shard: waits for its sockets, its inbox and its timers, and gives each connection its turn.
//! Everything that came in one turn is written together at its end, so that the load itself makes the batches.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::adopt::{Adoption, Carried, Opening};
use super::connection::Conn;
use super::context::Context;
use super::freeze::Frozen;
use super::inbox::{Command, Inbox, Item};
use super::pause::Pause;
use super::rooms::{Rooms, Slot};
use super::table::Table;
use super::wheel::Wheel;
use crate::clock::{self, Millis};
use crate::codec::{Decoder, Incoming};
use crate::entry::{Delivery, EntryId, Text};
use crate::outbox::Outbox;
use crate::protocol::Reason;
use crate::room::RoomId;
use crate::session::Event;
use crate::shard::Connection;
use crate::shared::Shared;

/// The token of the inbox; connections have their slot's number.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Bytes that are read at once; the only read buffer that a shard has.
const READ_BUFFER: usize = 64 * 1024;
const EVENTS: usize = 1024;
/// How long requests to the log may take until connections are let go of all the same, in milliseconds.
const FREEZE_PATIENCE: Millis = 5000;

/// One shard.
pub(super) struct Worker {
    poll: Poll,
    connections: Table<Conn>,
    buffer: Box<[u8]>,
    cx: Context,
    freezing: Option<(oneshot::Sender<Vec<Frozen>>, Millis)>,
    pause: Pause,
    /// Messages for connections since the last round of writes.
    gathered: usize,
    stopped: bool,
}

impl Worker {
    pub(super) fn new(poll: Poll, inbox: Arc<Inbox>, shared: Arc<Shared>, runtime: Handle) -> Self {
        let (config, now) = (shared.config(), clock::now());
        let cx = Context {
            shared,
            config,
            now,
            inbox,
            rooms: Rooms::default(),
            wheel: Wheel::new(now),
            dirty: Vec::new(),
            ready: Vec::new(),
            gone: Vec::new(),
            freezing: false,
            runtime,
        };
        let buffer = vec![0; READ_BUFFER].into_boxed_slice();
        Self {
            poll,
            connections: Table::default(),
            buffer,
            cx,
            freezing: None,
            pause: Pause::none(Instant::now()),
            gathered: 0,
            stopped: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let (mut commands, mut due) = (Vec::new(), Vec::new());
        while !self.stopped {
            let result = self.poll.poll(&mut events, self.timeout());
            if let Err(error) = result
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, shard = self.cx.inbox.shard, "a shard cannot wait for its sockets");
                // Nothing can be awaited where waiting itself fails: without a pause this would be a busy loop.
                std::thread::sleep(Duration::from_millis(100));
            }
            self.cx.now = clock::now();
            self.cx.config = self.cx.shared.config();
            self.read_ready();
            for event in &events {
                self.socket_event(event);
            }
            self.cx.inbox.take(&mut commands);
            self.obey(&mut commands);
            self.timers(&mut due);
            self.flush();
            self.bury();
            self.shed();
            self.freeze_when_settled();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.cx.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self.cx.wheel.timeout(clock::now());
        let freeze = self.freezing.as_ref().map(|(_, until)| until.saturating_sub(clock::now()));
        let timers = timer.into_iter().chain(freeze).min().map(Duration::from_millis);
        let writes = (!self.cx.dirty.is_empty()).then(|| self.pause.left(Instant::now()));
        timers.into_iter().chain(writes).min()
    }

    /// Goes on with those that had more to read than one turn takes.
    fn read_ready(&mut self) {
        let ready = std::mem::take(&mut self.cx.ready);
        // What is read now would be under way when connections are let go of; it stays in the socket for the next owner.
        if self.freezing.is_some() {
            return;
        }
        for slot in ready {
            if let Some(connection) = self.connections.get_mut(slot)
                && connection.readable
            {
                connection.read(&mut self.buffer, &mut self.cx);
            }
        }
    }

    fn socket_event(&mut self, event: &mio::event::Event) {
        if event.token() == WAKE {
            return;
        }
        let Some(connection) = self.connections.get_mut(event.token().0 as Slot) else { return };
        if event.is_writable() && connection.blocked {
            connection.blocked = false;
            connection.mark_dirty(&mut self.cx);
        }
        connection.half_closed |= event.is_read_closed();
        if event.is_readable() || event.is_error() {
            if self.freezing.is_some() {
                connection.readable = true;
            } else {
                connection.read(&mut self.buffer, &mut self.cx);
            }
        }
    }

    fn obey(&mut self, commands: &mut Vec<Command>) {
        for command in commands.drain(..) {
            match command {
                Command::Deliver { room, messages } => self.deliver(&room, &messages),
                Command::Enter { room, member } => self.enter(&room, &member),
                Command::Done(connection, event) => self.with(&connection, |conn, cx| conn.done(event, cx)),
                Command::Gap { room, reason, position } => self.gap(&room, reason, position),
                Command::Tell(connection, item) => self.with(&connection, |conn, cx| conn.told(item, cx)),
                Command::TellAll(item) => self.tell_all(&item),
                Command::Adopt(adoption) => self.adopt(*adoption),
                Command::Freeze(answer) => {
                    self.freezing = Some((answer, self.cx.now + FREEZE_PATIENCE));
                    self.cx.freezing = true;
                }
                Command::Stop => self.stopped = true,
            }
        }
    }

    /// Does something with a connection, if it still is there.
    fn with(&mut self, handle: &Arc<Connection>, act: impl FnOnce(&mut Conn, &mut Context)) {
        let slot = handle.slot.load(Relaxed);
        if let Some(connection) = self.connections.get_mut(slot)
            && Arc::ptr_eq(&connection.handle, handle)
        {
            act(connection, &mut self.cx);
        }
    }

    fn each(&mut self, slots: &[Slot], mut act: impl FnMut(&mut Conn, &mut Context)) {
        for slot in slots {
            if let Some(connection) = self.connections.get_mut(*slot) {
                act(connection, &mut self.cx);
            }
        }
    }

    fn deliver(&mut self, room: &RoomId, messages: &[Arc<Delivery>]) {
        let slots = self.cx.rooms.copy(room);
        self.gathered += slots.len() * messages.len();
        self.each(&slots, |connection, cx| messages.iter().for_each(|message| connection.deliver(message, cx)));
    }

    fn gap(&mut self, room: &RoomId, reason: Reason, position: EntryId) {
        let slots = self.cx.rooms.copy(room);
        self.each(&slots, |connection, cx| connection.gap(room, reason, position, cx));
    }

    fn tell_all(&mut self, item: &Item) {
        for connection in self.connections.iter_mut() {
            connection.told(item.clone(), &mut self.cx);
        }
    }

    /// A join that is done for a connection which has left meanwhile, or is a member already, is undone.
    fn enter(&mut self, room: &RoomId, member: &Arc<Connection>) {
        let slot = member.slot.load(Relaxed);
        let wants = self.connections.get_mut(slot).is_some_and(|connection| {
            Arc::ptr_eq(&connection.handle, member) && !connection.is_ending() && connection.session.share(room)
        });
        if !(wants && self.cx.rooms.enter(room, slot)) {
            self.cx.shared.hub.leave(room, self.cx.inbox.shard);
        }
    }

    fn adopt(&mut self, adoption: Adoption) {
        let Adoption { stream, handle, carried } = adoption;
        let Ok(mut stream) = stream.try_map(|socket| Ok::<_, Infallible>(TcpStream::from_std(socket)));
        let secured = stream.is_secured();
        let slot = self.connections.next();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(stream.socket(), Token(slot as usize), interest) {
            tracing::warn!(session = handle.session(), %error, "a connection cannot be watched");
            return self.cx.bury(&handle, "lost");
        }
        handle.slot.store(slot, Release);
        let connection = match carried {
            Carried::New(opening) => {
                let Opening { session, answer, read } = *opening;
                let parts = (Decoder::default(), Outbox::begun(answer));
                let connection = self.connections.insert(Conn::new(stream, slot, handle, session, parts));
                let node = connection.handle.welcomed_by(&self.cx.shared.node);
                connection.step(Event::Opened { node }, &mut self.cx);
                if let Some(item) = self.cx.shared.drain.arrived(&connection.handle) {
                    connection.told(item, &mut self.cx);
                }
                if self.cx.shared.drain.is_closed() {
                    // It came in just before, and missed the word to all.
                    connection.step(Event::GoingAway, &mut self.cx);
                }
                connection.input(&mut read.to_vec(), &mut self.cx);
                connection
            }
            Carried::Frozen(frozen) => {
                let Frozen { session, decoder, unsent, pending, .. } = *frozen;
                let parts = (decoder, unsent.into());
                let connection = self.connections.insert(Conn::new(stream, slot, handle, session, parts));
                if !pending.is_empty() {
                    connection.rare().pending.extend(pending.into_iter().map(|text| Incoming::Text(Text::from(text))));
                }
                connection.step(Event::CarriedOn, &mut self.cx);
                connection.go_on(&mut self.cx);
                connection
            }
        };
        connection.mark_dirty(&mut self.cx);
        connection.rearm(&mut self.cx);
        if secured {
            // What was decrypted along with the handshake is in no socket that would announce it.
            connection.readable = true;
            self.cx.ready.push(slot);
        }
    }

    fn timers(&mut self, due: &mut Vec<Slot>) {
        let set_for = |slot| self.connections.get(slot).map(|connection| connection.timer);
        self.cx.wheel.take(self.cx.now, set_for, due);
        for slot in due.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.timer_fired(&mut self.buffer, &mut self.cx);
            }
        }
    }

    /// Writes what waits for all connections, unless this is a pause.
    fn flush(&mut self) {
        let start = Instant::now();
        if self.cx.dirty.is_empty() || !self.pause.left(start).is_zero() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.cx.dirty);
        let messages = std::mem::take(&mut self.gathered) as f64 / dirty.len() as f64;
        for slot in dirty.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.dirty = false;
                connection.flush(&mut self.cx);
            }
        }
        // Writing may have made others dirty; the buffer is kept for them.
        dirty.append(&mut self.cx.dirty);
        self.cx.dirty = dirty;
        self.pause.after(start, Instant::now(), messages);
    }

    /// Removes the connections that have ended in this turn.
    fn bury(&mut self) {
        for (slot, reason) in std::mem::take(&mut self.cx.gone) {
            let Some(mut connection) = self.connections.remove(slot) else { continue };
            let _ = self.poll.registry().deregister(connection.stream.socket());
            self.let_go(&mut connection, reason);
        }
    }

    fn let_go(&mut self, connection: &mut Conn, reason: &'static str) {
        if reason != "handed_over"
            && let Some(recovered) = connection.session.judge_restoring()
        {
            self.cx.shared.metrics.session_resumed(recovered);
        }
        for room in connection.session.present_in() {
            self.cx.shared.presence.leave(room, connection.handle.id);
        }
        let rooms: Vec<RoomId> = connection.session.rooms().cloned().collect();
        for room in rooms {
            self.cx.leave(&room, connection.slot);
        }
        connection.release(&self.cx);
        self.cx.bury(&connection.handle, reason);
    }

    /// Over the total, those that keep most waiting go first.
    fn shed(&self) {
        let limit = self.cx.config.backpressure.total_buffer_bytes;
        let connections = &self.cx.shared.connections;
        let told = connections.shed(limit);
        if told > 0 {
            let buffered = connections.buffered();
            tracing::warn!(told, buffered, limit, "too much waits for all clients: the fullest are told to make room");
        }
    }

    /// Lets go of every connection that another process can carry on, as soon as nothing is under way whose answer would be lost.
    fn freeze_when_settled(&mut self) {
        // Only where it is asked for: this looks at every connection, and a turn must not cost more where there are more.
        let Some((_, until)) = &self.freezing else { return };
        if *until > self.cx.now && !self.connections.iter().all(|(_, connection)| connection.is_settled()) {
            return;
        }
        let Some((answer, _)) = self.freezing.take() else { return };
        self.cx.freezing = false;
        let mut frozen = Vec::new();
        let (portable, stay): (Vec<_>, Vec<_>) =
            self.connections.iter().map(|(slot, connection)| (slot, connection.is_portable())).partition(|(_, is)| *is);
        for (slot, _) in portable {
            let Some(mut connection) = self.connections.remove(slot) else { continue };
            let _ = self.poll.registry().deregister(connection.stream.socket());
            let ending = connection.is_ending();
            self.let_go(&mut connection, "handed_over");
            if !ending {
                frozen.push(connection.freeze());
            }
        }
        let _ = answer.send(frozen);
        // Nothing was read meanwhile.
        self.cx.ready.extend(stay.into_iter().map(|(slot, _)| slot));
    }
}

impl Context {
    /// A connection is no more.
    fn bury(&self, handle: &Arc<Connection>, reason: &'static str) {
        let lasted = Duration::from_millis(clock::now().saturating_sub(handle.opened_at));
        self.inbox.load.fetch_sub(1, Relaxed);
        self.shared.metrics.closed(reason, lasted);
        log_end(handle, reason, lasted);
        self.shared.connections.remove(handle);
        self.shared.drain.closed(handle, reason);
        self.shared.rebalance.closed(handle);
    }
}

/// What clients or networks do all day is for who asks for it; so is what a drain sums up.
fn log_end(handle: &Connection, reason: &'static str, lasted: Duration) {
    const USUAL: [&str; 6] = ["client", "lost", "drained", "drain_forced", "shutdown", "handed_over"];
    let (peer, seconds) = (handle.address(), lasted.as_secs_f64());
    if USUAL.contains(&reason) {
        tracing::debug!(session = handle.session(), %peer, reason, seconds, "session ends");
    } else {
        tracing::info!(session = handle.session(), %peer, reason, seconds, "session closed by the gateway");
    }
}
