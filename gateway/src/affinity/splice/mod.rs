//! Carries the bytes of forwarded connections: a few threads, each with its own sockets and one buffer for all of them,
//! so that an idle connection costs what two sockets cost. Understands nothing of what it carries.

mod pair;
mod stream;
mod worker;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use parking_lot::Mutex;

pub(crate) use stream::ClientStream;

use super::forwards::{Forward, Seat};
use crate::shared::Shared;
use worker::Worker;

/// A connection to carry.
pub struct Splice {
    /// The client's connection.
    pub(crate) client: ClientStream,
    /// The connection to the owner.
    pub owner: TcpStream,
    /// What the client sent right behind its handshake.
    pub from_client: Vec<u8>,
    /// What the owner sent right behind its answer.
    pub from_owner: Vec<u8>,
    /// What is known of it.
    pub forward: Arc<Forward>,
    /// Its place; given back when it ends.
    pub seat: Seat,
}

enum Command {
    Add(Box<Splice>),
    Cut(Arc<Forward>),
    Stop,
}

/// The commands that wait for one thread.
pub(crate) struct Inbox {
    queue: Mutex<Vec<Command>>,
    waker: mio::Waker,
    /// Connections that the thread carries.
    load: AtomicUsize,
}

impl Inbox {
    fn send(&self, command: Command) {
        let mut queue = self.queue.lock();
        queue.push(command);
        if queue.len() == 1
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a thread that carries forwarded connections cannot be woken");
        }
    }

    fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.queue.lock())
    }
}

/// The threads that carry.
pub struct Splicers {
    inboxes: Vec<Arc<Inbox>>,
    polls: Mutex<Vec<mio::Poll>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Splicers {
    /// So many threads, not started yet. Fails when the process is out of file descriptors.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        let (mut inboxes, mut polls) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let poll = mio::Poll::new()?;
            let waker = mio::Waker::new(poll.registry(), worker::WAKE)?;
            inboxes.push(Arc::new(Inbox { queue: Mutex::default(), waker, load: AtomicUsize::new(0) }));
            polls.push(poll);
        }
        Ok(Self { inboxes, polls: Mutex::new(polls), threads: Mutex::default() })
    }

    /// Starts the threads.
    pub(crate) fn start(&self, shared: &Arc<Shared>) {
        for (poll, inbox) in self.polls.lock().drain(..).zip(&self.inboxes) {
            let (inbox, shared) = (Arc::clone(inbox), Arc::clone(shared));
            let thread = thread::Builder::new().name(format!("splice-{}", self.threads.lock().len()));
            let thread = thread.spawn(move || Worker::new(poll, inbox, shared).run());
            self.threads.lock().push(thread.expect("a thread can be made at the start"));
        }
    }

    /// Carries a connection from now on, in the thread that carries fewest.
    pub(crate) fn add(&self, splice: Splice) {
        let Some(least) = self.inboxes.iter().min_by_key(|inbox| inbox.load.load(Relaxed)) else { return };
        least.load.fetch_add(1, Relaxed);
        splice.forward.carried_by(least);
        least.send(Command::Add(Box::new(splice)));
    }

    /// Ends the threads. Connections that are left are cut.
    pub(crate) async fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

/// Cuts a connection.
pub(super) fn cut(inbox: &Inbox, forward: &Arc<Forward>) {
    inbox.send(Command::Cut(Arc::clone(forward)));
}
