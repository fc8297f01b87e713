//! Drives the connections: a few threads, each with its own sockets, timers and rooms. They read frames, step sessions,
//! do what those say and write what waits. The only folder that knows sockets.
//!
//! A connection belongs to one shard for its life. Whatever else wants something of it sends the shard a command.

mod adopt;
mod closing;
mod connection;
mod context;
mod freeze;
mod inbox;
mod input;
mod operations;
mod pause;
mod reading;
mod rooms;
mod stream;
mod stream_tokio;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
mod wheel;
mod withheld;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use adopt::{Adoption, carry_on};
pub(crate) use adopt::{Opening, begin};
pub use freeze::Frozen;
pub(crate) use inbox::together;
pub use inbox::{Command, Inbox, Item};
pub(crate) use stream::Stream;
pub(crate) use stream_tokio::NotWaiting;
pub(crate) use withheld::{Withhold, Withholding};

use crate::shared::Shared;
use worker::Worker;

/// The shards of a gateway.
pub struct Shards {
    inboxes: Vec<Arc<Inbox>>,
    /// What the threads poll, until they are started.
    polls: Mutex<Vec<mio::Poll>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Shards {
    /// `count` shards, whose threads are not started yet. Fails when the process is out of file descriptors.
    pub fn new(count: usize) -> io::Result<Self> {
        let mut polls = Vec::new();
        let mut inboxes = Vec::new();
        for shard in 0..count.max(1) {
            let poll = mio::Poll::new()?;
            inboxes.push(Inbox::new(shard, mio::Waker::new(poll.registry(), worker::WAKE)?));
            polls.push(poll);
        }
        Ok(Self { inboxes, polls: Mutex::new(polls), threads: Mutex::default() })
    }

    /// Starts the threads. Called from within a tokio runtime, on which sessions' requests to the log are run.
    pub(crate) fn start(&self, shared: &Arc<Shared>) {
        let runtime = tokio::runtime::Handle::current();
        for (poll, inbox) in self.polls.lock().drain(..).zip(&self.inboxes) {
            let (shared, inbox, runtime) = (Arc::clone(shared), Arc::clone(inbox), runtime.clone());
            let run = move || Worker::new(poll, inbox, shared, runtime).run();
            let thread = thread::Builder::new().name(format!("shard-{}", self.threads.lock().len())).spawn(run);
            self.threads.lock().push(thread.expect("a thread can be made at the start"));
        }
    }

    /// The inboxes, one per shard.
    pub fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.inboxes
    }

    /// The shard that serves fewest connections; it is counted as serving one more.
    pub fn choose(&self) -> Arc<Inbox> {
        let least = self.inboxes.iter().min_by_key(|inbox| inbox.load()).expect("there is a shard");
        least.load.fetch_add(1, Relaxed);
        Arc::clone(least)
    }

    /// Tells every connection.
    pub fn tell_all(&self, item: &Item) {
        for inbox in &self.inboxes {
            inbox.send(Command::TellAll(item.clone()));
        }
    }

    /// Writes down every connection and lets go of it: its socket stays open in what is returned. Connections over TLS
    /// cannot be carried on elsewhere, since their keys cannot be written down: they stay, and are served on.
    pub async fn freeze(&self) -> Vec<Frozen> {
        let mut frozen = Vec::new();
        for inbox in &self.inboxes {
            let (answer, answered) = oneshot::channel();
            inbox.send(Command::Freeze(answer));
            frozen.extend(answered.await.unwrap_or_default());
        }
        frozen
    }

    /// Ends the threads. Connections that are left are cut.
    pub async fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(join).await;
    }
}
