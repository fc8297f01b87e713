//! The recorder behind its lock, and a bell that rings when it may have changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wscluster_client::Event;

use crate::{clock, ledger::Fate, recorder::Recorder};

/// One run's records, shared by its sessions, its publisher and its control port.
#[derive(Debug)]
pub struct Shared {
    recorder: Mutex<Recorder>,
    changed: Notify,
}

impl Shared {
    /// Shares a recorder.
    pub fn new(recorder: Recorder) -> Arc<Self> {
        Arc::new(Self { recorder: Mutex::new(recorder), changed: Notify::new() })
    }

    /// The recorder, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a session.
    pub fn event(&self, session: usize, event: Event) {
        let now = clock::now();
        self.lock().event(session, event, now);
        self.changed.notify_one();
    }

    /// The next number of a room.
    pub fn issue(&self, room: usize) -> u64 {
        self.lock().checker.room(room).issue()
    }

    /// What became of a number.
    pub fn decide(&self, room: usize, number: u64, fate: Fate) {
        self.lock().checker.room(room).decide(number, fate);
    }

    /// Something went wrong that is no violation.
    pub fn trouble(&self, text: String) {
        tracing::warn!("{text}");
        self.lock().last_error = Some(text);
    }

    /// Waits until something may have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
