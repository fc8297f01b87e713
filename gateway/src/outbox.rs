//! What waits for one connection, counted in bytes, and the budget that all connections share. Bytes are reserved
//! before something is queued and released after it was written. Knows nothing of rooms or sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::entry::{Delivery, EntryId};
use crate::error::LogError;
use crate::presence::{Listing, Notice};
use crate::protocol::{Protocol, Reason};
use crate::room::RoomId;

/// Something for a connection.
#[derive(Clone, Debug)]
pub enum Item {
    /// A message of a room.
    Message(Arc<Delivery>),
    /// A room may have a hole.
    Gap {
        /// The room.
        room: RoomId,
        /// Why.
        reason: Reason,
        /// Where it goes on.
        position: EntryId,
    },
    /// What members of a room are told of its members.
    Notice(Arc<Notice>),
    /// Answer to a session that asked who is in a room. Queued, so that it keeps its order with the notices.
    Presence {
        /// The client's number.
        reference: Option<u64>,
        /// The room.
        room: RoomId,
        /// Its members.
        result: Result<Arc<Listing>, LogError>,
    },
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
}

/// Bytes that wait for all connections together.
#[derive(Debug, Default)]
pub struct Budget {
    used: AtomicUsize,
}

impl Budget {
    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}

/// What became of something that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// The connection did not keep up: its queue was dropped, and it will be closed.
    Overflowed,
    /// The connection is being closed already.
    Closed,
}

/// What waits for one connection.
pub struct Outbox {
    protocol: Protocol,
    budget: Arc<Budget>,
    queue: Mutex<Queue>,
    bytes: AtomicUsize,
    /// Bytes of a replay: they count against the total, but must not close the client that asked for it.
    aside: AtomicUsize,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Overflowed,
    Closed,
}

/// What a connection finds in its outbox.
#[derive(Debug)]
pub enum Taken {
    /// Something to write; its bytes stay reserved until they are released.
    Item(Item, usize),
    /// The queue was dropped: close with 1013.
    Overflowed,
}

impl Outbox {
    /// An empty one.
    pub fn new(protocol: Protocol, budget: Arc<Budget>) -> Self {
        Self {
            protocol,
            budget,
            queue: Mutex::default(),
            bytes: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// Bytes that wait or are being written.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Bytes that wait, replays included.
    pub fn all_bytes(&self) -> usize {
        self.bytes() + self.aside.load(Relaxed)
    }

    /// Queues something, unless more than `limit` bytes would wait.
    pub fn push(&self, item: Item, limit: usize) -> Pushed {
        self.push_all(std::iter::once(item), limit)
    }

    /// Queues several things in order.
    pub fn push_all(&self, items: impl Iterator<Item = Item>, limit: usize) -> Pushed {
        let mut queue = self.queue.lock();
        for item in items {
            match queue.state {
                State::Closed | State::Overflowed => return Pushed::Closed,
                State::Open => {}
            }
            let cost = self.cost(&item);
            if self.bytes() + cost > limit {
                self.drop_queue(&mut queue, State::Overflowed);
                return Pushed::Overflowed;
            }
            self.reserve(cost);
            queue.items.push_back(item);
        }
        drop(queue);
        self.waker.wake();
        Pushed::Queued
    }

    /// Drops the queue and has the connection closed as too slow.
    pub fn overflow(&self) -> Pushed {
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return Pushed::Closed;
        }
        self.drop_queue(&mut queue, State::Overflowed);
        Pushed::Overflowed
    }

    /// Drops the queue for good.
    pub fn close(&self) {
        self.drop_queue(&mut self.queue.lock(), State::Closed);
    }

    /// The next thing, or `Pending` and a wake when there is one.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        if let Some(taken) = self.take() {
            return Poll::Ready(taken);
        }
        self.waker.register(cx.waker());
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether the queue has run over, or a wake when it has.
    pub fn poll_overflow(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        self.waker.register(cx.waker());
        let mut queue = self.queue.lock();
        if queue.state != State::Overflowed {
            return Poll::Pending;
        }
        queue.state = State::Closed;
        Poll::Ready(Taken::Overflowed)
    }

