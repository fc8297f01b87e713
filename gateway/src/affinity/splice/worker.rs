//! A thread that carries: waits for its sockets and its inbox, and gives each connection its turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::pair::{Pair, Side};
use super::stream::{ClientStream, Stream};
use super::{Command, Inbox, Splice};
use crate::affinity::forwards::{Forward, Seat};
use crate::clock::{self, Millis};
use crate::shared::Shared;

/// The token of the inbox. A connection has two: twice its slot for the client, and one more for the owner.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Bytes that are moved at once; the only buffer that a thread has.
const BUFFER: usize = 64 * 1024;
const EVENTS: usize = 1024;
/// How long one side may go on when the other has said its last word, in milliseconds. Gateways end at once then, and
/// so does a client that is still there.
const LINGER: Millis = 5000;

struct Carried {
    pair: Pair<ClientStream, TcpStream>,
    forward: Arc<Forward>,
    /// When it is cut.
    until: Millis,
    /// Given back when the connection ends.
    _seat: Seat,
}

pub(super) struct Worker {
    poll: Poll,
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    carried: Slab<Box<Carried>>,
    buffer: Box<[u8]>,
    /// Those with more to do at once.
    ready: Vec<usize>,
    /// Those that are ending, in the order in which they are cut.
    ending: VecDeque<(usize, Millis)>,
    bytes: (u64, u64),
}

impl Worker {
    pub(super) fn new(poll: Poll, inbox: Arc<Inbox>, shared: Arc<Shared>) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let (carried, ready, ending) = (Slab::new(), Vec::new(), VecDeque::new());
        Self { poll, inbox, shared, carried, buffer, ready, ending, bytes: (0, 0) }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.timeout())
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a thread that carries forwarded connections cannot wait for its sockets");
                // Waiting itself failed, so nothing can be awaited.
                std::thread::sleep(Duration::from_millis(100));
            }
            for slot in std::mem::take(&mut self.ready) {
                self.turn(slot);
            }
            for event in &events {
                self.socket_event(event);
            }
            if !self.obey() {
                break;
            }
            self.cut_late();
            let (to_owner, to_client) = std::mem::take(&mut self.bytes);
            self.shared.metrics.carried(to_owner, to_client);
        }
        for carried in std::mem::take(&mut self.carried).drain() {
            self.shared.forward_ended(&carried.forward);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let (_, until) = self.ending.front()?;
        Some(Duration::from_millis(until.saturating_sub(clock::now())))
    }

    fn socket_event(&mut self, event: &Event) {
        if event.token() == WAKE {
            return;
        }
        let (slot, of_owner) = (event.token().0 / 2, event.token().0 % 2 == 1);
        let Some(carried) = self.carried.get_mut(slot) else { return };
        if event.is_error() {
            // Also where nothing is read, since the other side takes no more.
            return self.end(slot);
        }
        let (readable, writable, ending) = (event.is_readable(), event.is_writable(), event.is_read_closed());
        if of_owner {
            carried.pair.owner.announced(readable, writable, ending);
        } else {
            carried.pair.client.announced(readable, writable, ending);
        }
        self.turn(slot);
    }

    fn turn(&mut self, slot: usize) {
        let Some(carried) = self.carried.get_mut(slot) else { return };
        let Ok(turn) = carried.pair.turn(&mut self.buffer) else { return self.end(slot) };
        self.bytes.0 += turn.to_owner as u64;
        self.bytes.1 += turn.to_client as u64;
        if carried.pair.is_over() {
            return self.end(slot);
        }
        if turn.more {
            self.ready.push(slot);
        }
        if carried.pair.is_ending() && carried.until == Millis::MAX {
            carried.until = clock::now() + LINGER;
            self.ending.push_back((slot, carried.until));
        }
    }

    /// `false`: the thread is to end.
    fn obey(&mut self) -> bool {
        for command in self.inbox.take() {
            match command {
                Command::Add(splice) => self.add(*splice),
                Command::Cut(forward) => {
                    let found = self.carried.iter().find(|(_, carried)| Arc::ptr_eq(&carried.forward, &forward));
                    if let Some(slot) = found.map(|(slot, _)| slot) {
                        self.end(slot);
                    }
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn add(&mut self, splice: Splice) {
        let Splice { client, owner, from_client, from_owner, forward, seat } = splice;
        // The owner's first frames come with its answer.
        self.bytes.0 += from_client.len() as u64;
        self.bytes.1 += from_owner.len() as u64;
        let (client, owner) = (Side::new(client, from_owner), Side::new(TcpStream::from_std(owner), from_client));
        let carried = Carried { pair: Pair { client, owner }, forward, until: Millis::MAX, _seat: seat };
        let slot = self.carried.insert(Box::new(carried));
        let pair = &mut self.carried[slot].pair;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        let watched = registry
            .register(pair.client.stream.source(), Token(2 * slot), interest)
            .and_then(|()| registry.register(pair.owner.stream.source(), Token(2 * slot + 1), interest));
        match watched {
            Ok(()) => self.turn(slot),
            Err(error) => {
                tracing::warn!(%error, "a forwarded connection cannot be watched");
                self.end(slot);
            }
        }
    }

    /// Cuts those whose other side has not ended in time.
    fn cut_late(&mut self) {
        let now = clock::now();
        while let Some((slot, until)) = self.ending.pop_front_if(|(_, until)| *until <= now) {
            // Another connection may have the slot by now.
            if self.carried.get(slot).is_some_and(|carried| carried.until == until) {
                self.end(slot);
            }
        }
    }

    fn end(&mut self, slot: usize) {
        let Some(mut carried) = self.carried.try_remove(slot) else { return };
        let _ = self.poll.registry().deregister(carried.pair.client.stream.source());
        let _ = self.poll.registry().deregister(carried.pair.owner.stream.source());
        self.inbox.load.fetch_sub(1, Relaxed);
        self.shared.forward_ended(&carried.forward);
    }
}
