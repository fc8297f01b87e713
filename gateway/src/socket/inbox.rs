//! How the rest of the gateway talks to a shard: commands in order, and a wake for the thread that takes them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::adopt::Adoption;
use super::freeze::Frozen;
use crate::entry::{Delivery, EntryId};
use crate::error::LogError;
use crate::presence::{Listing, Notice};
use crate::protocol::Reason;
use crate::room::RoomId;
use crate::session::Event;
use crate::shard::Connection;

/// Something for a connection that is no message of a room.
#[derive(Clone, Debug)]
pub enum Item {
    /// Move to another gateway.
    Drain {
        /// Wait so long, in milliseconds.
        retry_after_ms: u64,
        /// Closed in so many milliseconds.
        deadline_ms: u64,
    },
    /// No need to move any more.
    DrainCancelled,
    /// Close now: the drain's deadline.
    DrainForced,
    /// Close now: the gateway stops.
    GoingAway,
    /// Close now: a backend ended the session.
    Kicked,
    /// What members of a room are told of its members.
    Notice(Arc<Notice>),
    /// Answer to a session that asked who is in a room. It comes this way to keep its order with the notices.
    Presence {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Its members.
        result: Result<Arc<Listing>, LogError>,
    },
    /// Too much waits for all connections together, and for this one most.
    Shed,
}

/// What a shard is asked to do.
pub enum Command {
    /// Serve this connection.
    Adopt(Box<Adoption>),
    /// This connection joins a room: what is delivered after this is for it, too.
    Enter {
        /// The room.
        room: RoomId,
        /// The connection.
        member: Arc<Connection>,
    },
    /// Messages for a room's members, in order.
    Deliver {
        /// The room.
        room: RoomId,
        /// The messages.
        messages: Arc<[Arc<Delivery>]>,
    },
    /// A room may have a hole.
    Gap {
        /// The room.
        room: RoomId,
        /// Why.
        reason: Reason,
        /// Where it goes on.
        position: EntryId,
    },
    /// Something for one connection.
    Tell(Arc<Connection>, Item),
    /// Something for every connection.
    TellAll(Item),
    /// What a connection asked the log for is done.
    Done(Arc<Connection>, Event),
    /// Write down every connection and let go of it.
    Freeze(oneshot::Sender<Vec<Frozen>>),
    /// End the thread, and every connection with it.
    Stop,
}

/// The commands that wait for one shard.
pub struct Inbox {
    /// Number of the shard.
    pub shard: usize,
    /// Connections that it serves, for the choice of a shard.
    pub load: AtomicUsize,
    queue: Mutex<Vec<Command>>,
    waker: mio::Waker,
}

thread_local! {
    /// Whose threads are to be woken at the end of [`together`].
    static HELD: RefCell<Option<Vec<Arc<Inbox>>>> = const { RefCell::new(None) };
}

/// Does something that sends commands, and wakes each shard when all of them are there: where threads share a core, one
/// that is woken for the first runs at once, and would have to be woken for the next again.
pub(crate) fn together(act: impl FnOnce()) {
    let _release = Release(HELD.replace(Some(Vec::new())));
    act();
}

/// Wakes what is held when it is dropped; what was held before is held on.
struct Release(Option<Vec<Arc<Inbox>>>);

impl Drop for Release {
    fn drop(&mut self) {
        for inbox in HELD.replace(self.0.take()).unwrap_or_default() {
            inbox.wake();
        }
    }
}

impl Inbox {
    /// An empty one, whose thread is woken by `waker`.
    pub fn new(shard: usize, waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self { shard, load: AtomicUsize::new(0), queue: Mutex::default(), waker })
    }

    /// Adds a command. The thread is woken once for however many it has not taken yet, and not before the end of
    /// [`together`].
    pub fn send(self: &Arc<Self>, command: Command) {
        let mut queue = self.queue.lock();
        queue.push(command);
        let first = queue.len() == 1;
        // Who is woken may run at once, and must not find the queue locked.
        drop(queue);
        let later = || HELD.with_borrow_mut(|held| held.as_mut().map(|held| held.push(Arc::clone(self)))).is_some();
        if first && !later() {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, shard = self.shard, "a shard cannot be woken");
        }
    }

    /// Takes all commands. `empty` takes their place.
    pub fn take(&self, empty: &mut Vec<Command>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut *self.queue.lock(), empty);
    }

    /// Connections that it serves.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// An inbox, and what its thread would poll.
    fn inbox() -> (Arc<Inbox>, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        (Inbox::new(0, waker), poll)
    }

    /// Whether the thread would have been woken since this was asked last.
    fn woken(poll: &mut mio::Poll) -> bool {
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn a_thread_is_woken_for_the_first_command_and_in_together_at_the_end() {
        let ((inbox, mut poll), (other, mut other_poll)) = (inbox(), inbox());
        inbox.send(Command::Stop);
        assert!(woken(&mut poll));
        inbox.send(Command::Stop);
        assert!(!woken(&mut poll), "it has not taken the first");
        inbox.take(&mut Vec::new());
        together(|| {
            inbox.send(Command::Stop);
            together(|| other.send(Command::Stop));
            assert!(woken(&mut other_poll) && !woken(&mut poll), "the inner one ends first");
            inbox.send(Command::Stop);
            assert!(!woken(&mut poll));
        });
        assert!(woken(&mut poll));
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken.len(), 2);
    }
}
