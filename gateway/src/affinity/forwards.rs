//! The connections that run through this gateway to another one: how many, whose, and which were told to move.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::peers::Peer;
use super::splice::{self, Inbox};
use crate::clock::Millis;
use crate::drain::Told;

/// A connection that is forwarded.
pub struct Forward {
    /// Its number, by which the owner knows it. Random: it means nothing to a gateway that came after this one.
    pub id: u64,
    /// The gateway that serves it.
    pub owner: Peer,
    /// When it was opened.
    pub opened_at: Millis,
    /// When its client was told to move, if its word says so.
    pub told: Told,
    word: AtomicU8,
    ask_again_at: AtomicU64,
    forced: AtomicBool,
    ended: AtomicBool,
    carrier: Mutex<Option<Arc<Inbox>>>,
}

/// Whether its client was told to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// No.
    Untold,
    /// Its owner is being asked to tell it something.
    Asked,
    /// Yes.
    Told,
}

/// The connections that are forwarded.
pub struct Forwards {
    open: Mutex<HashMap<u64, Arc<Forward>>>,
    count: Arc<AtomicUsize>,
    tracker: TaskTracker,
}

/// A place among them, taken before the owner is asked; given back when dropped.
pub struct Seat {
    count: Arc<AtomicUsize>,
    _open: TaskTrackerToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

impl Default for Forwards {
    fn default() -> Self {
        Self { open: Mutex::default(), count: Arc::default(), tracker: TaskTracker::new() }
    }
}

impl Forwards {
    /// Takes a place, if there are fewer than `most`.
    pub fn take_seat(&self, most: usize) -> Option<Seat> {
        let one_more = |count| (count < most).then_some(count + 1);
        self.count.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Seat { count: Arc::clone(&self.count), _open: self.tracker.token() })
    }

    /// A connection is about to be forwarded: the owner is told its number.
    pub fn prepare(owner: Peer, now: Millis) -> Forward {
        Forward {
            id: rand::random(),
            owner,
            opened_at: now,
            told: Told::default(),
            word: AtomicU8::new(Word::Untold as u8),
            ask_again_at: AtomicU64::new(0),
            forced: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            carrier: Mutex::default(),
        }
    }

    /// The owner takes it.
    pub fn add(&self, forward: &Arc<Forward>) {
        self.open.lock().insert(forward.id, Arc::clone(forward));
    }

    /// It has ended.
    pub fn remove(&self, forward: &Forward) {
        self.open.lock().remove(&forward.id);
    }

    /// Connections that are forwarded, those whose owner is being asked included.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All whose owner has taken them.
    pub fn all(&self) -> Vec<Arc<Forward>> {
        self.open.lock().values().cloned().collect()
    }

    /// Waits until there are none, once no more are added.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Forward {
    /// Whether its client was told to move.
    pub fn word(&self) -> Word {
        match self.word.load(Relaxed) {
            0 => Word::Untold,
            1 => Word::Asked,
            _ => Word::Told,
        }
    }

    /// Whether its owner is to be asked to tell its client.
    pub fn waits(&self, now: Millis) -> bool {
        self.word() == Word::Untold && self.ask_again_at.load(Relaxed) <= now
    }

    /// Whether its client was told to move from now on.
    pub fn set_word(&self, word: Word) {
        self.word.store(word as u8, Relaxed);
    }

    /// Its owner could not tell it: to be asked again, and not before.
    pub fn ask_again(&self, at: Millis) {
        self.ask_again_at.store(at, Relaxed);
        self.set_word(Word::Untold);
    }

    /// Its client is being closed. `true`: for the first time.
    pub fn force(&self) -> bool {
        !self.forced.swap(true, Relaxed)
    }

    /// Whether its client was to be closed.
    pub fn is_forced(&self) -> bool {
        self.forced.load(Relaxed)
    }

    /// It has ended.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub(super) fn carried_by(&self, inbox: &Arc<Inbox>) {
        *self.carrier.lock() = Some(Arc::clone(inbox));
    }

    /// Cuts it.
    pub fn cut(self: &Arc<Self>) {
        if let Some(inbox) = &*self.carrier.lock() {
            splice::cut(inbox, self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_up_to_the_limit_and_given_back() {
        let forwards = Forwards::default();
        assert!(forwards.take_seat(0).is_none());
        let one = forwards.take_seat(2);
        let two = forwards.take_seat(2);
        assert!(one.is_some() && two.is_some() && forwards.take_seat(2).is_none());
        drop(one);
        assert_eq!(forwards.len(), 1);
        assert!(forwards.take_seat(2).is_some());
    }

    #[test]
    fn who_could_not_be_told_is_asked_again_later() {
        let owner = Peer { name: "b".into(), address: ([10, 0, 0, 1], 1).into() };
        let forward = Forwards::prepare(owner, 0);
        assert!(forward.waits(0));
        forward.set_word(Word::Asked);
        assert!(!forward.waits(5000));
        forward.ask_again(1000);
        assert!(!forward.waits(999) && forward.waits(1000));
        forward.set_word(Word::Told);
        assert!(!forward.waits(5000));
        assert!(forward.force() && !forward.force());
    }
}