    /// The next thing, if there is one.
    pub fn take(&self) -> Option<Taken> {
        let mut queue = self.queue.lock();
        if queue.state == State::Overflowed {
            queue.state = State::Closed;
            return Some(Taken::Overflowed);
        }
        let item = queue.items.pop_front()?;
        let cost = self.cost(&item);
        Some(Taken::Item(item, cost))
    }

    /// Reserves bytes for something that is written without being queued (answers, replays).
    pub fn reserve(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.budget.used.fetch_add(bytes, Relaxed);
    }

    /// Releases bytes that were written or dropped.
    pub fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.budget.used.fetch_sub(bytes, Relaxed);
    }

    /// Reserves bytes of a replay.
    pub fn reserve_aside(&self, bytes: usize) {
        self.aside.fetch_add(bytes, Relaxed);
        self.budget.used.fetch_add(bytes, Relaxed);
    }

    /// Releases bytes of a replay.
    pub fn release_aside(&self, bytes: usize) {
        self.aside.fetch_sub(bytes, Relaxed);
        self.budget.used.fetch_sub(bytes, Relaxed);
    }

    fn drop_queue(&self, queue: &mut Queue, state: State) {
        let bytes = queue.items.iter().map(|item| self.cost(item)).sum();
        queue.items = VecDeque::new();
        queue.state = state;
        self.release(bytes);
        self.waker.wake();
    }

    fn cost(&self, item: &Item) -> usize {
        const CONTROL: usize = 128;
        match item {
            Item::Message(delivery) => delivery.cost(self.protocol),
            Item::Notice(notice) => notice.cost(),
            Item::Presence { result: Ok(listing), .. } => CONTROL + listing.bytes(),
            _ => CONTROL,
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
        self.release(self.bytes());
        self.release_aside(self.aside.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;

    fn message(length: usize) -> Item {
        let entry = Entry::new(EntryId::ZERO, 0, "x".repeat(length).into());
        Item::Message(Delivery::new(RoomId::parse("r").unwrap(), entry))
    }

    #[test]
    fn bytes_are_reserved_until_released() {
        let budget = Arc::new(Budget::default());
        let outbox = Outbox::new(Protocol::Raw, Arc::clone(&budget));
        assert_eq!(outbox.push(message(90), 1000), Pushed::Queued);
        assert_eq!((outbox.bytes(), budget.used()), (100, 100));
        let Some(Taken::Item(_, cost)) = outbox.take() else { panic!("nothing waits") };
        assert_eq!((cost, budget.used()), (100, 100), "taken is not yet written");
        outbox.release(cost);
        assert_eq!((outbox.bytes(), budget.used()), (0, 0));
    }

    #[test]
    fn the_limit_holds_at_below_and_above() {
        let budget = Arc::new(Budget::default());
        for (limit, expect) in [(199, Pushed::Overflowed), (200, Pushed::Queued), (201, Pushed::Queued)] {
            let outbox = Outbox::new(Protocol::Raw, Arc::clone(&budget));
            assert_eq!(outbox.push(message(90), limit), Pushed::Queued);
            assert_eq!(outbox.push(message(90), limit), expect, "limit {limit}");
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_overflow_drops_the_queue_and_is_told_once() {
        let budget = Arc::new(Budget::default());
        let outbox = Outbox::new(Protocol::Raw, Arc::clone(&budget));
        outbox.push(message(90), 150);
        assert_eq!(outbox.push(message(90), 150), Pushed::Overflowed);
        assert_eq!(budget.used(), 0);
        assert_eq!(outbox.push(message(1), 150), Pushed::Closed);
        assert!(matches!(outbox.take(), Some(Taken::Overflowed)));
        assert!(outbox.take().is_none());
        assert_eq!(outbox.overflow(), Pushed::Closed);
    }

    #[test]
    fn control_frames_count() {
        let outbox = Outbox::new(Protocol::V1, Arc::default());
        outbox.push(Item::DrainCancelled, 1000);
        assert!(outbox.bytes() > 0);
    }
}
